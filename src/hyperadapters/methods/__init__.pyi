"""What other packages use of this one; each name is imported when it is first used."""

from . import said as said
from .adapters import Adapter as Adapter
from .adapters import Compacter as Compacter
from .adapters import LowRankAdapter as LowRankAdapter
from .adapters import PHMAdapter as PHMAdapter
from .adapters import SiteMethod as SiteMethod
from .bitfit import BitFit as BitFit
from .hyperformer import HyperMethod as HyperMethod
from .peft import Peft as Peft
from .prompts import PromptTuning as PromptTuning
from .registry import METHOD_TYPES as METHOD_TYPES
from .registry import METHODS as METHODS
from .registry import attach as attach
from .registry import count_parameters as count_parameters
from .registry import method_from_json as method_from_json
from .registry import method_named as method_named
from .registry import seeded as seeded
from .side import HyperSideAdapter as HyperSideAdapter

"""The public names; `__init__.py` imports each when it is first used."""

from .anatomy import Layout as Layout
from .backbone import load_backbone as load_backbone
from .data import Data as Data
from .data import Mixture as Mixture
from .data import Text as Text
from .data import load_data as load_data
from .dropout import set_fast_dropout as set_fast_dropout
from .errors import InputError as InputError
from .errors import NonFiniteLossError as NonFiniteLossError
from .evaluate import Scores as Scores
from .evaluate import evaluate as evaluate
from .experiment import (
    Evaluation as Evaluation,
)
from .experiment import (
    Experiment as Experiment,
)
from .experiment import (
    FilesTask as FilesTask,
)
from .experiment import (
    InstructionsTask as InstructionsTask,
)
from .experiment import (
    MixtureTask as MixtureTask,
)
from .experiment import (
    NamedTask as NamedTask,
)
from .experiment import (
    Start as Start,
)
from .experiment import (
    Training as Training,
)
from .measure import Cost as Cost
from .measure import Parameters as Parameters
from .measure import measure as measure
from .measure import parameters as parameters
from .measure import parameters_of as parameters_of
from .methods import METHODS as METHODS
from .methods import method_named as method_named
from .methods.adapters import (
    Adapter as Adapter,
)
from .methods.adapters import (
    Compacter as Compacter,
)
from .methods.adapters import (
    LowRankAdapter as LowRankAdapter,
)
from .methods.adapters import (
    PHMAdapter as PHMAdapter,
)
from .methods.bitfit import BitFit as BitFit
from .methods.delta import Delta as Delta
from .methods.delta import attach as attach
from .methods.delta import attached as attached
from .methods.full import FullFineTuning as FullFineTuning
from .methods.full import FullMultiTask as FullMultiTask
from .methods.hyperformer import AdaptersMultiTask as AdaptersMultiTask
from .methods.hyperformer import HyperCompacter as HyperCompacter
from .methods.hyperformer import HyperFormer as HyperFormer
from .methods.hyperformer import HyperFormerPlusPlus as HyperFormerPlusPlus
from .methods.hyperformer import HyperPHM as HyperPHM
from .methods.method import Method as Method
from .methods.prompts import PromptTuning as PromptTuning
from .methods.said import IntrinsicSAID as IntrinsicSAID
from .pool import Pool as Pool
from .predict import Predictor as Predictor
from .predict import load_predictor as load_predictor
from .run import Result as Result
from .run import run as run
from .start import start_from as start_from
from .store import load as load
from .tasks import TASKS as TASKS
from .tasks import own_task as own_task
from .tasks.instructions import instruction_task as instruction_task
from .train import Fitted as Fitted
from .train import Interrupted as Interrupted
from .train import fit as fit

__version__: str

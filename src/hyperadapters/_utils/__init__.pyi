"""What other packages use of this one; each name is imported when it is first used."""

from . import files as files
from . import settings as settings
from .errors import CannotWriteError as CannotWriteError
from .errors import InputError as InputError
from .errors import Interrupted as Interrupted
from .errors import NonFiniteLossError as NonFiniteLossError
from .errors import listed as listed
from .errors import neighbours as neighbours
from .formatting import human_bytes as human_bytes
from .memory import PeakMemory as PeakMemory
from .memory import saved_tensors as saved_tensors
from .names import numbered as numbered
from .names import occurrences as occurrences
from .names import resolve_task as resolve_task
from .names import short_names as short_names
from .names import slug as slug
from .names import truncate_filename as truncate_filename
from .progress import SECONDS_BETWEEN_LINES as SECONDS_BETWEEN_LINES
from .progress import Meter as Meter
from .progress import console as console
from .progress import span as span
from .versions import library_versions as library_versions

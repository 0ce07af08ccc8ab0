"""What other packages use of this one; each name is imported when it is first used."""

from .building import attach_for as attach_for
from .building import backbone_for as backbone_for
from .building import load_task as load_task
from .building import narrow_to_task as narrow_to_task
from .display_names import SIZES as SIZES
from .display_names import add_to_label as add_to_label
from .display_names import label_of as label_of
from .display_names import named as named
from .display_names import nearest as nearest
from .experiment import Experiment as Experiment
from .experiment import apply_changes as apply_changes
from .finishing import finish_run as finish_run
from .result import RESULT as RESULT
from .result import Result as Result
from .result import read_result as read_result
from .result import result_from_json as result_from_json
from .running import EXPERIMENT as EXPERIMENT
from .running import run as run
from .task_choice import FilesTask as FilesTask
from .task_choice import InstructionsTask as InstructionsTask
from .task_choice import MixtureTask as MixtureTask
from .task_choice import NamedTask as NamedTask
from .task_choice import task_definitions as task_definitions
from .task_choice import task_name as task_name
from .task_choice import text_for as text_for
from .warm_start import start_from as start_from

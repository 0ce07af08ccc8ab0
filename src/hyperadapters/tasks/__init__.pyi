"""What other packages use of this one; each name is imported when it is first used."""

from .conversation import row_to_answer as row_to_answer
from .instructions import instruction_task as instruction_task
from .metrics import INVALID as INVALID
from .metrics import Metric as Metric
from .metrics import bootstrap as bootstrap
from .own_files import AnswerType as AnswerType
from .own_files import own_task as own_task
from .readers import iterate_rows as iterate_rows
from .readers import iterate_tasks as iterate_tasks
from .readers import iterate_unfolded as iterate_unfolded
from .registry import TASKS as TASKS
from .registry import task_named as task_named
from .splits import permutation as permutation
from .targets import Labels as Labels
from .targets import Numeric as Numeric
from .targets import Score as Score
from .task import Task as Task
from .task_format import Example as Example
from .task_format import TaskFormat as TaskFormat

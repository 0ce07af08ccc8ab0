"""What other packages use of this one; each name is imported when it is first used."""

from .conversation import asked as asked
from .instructions import instruction_task as instruction_task
from .metrics import INVALID as INVALID
from .metrics import SIGNED as SIGNED
from .metrics import Metric as Metric
from .metrics import bootstrap as bootstrap
from .own_files import own_task as own_task
from .readers import iterate_rows as iterate_rows
from .readers import iterate_tasks as iterate_tasks
from .readers import iterate_unfolded as iterate_unfolded
from .registry import task_named as task_named
from .superglue import TASKS as TASKS
from .task import Example as Example
from .task import Labels as Labels
from .task import Score as Score
from .task import Task as Task
from .task import TaskFormat as TaskFormat
from .task import permutation as permutation

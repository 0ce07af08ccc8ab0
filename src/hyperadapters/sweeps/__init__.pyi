"""What other packages use of this one; each name is imported when it is first used."""

from .executors import Executor as Executor
from .experiment_files import load_experiments as load_experiments
from .forecasting import Forecast as Forecast
from .forecasting import forecast as forecast
from .in_turn import run_in_turn as run_in_turn
from .keys import experiment_key as experiment_key
from .narrowing import change_all as change_all
from .narrowing import keep_matching as keep_matching
from .pack import Pack as Pack
from .pack import free_memory as free_memory
from .pack_members import Clock as Clock
from .pack_members import Member as Member
from .pack_members import stack_members as stack_members
from .pack_members import start_member as start_member
from .packed_runs import Costs as Costs
from .processes import local_executor as local_executor
from .racing import Race as Race
from .racing import race as race
from .ray_cluster import ray_executor as ray_executor
from .selection import Choice as Choice
from .selection import distinguish_tasks as distinguish_tasks
from .selection import group_of as group_of
from .selection import select as select
from .sweeping import describe_sweep as describe_sweep
from .sweeping import sweep as sweep
from .tuning import tune as tune

"""What other packages use of this one; each name is imported when it is first used."""

from .executors import Executor as Executor
from .executors import on_this_machine as on_this_machine
from .forecasting import Forecast as Forecast
from .forecasting import forecast as forecast
from .packing import Clock as Clock
from .packing import Costs as Costs
from .packing import Member as Member
from .packing import Pack as Pack
from .packing import free_memory as free_memory
from .packing import stack_members as stack_members
from .packing import start_member as start_member
from .plan import chosen as chosen
from .plan import key as key
from .plan import load_experiments as load_experiments
from .plan import overridden as overridden
from .plan import run_in_turn as run_in_turn
from .ray_cluster import on_ray as on_ray
from .selection import Choice as Choice
from .selection import group_of as group_of
from .selection import named_apart as named_apart
from .selection import select as select
from .sweeping import in_words as in_words
from .sweeping import sweep as sweep

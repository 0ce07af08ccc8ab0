"""What other packages use of this one; each name is imported when it is first used."""

from .cost_table import MethodCost as MethodCost
from .cost_table import measure_costs as measure_costs
from .cost_table import median_point as median_point
from .cost_table import random_backbone as random_backbone
from .cost_table import relative_to_full as relative_to_full
from .cost_table import split_by_fit as split_by_fit
from .parameter_counts import count_paper_methods as count_paper_methods
from .published_scores import COLUMNS as COLUMNS
from .published_scores import PUBLISHED as PUBLISHED
from .published_scores import PublishedScore as PublishedScore

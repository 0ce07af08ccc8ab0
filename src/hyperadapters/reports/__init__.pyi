"""What other packages use of this one; each name is imported when it is first used."""

from . import figures as figures
from .markup import Section as Section
from .markup import in_markdown as in_markdown
from .writing import comparison_cells as comparison_cells
from .writing import comparison_title as comparison_title
from .writing import read_results as read_results
from .writing import report as report
from .writing import versions_differ as versions_differ
from .writing import write_comparison as write_comparison
from .writing import write_report as write_report

"""What other packages use of this one; each name is imported when it is first used."""

from .comparison import comparison_cells as comparison_cells
from .comparison import comparison_title as comparison_title
from .comparison import write_comparison as write_comparison
from .document import Section as Section
from .drawing import render_figure as render_figure
from .figures import Figure as Figure
from .figures import Mark as Mark
from .markdown import markdown_section as markdown_section
from .markdown import markdown_table as markdown_table
from .notes import versions_differ as versions_differ
from .reading import read_embeddings as read_embeddings
from .reading import read_results as read_results
from .writing import report as report
from .writing import write_report as write_report

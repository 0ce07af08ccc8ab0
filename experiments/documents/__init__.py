"""Makes documents, and the files under results/, from what the experiments in the folder above found.

Run from the repository's root, such as `python -m experiments.documents.pages`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # lists of experiments import each other by name, as in a sweep

"""Tasks as data: text, labels, splits, metrics, and where rows come from.

Read `task` first, then `glue` as an example: a task has a form (`task_format`) with a target (`targets`), metrics, a
source (`sources`) and a split (`splits`). `own_files` and `instructions` make tasks of your files: `own_places` finds
them, `own_rows`, `readers` and `file_formats` read them. A new task is one entry in a file here; `registry` finds it.
`described` is a family of 200. May import `_utils` alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

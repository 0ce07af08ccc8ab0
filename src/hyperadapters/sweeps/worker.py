"""The process that attempts jobs on request.

`python -m hyperadapters.sweeps.worker` reads jobs, one JSON line each, and answers each with one line.
"""

import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict

from hyperadapters.methods import METHODS
from hyperadapters.sweeps.attempts import _attempt
from hyperadapters.sweeps.jobs import _Job


def _serve() -> None:
    """Attempt the jobs that standard input names until it ends; standard output carries nothing but reports."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    assert METHODS  # imported before the first job, which is not to be charged for it
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            reports.write(json.dumps(asdict(_attempt(_Job(**json.loads(line))))) + "\n")
            reports.flush()


def _end_with(parent: int) -> None:
    """Exit at once when the process that started this one is gone; a checkpoint is never older than a minute."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    _serve()

"""What a sweep says of its progress."""

from hyperadapters.sweeps.jobs import _Report
from hyperadapters.sweeps.progress import _Progress


def test_runs_that_are_trained_together_count_together():
    progress = _Progress(50)
    progress.ended(_Report("a", "done", pack=["b", "c"]))
    assert (progress.done, progress.finished_here) == (3, 3)
    progress.ended(_Report("b", "done"))
    progress.ended(_Report("d", "failed"))
    assert (progress.done, progress.failed, progress.finished_here) == (3, 1, 3)

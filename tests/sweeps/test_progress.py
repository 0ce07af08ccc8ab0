"""What a sweep says of its progress."""

from hyperadapters.sweeps.jobs import Report
from hyperadapters.sweeps.progress import Progress


def test_runs_that_are_trained_together_count_together():
    progress = Progress(50)
    progress.ended(Report("a", "done", pack=["b", "c"]))
    assert (progress.done, progress.finished_here) == (3, 3)
    progress.ended(Report("b", "done"))
    progress.ended(Report("d", "failed"))
    assert (progress.done, progress.failed, progress.finished_here) == (3, 1, 3)

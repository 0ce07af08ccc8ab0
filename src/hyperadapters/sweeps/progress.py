"""How far a sweep is: a line of counts, and the runs under way."""

import time
from dataclasses import dataclass, field

from hyperadapters._utils import span
from hyperadapters.sweeps.jobs import _Report


@dataclass
class _Progress:
    """Counts of a sweep's runs, and the time left; rich shows it."""

    total: int
    done: int = 0
    failed: int = 0
    elsewhere: int = 0
    """Runs that another process has."""
    running: dict[str, float] = field(default_factory=dict)
    """Key -> when it started, in seconds of the monotonic clock."""
    finished_here: int = 0
    """Runs that this sweep has finished, from which the time left is estimated."""
    counted: set[str] = field(default_factory=set)
    """Keys of the runs that are counted as done: each run of a pack is reported with the pack and by itself."""
    begun: float = field(default_factory=time.monotonic)

    def started(self, key: str) -> None:
        self.running[key] = time.monotonic()

    def ended(self, report: _Report) -> None:
        """Count a report."""
        self.running.pop(report.key, None)
        ended = {report.key, *report.pack} if report.outcome in ("done", "paused") else set()
        self.finished_here += len(ended - self.counted)
        self.done += len(ended - self.counted)
        self.counted |= ended
        self.failed += report.outcome == "failed"
        self.elsewhere += report.outcome == "busy"

    def left(self) -> str:
        """Return the time left in words, from the pace so far."""
        if not self.finished_here:
            return "time left: unknown yet"
        pace = (time.monotonic() - self.begun) / self.finished_here
        return f"{span(pace * (self.total - self.done - self.failed - self.elsewhere))} left"

    def __rich__(self) -> str:
        waiting = self.total - self.done - self.failed - self.elsewhere - len(self.running)
        counts = f"{self.done} done, {len(self.running)} running, {self.failed} failed, {waiting} waiting"
        if self.elsewhere:
            counts += f", {self.elsewhere} elsewhere"
        now = [f"  {key}  {span(time.monotonic() - since)}" for key, since in dict(self.running).items()]
        return "\n".join([f"{counts}, {self.left()}", *now])

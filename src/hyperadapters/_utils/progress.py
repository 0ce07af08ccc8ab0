"""Progress of long work on standard error: a live line in a terminal or a notebook, plain lines elsewhere."""

import sys
import time
import warnings
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""Standard error: everything but results is printed here."""

SECONDS_BETWEEN_LINES = 15.0
"""Where there is no terminal, a line of progress is printed this often."""


def span(seconds: float) -> str:
    """Return a duration in seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Meter:
    """A context that counts the steps of one piece of work and shows them."""

    def __init__(self, title: str, total: int, *, done: int = 0, quiet: bool = False) -> None:
        self.title, self.total, self.done, self.quiet = title, total, done, quiet
        self.first = done
        self.rows = 0
        self.started = self.shown = time.monotonic()
        self.live: Progress | None = None
        self.bar: Any = None

    def __enter__(self) -> "Meter":
        if not self.quiet and console.is_jupyter:
            self.bar = _notebook_bar(self.title, self.total, self.done)
        elif not self.quiet and sys.stderr.isatty():
            title = TextColumn("{task.description}", markup=False)
            columns = (title, BarColumn(), TextColumn("{task.fields[note]}"))
            self.live = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self.live.start()
            self.live.add_task(self.title, total=self.total, completed=self.done, note="")
        return self

    def expect(self, total: int) -> None:
        """Set the number of steps, where it becomes known after the start."""
        self.total = total
        if self.bar is not None:
            self.bar.total = total
        elif self.live:
            self.live.update(self.live.task_ids[0], total=total)

    def advance(self, rows: int, note: str) -> None:
        """Count a step of `rows` rows, and show `note` beside it."""
        self.done += 1
        self.rows += rows
        elapsed = max(time.monotonic() - self.started, 1e-9)
        note = f"{note}  {self.rows / elapsed:,.0f} examples/s"
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(1)
        elif self.live:
            self.live.update(self.live.task_ids[0], completed=self.done, note=note)
        elif not self.quiet and time.monotonic() - self.shown > SECONDS_BETWEEN_LINES:
            self.shown = time.monotonic()
            left = elapsed / (self.done - self.first) * (self.total - self.done)
            console.print(f"{self.title}  step {self.done}/{self.total}  {note}  {span(left)} left")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.live:
            self.live.stop()


def _notebook_bar(title: str, total: int, done: int) -> Any:
    """Return a bar that a notebook shows live: a widget where ipywidgets is installed, else a line that is rewritten.

    rich's own needs ipywidgets and shows nothing without; tqdm, which transformers brings along, does not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns that it falls back to text, which is what is wanted then
        from tqdm.auto import tqdm  # noqa: PLC0415 (only in a notebook)

    return tqdm(desc=title, total=total, initial=done, leave=False, unit="step")

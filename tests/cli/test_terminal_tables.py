"""Tables for terminals of several widths: no method's name is shortened, and columns go in order."""

import contextlib
import os
import pty
import select

import pytest
from command_line import works
from rich.console import Console

from hyperadapters import METHODS, TASKS
from hyperadapters.cli.base import _show
from hyperadapters.cli.tables import _COSTS, _comparison_table, _natural_width
from results import result

LONG = "hyper-compacter (bottleneck = 96)"


def compared():
    """Two methods on a mixture of three tasks, one with a long name."""
    metrics = {"mrpc.accuracy": 88.0, "mrpc.f1": 90.0, "rte.accuracy": 70.0}
    found = [result(method, "glue/mrpc,glue/rte", metrics) for method in ("hyperformer++", "hyper-compacter")]
    found[1].__dict__["method"] = LONG
    return _comparison_table(found)


def drawn(table):
    """The lines of a table at its own width."""
    console = Console(width=_natural_width(table))
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_a_comparison_fits_and_never_shortens_a_method(width):
    table, left_out = compared().fitted(width)
    lines = drawn(table)
    assert any(LONG in line for line in lines)
    assert not any("…" in line for line in lines)
    if width >= 60:
        assert max(map(len, lines)) <= width
    order = [name for name in _COSTS if name in compared().columns]
    assert left_out[: len(order)] == order[: len(left_out)]


def test_what_has_room_is_all_there():
    table, left_out = compared().fitted(None)
    assert not left_out
    assert all(any(name in line for line in drawn(table)) for name in compared().columns)


def test_scores_outlast_costs():
    _, left_out = compared().fitted(100)
    assert left_out
    assert set(left_out) <= set(_COSTS)


LISTED = [name for name, task in TASKS.items() if not task.wordings] + ["described/"]


@pytest.mark.parametrize(("words", "names"), [(("methods",), METHODS), (("tasks",), LISTED)], ids=["methods", "tasks"])
def test_lists_fit_80_columns_with_every_name_whole(words, names):
    shown = works(*words).stdout
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert all(f" {name} " in shown for name in names)
    assert "…" not in shown


def test_a_terminal_of_80_columns_gets_no_more_and_is_told_what_is_left_out(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")  # no colours: their codes would count as columns
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal, contextlib.redirect_stdout(terminal):
        _show({}, False, compared())
        terminal.flush()
        shown = ""
        while "No room for activations" not in shown and select.select([ours], [], [], 5)[0]:
            shown += os.read(ours, 65536).decode()  # a terminal hands out what it has so far
    os.close(ours)
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert LONG in shown
    assert "No room for activations" in shown

"""Progress where there is no terminal: a notebook, a file."""

import re
import time

import pytest

from hyperadapters._utils.html_tables import html_table
from hyperadapters._utils.progress import Meter, console


def run(quiet=False, pause=0.0):
    with Meter("epoch 1/2", 4, done=1, quiet=quiet) as meter:
        for _ in range(3):
            time.sleep(pause)
            meter.advance(8, "loss 0.5")


def test_a_notebook_sees_a_bar_that_moves(monkeypatch, capsys):
    """Without ipywidgets: one line that is written again and again, and no warning."""
    monkeypatch.setattr(console, "is_jupyter", True)
    run(pause=0.15)  # tqdm writes ten times a second at most
    shown = capsys.readouterr().err
    assert re.search(r"\repoch 1/2:\s+25%", shown)
    assert re.search(r"\repoch 1/2: 100%.*4/4.*loss 0.5  [\d,]+ examples/s", shown)
    assert "\n" not in shown
    run(quiet=True)
    assert capsys.readouterr().err == ""


def test_a_file_sees_no_bar(capsys):
    run()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", ["<script>&", {"<script>&": 1}])
def test_a_table_for_notebooks_escapes_what_it_shows(value):
    table = html_table("<b>'", {"<i>": value, "share": 0.123456, "rows": 12345})
    assert "<script>" not in table
    assert "<i>" not in table
    assert "&lt;script&gt;&amp;" in table
    assert ">0.1235</td>" in table
    assert ">12,345</td>" in table

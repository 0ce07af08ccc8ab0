"""The table of what hyperadapters works with: a row holds only if all of its tests ran and passed."""

import json
import re

import pytest

from works_with import FILE, ROOT, ROWS, Row, verdict

ROW = Row("a library", ("torch", "no-such-library"), "training", "works", ("tests/a.py", "tests/b.py::test_one"))
PASSED = {"tests/a.py::test_x[1]": "passed", "tests/a.py::test_y": "passed", "tests/b.py::test_one[a]": "passed"}


def test_a_row_holds_if_everything_ran_and_passed():
    found = verdict(ROW, {**PASSED, "tests/a.py2::test": "failed", "tests/b.py::test_one_more": "failed"})
    assert (found["holds"], found["passed"], found["missing"]) == (True, 3, 0)
    assert found["releases"]["no-such-library"] is None


@pytest.mark.parametrize(
    "outcomes",
    [
        {},
        {"tests/a.py::test_x": "passed"},
        {**PASSED, "tests/a.py::test_y": "skipped"},
        {**PASSED, "tests/b.py::test_one[b]": "failed"},
    ],
)
def test_what_did_not_run_or_pass_does_not_hold(outcomes):
    assert verdict(ROW, outcomes)["holds"] is False


def test_every_bridge_has_a_row_whose_tests_are_there():
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in ROOT.glob("docs/bridges/*.md")}
    assert pages <= {row.page for row in ROWS}
    for test in (test for row in ROWS for test in row.tests):
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not name or f"def {name.partition('[')[0]}(" in text, test
        for page in re.findall(r"\[(docs/.*)\]", test):
            assert (ROOT / page).is_file(), test


def test_the_file_has_every_row_and_all_hold():
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    assert [(row["name"], row["promise"]) for row in rows] == [(row.name, row.promise) for row in ROWS]
    assert all(row["holds"] for row in rows)

"""docs/parity.md names tests that are there, and every preset."""

import re
from pathlib import Path

from hyperadapters import METHODS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert named
    assert [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


def test_every_preset_stands_on_the_page():
    assert [name for name in METHODS if f"`{name}`" not in PAGE] == []

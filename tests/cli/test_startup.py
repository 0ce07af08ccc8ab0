"""What a command imports before it says what is wrong, or what is there."""

import inspect
import json
import os
import re
import subprocess
import sys

import pytest
from command_line import works

from hyperadapters import METHODS, attach, load_backbone
from hyperadapters.cli.__main__ import app
from hyperadapters.cli.base import _share_processors

COMMANDS = "train compare evaluate predict bake info sweep report methods tasks count cost".split()

PASSIVE = {"OMP_WAIT_POLICY": "passive"}

SLOW = ("transformers", "accelerate", "datasets", "sklearn", "scipy", "matplotlib")

SCRIPT = """
import json, sys
from hyperadapters.cli.__main__ import app
slow, commands = json.loads(sys.argv[1])
found = []
for words in commands:
    try:
        app(words, prog_name="hyperadapters")
    except SystemExit as end:
        found.append([" ".join(words), end.code, [name for name in slow if name in sys.modules]])
print(json.dumps(found), file=sys.stderr)
"""

OWN = ("--train", "missing.jsonl", "--validation", "missing.jsonl", "--text", "a", "--label", "b")

WRONG = [
    ("train", *OWN),
    ("train", "--methd", "full"),
    ("train", "--epochs", "x"),
    ("train", "--method", "compactor"),
    ("train", "--task", "glue/mprc"),
    ("train", "--task", "glue/rte", "--data", "missing"),
    ("train", "--set", "training.lrr=1"),
    ("train", "--set", "method.nn=1"),
    ("train", "--lr", "1", "--set", "training.lr=2"),
    ("train", "--config", "missing.yaml"),
    ("train", "--from", "missing", "--task", "glue/rte"),
    ("train", "--output", "/"),
    ("compare", "--methods", "ful"),
    ("predict", "missing", "text"),
    ("evaluate", "missing"),
    ("info", "missing"),
    ("bake", "missing", "--task", "rte", "--output", "missing-too"),
    ("sweep", "missing.py"),
    ("report", "missing"),
    ("count", "--method", "ful"),
    ("cost", "--methods", "ful"),
]


def ends(slow, commands, code):
    """Run commands one after the other in a process; each ends with this code, and none imports what is slow."""
    commands = [[str(word) for word in words] for words in commands]
    script = [sys.executable, "-c", SCRIPT, json.dumps([slow, commands])]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == [[" ".join(words), code, []] for words in commands]
    return done


def test_help_teaches_and_imports_nothing_slow():
    commands = [[name, "--help"] for name in COMMANDS]
    shown = ends((*SLOW, "torch"), [["--help"], *commands], 0).stdout
    assert all(name in shown for name in COMMANDS)


def test_what_is_looked_up_is_found_without_transformers(tmp_path):
    backbone, _ = load_backbone()
    attach(backbone, METHODS["compacter"]).save(tmp_path)
    ends(SLOW, [["methods"], ["tasks"], ["methods", "--json"], ["info", tmp_path]], 0)


def test_a_wrong_input_is_refused_without_transformers():
    ends(SLOW, WRONG, 2)


def test_help_shows_every_word_of_what_is_written():
    """Rich's Markdown drops what looks like HTML: every line of a docstring and of an option's help is in the page."""
    for found in app.registered_commands:
        shown = "".join(letters(works(found.name or found.callback.__name__, "--help").stdout))
        written = [inspect.cleandoc(found.callback.__doc__)]
        for annotation in found.callback.__annotations__.values():
            written += [option.help for option in getattr(annotation, "__metadata__", ())]
        for text in written:
            assert letters(text) in shown, text


def letters(text):
    """A text without what boxes, bullets and line ends put in between."""
    return re.sub(r"[^\w<>+=:/.,()-]|(?<=\s)-(?=\s)", "", text)


@pytest.mark.parametrize(("given", "wanted"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), (PASSIVE, None)])
def test_waiting_threads_give_way_unless_the_user_says_otherwise(monkeypatch, given, wanted):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    _share_processors()
    assert os.environ.get("GOMP_SPINCOUNT") == wanted
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)

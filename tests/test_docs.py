"""The README's examples, run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyperadapters.methods.registry import count_parameters

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_examples_run(number, tmp_path):
    code = blocks("python")[number]
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_first_example_has_ten_lines_and_saves_an_adapter():
    assert len(blocks("python")[0].strip().splitlines()) <= 10
    assert "delta.save" in blocks("python")[0]


@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_the_shell_examples_run(number, tmp_path):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks("sh")[number]],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_commands_that_need_a_hub_have_options_that_exist():
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("hyperadapters")]
    assert lines
    for line in lines:
        name, *words = line.split()[1:]
        shown = subprocess.run(
            [sys.executable, "-m", "hyperadapters.cli", name, "--help"],
            env=ENVIRONMENT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        assert all(word in shown for word in words if word.startswith("--"))


def test_the_counts_in_the_readme_are_those_of_the_tests():
    from hyperadapters import METHODS, count_parameters
    from methods.test_counts import BASE

    table = dict(re.findall(r"^\| `(\S+)` \|.*\| ([\d,]+) \(", README, re.MULTILINE))
    n = {"phm": 12, "compacter": 4, "compacter++": 4}
    for name, count in table.items():
        row = (name, n[name]) if name in n else (name,)
        assert int(count.replace(",", "")) == BASE[row][0]
    many = re.findall(r"^\| `(\S+)` \|.*\| ([\d,]+) \|$", (ROOT / "docs" / "multi-task.md").read_text(), re.MULTILINE)
    for name, count in many:
        if name != "full-multitask":
            assert int(count.replace(",", "")) == count_parameters(METHODS[name], backbone="t5-base", tasks=8).trained
    assert {*table, *dict(many)} == set(METHODS)


def test_the_guide_to_a_new_method_gives_one_that_works(tiny, batch):
    from hyperadapters import attach

    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "add-a-method.md").read_text(), re.M | re.S)
    names: dict = {"__name__": "guide"}
    exec(code, names)
    delta = attach(tiny, names["PRESETS"]["tied"])
    tiny(**batch).loss.backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in delta.trained().values())
    assert count_parameters(delta).by_kind == {"adapter": 8 * (48 * 24 + 48 + 24), "norm": 12 * 48}


def test_every_link_to_a_file_leads_somewhere():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"

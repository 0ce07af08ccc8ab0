"""Run a selection of the tests with the oldest and the newest releases that pyproject.toml declares: `make versions`.

Every pair of a Python and an end of the ranges gets an environment of its own, in `build/versions`. The newest is what
pip finds today within the ranges, not what constraints.txt has. PyTorch is taken as a CPU build only: where the index
has just builds for CUDA, the release of constraints.txt is taken, and where that is one too, the pair is skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "versions"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPORTED = ("torch", "transformers", "peft", "typer", "lazy_loader", "huggingface_hub", "datasets")
CONTRACT = """
tests/backbones/test_optimized_attention.py tests/cli/test_startup.py tests/delta/test_ways_of_generating.py
tests/methods/test_peft.py tests/methods/test_prompts.py tests/runs/test_running.py tests/storage
tests/tasks/test_sources.py tests/test_versions.py
""".split()
"""What reads other libraries' names: generation, caches, the PEFT method, the command line, lazy names, files, data."""


class Skipped(Exception):
    """A pair that cannot be tried here; says why."""


class Outcome(NamedTuple):
    """A row of the table."""

    name: str
    verdict: str
    seconds: float
    releases: dict[str, str]


def declared() -> list[Requirement]:
    """Return the dependencies, those of the extra `all` included."""
    extras = PROJECT["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    lines = [*PROJECT["dependencies"], *(line for extra in sorted(everything.extras) for line in extras[extra])]
    return [Requirement(line) for line in dict.fromkeys(lines)]


def oldest() -> dict[str, str]:
    """Return the lower end of every range."""
    return {need.name: next(end.version for end in need.specifier if end.operator == ">=") for need in declared()}


def pythons() -> Iterator[tuple[str, str | None]]:
    """Return the declared Pythons, each with the path of an interpreter that starts, or None."""
    for line in PROJECT["classifiers"]:
        if found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line):
            version = found[1]
            installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
            candidates = [shutil.which(f"python{version}"), *map(str, installed)]
            yield version, next((path for path in candidates if path and starts(path)), None)


def starts(python: str) -> bool:
    """Return whether an interpreter runs and can make environments."""
    return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0


def cpu_build(python: str, *candidates: str) -> str:
    """Return the first requirement of PyTorch that is met by a CPU build, pinned; nothing is downloaded.

    Raises:
        Skipped: the index has none.
    """
    for candidate in candidates:
        options = ["--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-"]
        command = [python, "-m", "pip", "install", *options, candidate]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)["install"][0]["metadata"] if done.returncode == 0 else {}
        needs = found.get("requires_dist", ["nvidia"])
        if not any(need.startswith(("nvidia", "cuda")) for need in needs):
            return f"torch=={found['version']}"
    raise Skipped(f"no CPU build of PyTorch among {', '.join(candidates)}")


def build(name: str, interpreter: str, end: str) -> str:
    """Make the environment of a pair, and return its Python."""
    folder = FOLDER / name
    if not (folder / "bin" / "python").exists():
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
    (pinned,) = re.findall(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    (needed,) = (need for need in declared() if need.name == "torch")
    if end == "oldest":
        pins = {**oldest(), "torch": cpu_build(python, f"torch=={oldest()['torch']}").partition("==")[2]}
        lines = [f"{name}=={version}" for name, version in pins.items()]
    else:
        lines = [cpu_build(python, str(needed), pinned)]
    (folder / "pins.txt").write_text("\n".join(lines), encoding="utf-8")
    wanted = ["--upgrade", "-c", str(folder / "pins.txt"), "-e", f"{ROOT}[dev]"]
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *wanted], text=True, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the releases of {folder / 'pins.txt'} do not go together: {done.stderr[-800:]}")
    return python


def releases(python: str) -> dict[str, str]:
    """Return the installed releases that the table shows."""
    script = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.check_output([python, "-c", script, *REPORTED], text=True)
    return dict(zip(REPORTED, found.split(), strict=True))


def try_pair(version: str, interpreter: str | None, end: str) -> Outcome:
    """Build an environment and run the selection in it."""
    name, began = f"{version}-{end}", time.monotonic()
    try:
        if interpreter is None:
            raise Skipped(f"no Python {version} here")
        python = build(name, interpreter, end)
    except Skipped as reason:
        return Outcome(name, f"skipped: {reason}", time.monotonic() - began, {})
    except RuntimeError as reason:
        return Outcome(name, f"failed: {reason}", time.monotonic() - began, {})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    # what libraries of different ages say of each other is no failure of ours
    warnings = ["-W", "default::DeprecationWarning", "-W", "default::FutureWarning"]
    done = subprocess.run(
        [python, "-m", "pytest", "-n", "0", *warnings, *CONTRACT], cwd=ROOT, env=environment, check=False
    )
    return Outcome(name, "failed" if done.returncode else "passed", time.monotonic() - began, releases(python))


def main() -> None:
    """Try every pair, print the table, and exit with 1 if one failed. Arguments choose pairs: `3.11-oldest`."""
    chosen, outcomes = sys.argv[1:], []
    for version, interpreter in pythons():
        for end in ("oldest", "newest"):
            if not chosen or f"{version}-{end}" in chosen:
                outcomes.append(try_pair(version, interpreter, end))
    for name, verdict, seconds, found in outcomes:
        print(f"{name}  {seconds:5.0f} s  {verdict}", *(f"{key} {value}" for key, value in found.items()), sep="  ")
    sys.exit(any(outcome.verdict.startswith("failed") for outcome in outcomes))


if __name__ == "__main__":
    main()

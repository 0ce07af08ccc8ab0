"""Says, as one line of JSON, what the entries of `gpu.py` lack here: packages, versions, modules that cannot be loaded.

Run by `gpu.py` in the environment of the entries. Reads the package's own list of what it needs.
"""

import importlib
import importlib.util
import json
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent
NOT_NEEDED = {"datasets"}
"""Reads data sets of the Hub, which no entry does."""
BESIDE = ("peft", "packaging")
SCRIPTS = ("step", "compiled_step", "packed", "pool", "graphs", "cost_table", "said")


def lacking() -> list[str]:
    """Return the requirements that are not met, with what is there instead."""
    needs = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found = []
    for need in (*needs, *BESIDE):
        name = need.split(">")[0].split("<")[0].split("=")[0].split("[")[0].strip()
        if name in NOT_NEEDED:
            continue
        try:
            there = version(name)
        except PackageNotFoundError:
            found.append(need)
            continue
        if not fits(need, there):
            found.append(f"{need} (here is {there})")
    return found


def fits(need: str, there: str) -> bool:
    """Whether a version fits a requirement; yes where nothing can tell."""
    if importlib.util.find_spec("packaging") is None:
        return True
    requirements = importlib.import_module("packaging.requirements")
    return bool(requirements.Requirement(need).specifier.contains(there, prereleases=True))


def broken(scripts: tuple[str, ...]) -> dict[str, str]:
    """Return the scripts that cannot be loaded, with the first line of why."""
    found = {}
    for script in scripts:
        try:
            importlib.import_module(script)
        except Exception as error:  # whatever it is, the entry would not begin
            found[script] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def main() -> None:
    missing = lacking()
    triton = importlib.util.find_spec("triton") is not None
    report = {"lacking": missing, "triton": triton, "broken": {}, "gpu": "", "python": sys.version.split()[0]}
    if not missing:
        report["broken"] = broken((*SCRIPTS, *(["fused_bottleneck"] if triton else [])))
        torch = importlib.import_module("torch")
        report["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        report["torch"] = torch.__version__
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""A sweep's file: a Python program whose `experiments()` returns the experiments."""

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from hyperadapters._utils import InputError, expand_path
from hyperadapters.runs import Experiment


def load_experiments(path: Path) -> list[Experiment]:
    """Run a Python file, the user's own program, and return the list that its `experiments()` returns.

    Args:
        path: a file whose name ends in .py; it may import its neighbours.

    Raises:
        InputError: there is no such file or function, it fails, or it returns something else.
    """
    path = expand_path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist. A sweep is a Python file with a function experiments().")
    spec = importlib.util.spec_from_file_location(f"experiments in {path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file: its name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses look for the names in their annotations
    with _locating_errors(path):
        sys.path.insert(0, str(path.parent.resolve()))  # so that it can import its neighbours
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
    if not callable(getattr(module, "experiments", None)):
        raise InputError(f"{path} has no function experiments() that returns a list of Experiment.")
    with _locating_errors(path):
        found = module.experiments()
    if not isinstance(found, list) or not all(isinstance(item, Experiment) for item in found):
        raise InputError(f"{path}: experiments() must return a list of Experiment.")
    return found


@contextlib.contextmanager
def _locating_errors(path: Path) -> Iterator[None]:
    """Turn any error of the user's program into an InputError that names its line."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
        place, what = f"{path}:{lines[-1]}" if lines else str(path), f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError):
            place, what = f"{error.filename}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
        raise InputError(f"{place}: {error if isinstance(error, InputError) else what}") from error

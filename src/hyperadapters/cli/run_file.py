"""The file that `train --config` names: an experiment, or a part of one, in YAML or JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import InputError
from hyperadapters.cli.parsing import _parse_file
from hyperadapters.cli.task_file import _choose_entries, _with_defaults

if TYPE_CHECKING:
    from hyperadapters.delta import Method
    from hyperadapters.runs import Experiment, TaskChoice, WarmStart

_SECTIONS = ("training", "text", "evaluation")
"""The parts of an experiment that are settings alone."""


@dataclass(frozen=True)
class _RunFile:
    """What a file says of an experiment; what it leaves out has the command's defaults.

    Its keys are those of `experiment.json`. In place of the whole of them, `method` may be a name, or a name and the
    fields to change; `task` may be a name, or a list of names and own files as `--tasks` takes them; `start` needs its
    `adapter` alone.
    """

    method: Any = None
    task: Any = None
    backbone: str = ""
    start: Mapping[str, Any] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    """The settings of its sections by their path, such as training.lr, as text; whatever else stands there too, so that
    one error names every unknown key."""
    problems: tuple[str, ...] = ()
    """What is wrong with the file as a whole: sections and values of a wrong type, which are left out."""

    def method_choice(self, default: "Method") -> "Method":
        """Return the method that is named, or the default; its fields are among the settings.

        Raises:
            InputError: there is no such method.
        """
        from hyperadapters.delta import method_to_json
        from hyperadapters.methods import METHODS, method_from_json, method_named

        if not isinstance(self.method, Mapping):
            return method_named(str(self.method))
        if "name" in self.method:
            return method_named(str(self.method["name"]))
        if "type" not in self.method:
            return default
        presets = (preset for preset in METHODS.values() if type(preset).__name__ == self.method["type"])
        preset = next(presets, None)
        if preset is None:
            return method_from_json(self.method)
        known = method_to_json(preset)
        return method_from_json({**known, **{key: value for key, value in self.method.items() if key in known}})

    def task_choice(self, data: str, seed: int) -> "TaskChoice":
        """Return what the file says to train on.

        Args:
            data: the folder with the official files, where the command line gives one.
            seed: draws the validation rows where they are a share of the training rows, unless the file says
                `split_seed`.

        Raises:
            InputError: there is no such task or type of task, or fields are missing or wrong.
        """
        from hyperadapters._utils import settings

        if not isinstance(self.task, Mapping):
            return _choose_entries(self.task if isinstance(self.task, list) else [self.task], "task", data, seed)
        if self.task.get("type") != "mixture":
            return _choose_entries([self.task], "task", data, seed)
        entries = self.task.get("tasks")
        mixture = {key: value for key, value in _with_defaults(self.task, seed).items() if key != "tasks"}
        if not isinstance(entries, list) or len(entries) < 2:
            raise InputError("task.tasks: a mixture lists two tasks or more.")
        chosen = settings.dump(_choose_entries(entries, "task.tasks", data, seed))
        return self.experiment_with(task={**chosen, **mixture}).task

    def warm_start(self) -> "WarmStart | None":
        """Return the trained adapter to continue from, if the file names one.

        Raises:
            InputError: there is no adapter, or fields are missing or wrong.
        """
        from hyperadapters.runs import start_from

        if not self.start:
            return None
        if "digest" in self.start:
            return self.experiment_with(start=self.start).start
        unknown = [f"start.{key}" for key in self.start if key not in ("adapter", "like", "freeze")]
        if unknown or "adapter" not in self.start:
            raise InputError(f"start has the keys adapter, like and freeze; found {', '.join(self.start) or 'none'}.")
        return start_from(
            str(self.start["adapter"]), str(self.start.get("like", "")), freeze=bool(self.start.get("freeze"))
        )

    @staticmethod
    def experiment_with(**parts: Any) -> "Experiment":
        """Return an experiment with these parts read from JSON, and others of no account."""
        from hyperadapters.methods import METHODS
        from hyperadapters.runs import Experiment, NamedTask
        from hyperadapters.training import Training

        task = NamedTask(name="demo/paraphrase")
        some = Experiment(method=next(iter(METHODS.values())), task=task, training=Training(lr=1e-3))
        return Experiment.from_json({**some.to_json(), **parts})


def _read_run_file(path: Path) -> _RunFile:
    """Return what a YAML or JSON file says of an experiment.

    Raises:
        InputError: there is no such file, it cannot be read, or it is no mapping.
    """
    values, problems = _parsed(path), []
    settings: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in ("task", "start"):
            settings |= {f"{key}.{name}": _as_text(item) for name, item in value.items() if _not_a_name(key, name)}
        elif key in _SECTIONS:
            problems.append(f"{path}: {key} is {value!r}; it holds settings, such as {key}: {{KEY: VALUE}}.")
        elif key not in ("method", "task", "backbone", "start"):
            settings[str(key)] = _as_text(value)
    known = {name: values[name] for name in ("method", "task", "backbone", "start") if name in values}
    if not isinstance(known.get("backbone", ""), str):
        problems.append(f"{path}: backbone is {known.pop('backbone')!r}; it is a folder or a name.")
    if not isinstance(known.get("start") or {}, Mapping):
        problems.append(f"{path}: start is {known.pop('start')!r}; write it as start: {{adapter: FOLDER}}.")
    return _RunFile(**known, settings=settings, problems=tuple(problems))


def _not_a_name(section: str, key: str) -> bool:
    """Return whether a key of a section is a setting, rather than what says which method it is."""
    return section != "method" or key not in ("name", "type")


def _parsed(path: Path) -> Mapping[str, Any]:
    """Return the mapping that a file holds: JSON if its name ends so, YAML otherwise."""
    from hyperadapters._utils import check_json

    values = _parse_file(path, "--config")
    if not isinstance(values, Mapping):
        raise InputError(f"--config {path} holds no experiment: write `key: value` lines, such as task: glue/mrpc.")
    return check_json(values, f"--config {path}")


def _as_text(value: Any) -> str:
    """Return a value as the command line would write it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)

"""What a run is, as data: frozen dataclasses, strict JSON both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.backbones import EMBEDDED
from hyperadapters.delta import Method, method_to_json
from hyperadapters.methods import method_from_json
from hyperadapters.runs.task_choice import TASK_CHOICES, MixtureTask, TaskChoice
from hyperadapters.training import LATER, Evaluation, Text, Training

EXPERIMENT = "experiment.json"
"""The file of an experiment in the folder of its run."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """A trained adapter that a run goes on from, as `start_from` makes it."""

    adapter: str
    """Its folder."""
    digest: str
    """SHA-256 of its tensors' file: the run is of these weights, wherever they lie."""
    like: str = ""
    """The task of it that a new task starts from; empty: the mean of all."""
    freeze: bool = False
    """Train only what the new task has for itself."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run, whole: the same experiment gives the same result."""

    method: Method
    task: TaskChoice
    training: Training
    backbone: str = EMBEDDED
    text: Text = field(default_factory=Text)
    evaluation: Evaluation = field(default_factory=Evaluation)
    start: WarmStart | None = None
    """A trained adapter to go on from; None: a fresh one."""

    def __post_init__(self) -> None:
        """Refuse a decay that would move what is frozen."""
        if self.start and self.start.freeze and self.training.weight_decay:
            raise InputError(
                f"training.weight_decay={self.training.weight_decay} would shrink the other tasks' entries, which are "
                "to stay as they are: leave it at 0 where the rest is frozen."
            )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `start` where there is one."""
        kind = next(name for name, cls in TASK_CHOICES.items() if cls is type(self.task))
        return {
            "method": method_to_json(self.method),
            "task": {"type": kind, **settings.dump(self.task)},
            "training": self.training.to_json(),
            "backbone": self.backbone,
            "text": settings.dump(self.text),
            "evaluation": settings.dump(self.evaluation),
            **({"start": settings.dump(self.start)} if self.start else {}),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Experiment":
        """The experiment that `to_json` wrote.

        Raises:
            InputError: fields missing, unknown or of a wrong type.
        """
        known = {f.name for f in fields(Experiment)}
        if {*values, "start"} != known:
            raise InputError(f"an experiment has the fields {', '.join(sorted(known))}; found {', '.join(values)}.")
        wrong = [
            name for name, value in values.items() if not isinstance(value, str if name == "backbone" else Mapping)
        ]
        if wrong:
            found = ", ".join(f"{name}: {values[name]!r}" for name in wrong)
            raise InputError(f"an experiment's backbone is a text, its other fields are JSON objects; found {found}.")
        task = dict(values["task"])
        task_type = TASK_CHOICES.get(str(task.pop("type", "")))
        if task_type is None:
            raise InputError(f"an experiment's task is of type {', '.join(TASK_CHOICES)}; found {values['task']}.")
        return Experiment(
            method=method_from_json(values["method"]),
            task=settings.parse(task_type, task, "task"),
            training=settings.parse(Training, {**LATER, **values["training"]}, "training"),
            backbone=values["backbone"],
            text=settings.parse(Text, values["text"], "text"),
            evaluation=settings.parse(Evaluation, values["evaluation"], "evaluation"),
            start=settings.parse(WarmStart, values["start"], "start") if "start" in values else None,
        )


def apply_changes(experiment: Experiment, changes: Mapping[str, str]) -> Experiment:
    """An experiment with some settings changed, as `--set section.key=value` names them.

    Raises:
        InputError: unknown sections or keys (names their neighbours) or wrong types, all in one error.
    """
    sections: dict[str, dict[str, str]] = {"method": {}, "training": {}, "text": {}, "evaluation": {}}
    if isinstance(experiment.task, MixtureTask):
        sections["task"] = {}
    problems = []
    for path, value in changes.items():
        section, _, key = path.partition(".")
        if section not in sections or not key:
            every = [f"{s}.{f.name}" for s in sections for f in fields(getattr(experiment, s))]
            same = [name for name in every if name.endswith(f".{key or section}")]
            hint = f"Did you mean {' or '.join(same)}?" if same else neighbours(path, every)
            problems.append(f"{path}: no such setting. {hint}")
        else:
            sections[section][key] = value
    changed = {}
    for section, values in sections.items():
        try:
            current = getattr(experiment, section)
            is_method = isinstance(current, Method)
            changed[section] = current.changed(values) if is_method else settings.updated(current, values, section)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n  ".join(problems))
    return replace(experiment, **changed)

"""What a run is, as data: frozen dataclasses, strict JSON both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.backbones import EMBEDDED
from hyperadapters.delta import Method
from hyperadapters.methods import METHOD_TYPES
from hyperadapters.runs.task_choice import TASK_CHOICES, MixtureTask, TaskChoice
from hyperadapters.training import Evaluation, Text, Training


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

    method: Method = field(metadata=settings.one_of(METHOD_TYPES))
    task: TaskChoice = field(metadata=settings.one_of(TASK_CHOICES))
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
        """Return the experiment as plain JSON; the method and the task say by `type` which they are."""
        return settings.dump(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Experiment":
        """Return the experiment that `to_json` wrote.

        Raises:
            InputError: fields are missing, unknown or of a wrong type, or do not go together; all of them in one error.
        """
        return settings.parse(Experiment, values, "")


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

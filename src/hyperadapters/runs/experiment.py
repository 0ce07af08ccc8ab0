"""A run as data: frozen dataclasses with strict JSON both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hyperadapters._utils import InputError, check_json, listed, neighbours, settings, shortened
from hyperadapters.backbones import EMBEDDED
from hyperadapters.delta import Method
from hyperadapters.methods import METHOD_TYPES
from hyperadapters.runs.task_choice import TASK_CHOICES, MixtureTask, TaskChoice
from hyperadapters.training import Evaluation, Text, Training

EXPERIMENT = "experiment.json"
"""The file of an experiment in the folder of its run."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """The trained adapter that a run starts from; `start_from` makes it."""

    adapter: str
    """The adapter's folder."""
    digest: str
    """SHA-256 of the file of its tensors: the run starts from these weights, wherever they are moved."""
    like: str = ""
    """The adapter's task whose entry a new task starts from; empty: the mean of all entries."""
    freeze: bool = False
    """Train the new task's own entry alone."""

    def __post_init__(self) -> None:
        """Raise InputError if a value is of a wrong type."""
        settings.check(self, "start")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a run: on one machine, the same experiment gives the same result."""

    method: Method = field(metadata=settings.one_of(METHOD_TYPES))
    task: TaskChoice = field(metadata=settings.one_of(TASK_CHOICES))
    training: Training
    backbone: str = EMBEDDED
    """A folder, a name on the Hugging Face Hub, or `embedded`: the T5 inside the package."""
    text: Text = field(default_factory=Text)
    evaluation: Evaluation = field(default_factory=Evaluation)
    start: WarmStart | None = None
    """The trained adapter to start from; None: a new one."""

    def __post_init__(self) -> None:
        """Raise InputError for a method or a task that is of another type, such as a name."""
        problems: list[str] = []
        if not isinstance(self.method, Method):
            name = shortened(str(self.method))
            problems.append(f"method={name!r}: give METHODS[{name!r}], or an object such as Compacter().")
        if not isinstance(self.task, TaskChoice):
            problems.append(
                f"task={shortened(str(self.task))!r}: give NamedTask(name=...), FilesTask(train=..., ...) for files of "
                "your own, InstructionsTask or MixtureTask. (What own_task returns is for load_data.)"
            )
        if problems:
            raise InputError(listed(problems))
        settings.check(self, "experiment")

    def to_json(self) -> dict[str, Any]:
        """Return the experiment as plain JSON; the method and the task say by `type` which they are."""
        return settings.dump(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Experiment":
        """Return the experiment that `to_json` gave or `experiment.json` holds, whose checksum is compared.

        Raises:
            InputError: fields are missing, unknown or of a wrong type, or do not go together; all of them in one error.
        """
        given = check_json(values, "the experiment") if isinstance(values, Mapping) else values
        return settings.parse(Experiment, given, "")


def apply_changes(experiment: Experiment, changes: Mapping[str, str]) -> Experiment:
    """Return an experiment with some settings changed.

    Args:
        experiment: to change.
        changes: path such as `training.lr` -> value as text, as `--set section.key=value` gives them.

    Raises:
        InputError: unknown sections or keys (with the nearest ones), or wrong types; all of them in one error.
    """
    sections = ["method", "training", "text", "evaluation"] + ["task"] * isinstance(experiment.task, MixtureTask)
    by_section: dict[str, dict[str, str]] = {section: {} for section in sections}
    problems = []
    for path, value in changes.items():
        section, _, key = path.partition(".")
        if section in sections and key:
            by_section[section][key] = value
        else:
            known = [f"{s}.{f.name}" for s in sections for f in fields(getattr(experiment, s))]
            ending = [name for name in known if name.endswith(f".{key or section}")]
            hint = f"Did you mean {' or '.join(ending)}?" if ending else neighbours(path, known)
            problems.append(f"{path}: no such setting. {hint}")
    changed = {}
    for section, values in by_section.items():
        current = getattr(experiment, section)
        try:
            is_method = isinstance(current, Method)
            changed[section] = current.changed(values) if is_method else settings.updated(current, values, section)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(listed(problems, most=30))
    return replace(experiment, **changed)

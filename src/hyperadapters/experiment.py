"""What a run is, as data: frozen dataclasses, strict JSON both ways."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from hyperadapters import settings
from hyperadapters.backbone import EMBEDDED, Precision
from hyperadapters.data import Text
from hyperadapters.errors import InputError, neighbours
from hyperadapters.methods import method_from_json
from hyperadapters.methods.adapters import Adapter, Compacter, LowRankAdapter, PHMAdapter
from hyperadapters.methods.full import FullFineTuning, FullMultiTask
from hyperadapters.methods.hyperformer import (
    AdaptersMultiTask,
    HyperCompacter,
    HyperFormer,
    HyperFormerPlusPlus,
    HyperPHM,
)
from hyperadapters.methods.method import Method, method_to_json
from hyperadapters.tasks import own_task, task_named
from hyperadapters.tasks.instructions import instruction_task
from hyperadapters.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a Delta is trained: AdamW, linear warm-up and decay, the best evaluation kept (Compacter, appendix A)."""

    lr: float
    """Peak learning rate."""
    epochs: int = 3
    """Passes over the training rows."""
    steps: int | None = None
    """Updates, however many passes over the rows they take; None: as many as `epochs` give."""
    batch_size: int = 32
    """Rows a step, over all processes and accumulated parts."""
    accumulation: int = 1
    """Parts in which a batch is computed, to save memory; the result is the same."""
    warmup_steps: int = 0
    """Steps of linear warm-up; the rate then falls linearly to 0."""
    weight_decay: float = 0.0
    """AdamW's decay."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Precision = "fp32"
    """`bf16` computes the backbone under autocast; the Delta stays in float32."""
    backbone_precision: Precision = "fp32"
    """The type that the backbone's frozen weights are held in; `bf16` takes half the memory and computes in it, in
    training and afterwards."""
    adapter_precision: Precision = "fp32"
    """The type that the Delta is held, trained and saved in."""
    gradient_checkpointing: bool = False
    """Keep each layer's input alone and compute the rest again in the backward pass: less memory, more time."""
    evaluate_steps: int | None = None
    """Evaluate every so many steps; None: after every epoch, or after every tenth of `steps`."""
    patience: int | None = None
    """Stop after so many evaluations without a better one; None: never."""
    checkpoint_seconds: float = 60.0
    """Write a checkpoint at least so often, besides after every evaluation."""
    seed: int = 42
    """Of initialisation, order and dropout."""
    fast_dropout: bool = True
    """On a CPU, draw the backbone's dropout masks from cheap random numbers; False: as PyTorch does."""
    compile: bool | Literal["auto", "graphs"] = "auto"
    """Train through torch.compile, with lengths padded to buckets so that few shapes are compiled. `auto`: on CUDA,
    those lengths that a run of one task on one device meets often enough; `graphs`: with CUDA graphs too."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense, all in one error."""
        rates = ("lr", "max_grad_norm")
        counts = ("epochs", "steps", "batch_size", "accumulation", "evaluate_steps", "patience")
        positive = (*rates, *counts)
        bad = [f"training.{n}={getattr(self, n)}: more than 0" for n in positive if _below(getattr(self, n), 1e-300)]
        least = ("warmup_steps", "weight_decay", "checkpoint_seconds", "seed")
        bad += [f"training.{n}={getattr(self, n)}: 0 or more" for n in least if _below(getattr(self, n), 0)]
        finite = ("lr", "weight_decay")
        bad += [f"training.{n}=inf: a finite number" for n in finite if getattr(self, n) == math.inf]
        bad += [f"training.seed={self.seed}: less than 2**63"] if self.seed >= 2**63 else []
        if bad:
            raise InputError("\n  ".join(bad))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON. What came later is left out where it is not set: the run is the one it was without it."""
        return {key: value for key, value in settings.dump(self).items() if (key, value) not in LATER.items()}


LATER = {
    "steps": None,
    "compile": "auto",
    "backbone_precision": "fp32",
    "adapter_precision": "fp32",
    "gradient_checkpointing": False,
}
"""Settings of training that came after the first files were written, as those files mean them."""


def _below(value: float | None, limit: float) -> bool:
    return value is not None and not value >= limit


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How answers are obtained."""

    decode: Literal["auto", "score", "generate"] = "auto"
    """`score`: the likeliest label string, always valid; `generate`: greedy decoding, as in the papers;
    `auto`: score where the answers are labels, else generate."""
    batch_size: int = 128
    """Rows evaluated together."""
    beams: int = 1
    """Beams of generation; 1 is greedy."""

    def __post_init__(self) -> None:
        """Refuse what no evaluation can be done with."""
        for name in ("batch_size", "beams"):
            if getattr(self, name) < 1:
                raise InputError(f"evaluation.{name}={getattr(self, name)}: 1 or more.")


@dataclass(frozen=True, kw_only=True)
class NamedTask:
    """A task of the package."""

    name: str
    """As `hyperadapters tasks` lists it."""
    data: str = ""
    """Folder with the official files; empty: from the Hub."""


@dataclass(frozen=True, kw_only=True)
class FilesTask:
    """A user's own files."""

    train: str
    validation: str
    test: str = ""
    text: tuple[str, ...]
    """Columns of the source."""
    answer: str
    """Column of the answer."""
    classify: bool
    """Whether the answers are classes."""


@dataclass(frozen=True, kw_only=True)
class InstructionsTask:
    """A user's own files of conversations, or of prompts and responses (`instruction_task`)."""

    train: str
    validation: str
    test: str = ""


@dataclass(frozen=True, kw_only=True)
class MixtureTask:
    """Several tasks of the package, trained together in one Delta."""

    names: tuple[str, ...]
    """As `hyperadapters tasks` lists them."""
    data: str = ""
    """Folder with the official files of all of them; empty: from the Hub."""
    temperature: float = 10.0
    """T of p ∝ (N/ΣN)^(1/T), by which tasks are drawn (`Mixture`)."""

    def __post_init__(self) -> None:
        """Refuse what no JSON holds."""
        if not math.isfinite(self.temperature):
            raise InputError(f"task.temperature={self.temperature}: a number, such as 10; 1e9 draws all tasks alike.")


TaskChoice = NamedTask | FilesTask | InstructionsTask | MixtureTask
"""What a run is trained on."""

TASK_TYPES: dict[str, type[TaskChoice]] = {
    "named": NamedTask,
    "files": FilesTask,
    "instructions": InstructionsTask,
    "mixture": MixtureTask,
}
"""What the JSON of an experiment calls each."""


@dataclass(frozen=True, kw_only=True)
class Start:
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
    start: Start | None = None
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
        kind = next(name for name, cls in TASK_TYPES.items() if cls is type(self.task))
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
        task_type = TASK_TYPES.get(str(task.pop("type", "")))
        if task_type is None:
            raise InputError(f"an experiment's task is of type {', '.join(TASK_TYPES)}; found {values['task']}.")
        return Experiment(
            method=method_from_json(values["method"]),
            task=settings.parse(task_type, task, "task"),
            training=settings.parse(Training, {**LATER, **values["training"]}, "training"),
            backbone=values["backbone"],
            text=settings.parse(Text, values["text"], "text"),
            evaluation=settings.parse(Evaluation, values["evaluation"], "evaluation"),
            start=settings.parse(Start, values["start"], "start") if "start" in values else None,
        )


EMBEDDED_RATES = {
    FullFineTuning: 3e-4,
    FullMultiTask: 3e-4,
    Adapter: 3e-3,
    LowRankAdapter: 1e-2,
    PHMAdapter: 1e-2,
    Compacter: 1e-2,
    AdaptersMultiTask: 3e-3,
    HyperFormer: 3e-4,
    HyperFormerPlusPlus: 3e-4,
    HyperCompacter: 1e-3,
    HyperPHM: 3e-4,
}
"""For the T5 inside the package, a sixtieth of T5-base, by validation on demo tasks (docs/embedded.md)."""


def suggested_rate(method: Method, backbone: str) -> float:
    """The learning rate to start from: the method's own, found at T5-base, or what suits the embedded T5."""
    return EMBEDDED_RATES.get(type(method), method.learning_rate) if backbone == EMBEDDED else method.learning_rate


def with_changes(experiment: Experiment, changes: Mapping[str, str]) -> Experiment:
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


def text_for(task: TaskChoice) -> Text:
    """The lengths to start from: the papers' for their tasks, longer ones for instructions and for free text."""
    if isinstance(task, InstructionsTask):
        return Text(source_length=512, target_length=256)
    return Text(target_length=64) if isinstance(task, FilesTask) and not task.classify else Text()


def resolve_tasks(task: TaskChoice) -> tuple[list[Task], Path | None]:
    """The task itself, or all of a mixture, and the folder of their official files.

    Raises:
        InputError: no such task or files.
    """
    if isinstance(task, NamedTask | MixtureTask):
        names = task.names if isinstance(task, MixtureTask) else (task.name,)
        return [task_named(name) for name in names], Path(task.data) if task.data else None
    files = {"train": Path(task.train), "validation": Path(task.validation)}
    if task.test:
        files["test"] = Path(task.test)
    if isinstance(task, InstructionsTask):
        return [instruction_task(files, name=task_name(task))], None
    return [own_task(files, task.text, task.answer, classify=task.classify, name=task_name(task))], None


def task_name(task: TaskChoice) -> str:
    """What results call a task: its name or names, or that of its training file or the folder of `train.*`."""
    if isinstance(task, MixtureTask):
        return "+".join(task.names)
    if isinstance(task, NamedTask):
        return task.name
    train = Path(task.train).absolute()
    stem = train.name.split(".")[0]
    return train.parent.name if stem == "train" else stem

"""From an experiment to its objects: the backbone, the rows in tokens, the Delta."""

import gc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hyperadapters._utils import InputError, collect_errors, few_names
from hyperadapters.backbones import Pooling, default_device, is_poolable, load_backbone, saved_pooling
from hyperadapters.delta import Delta, Method
from hyperadapters.methods import HyperMethod, attach
from hyperadapters.runs.data_checksums import _check_data
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.task_choice import MixtureTask, NamedTask, _head_for, entries_of, task_definitions, task_name
from hyperadapters.runs.warm_start import _load_warm_start
from hyperadapters.tasks import TASKS, Task, TaskFormat
from hyperadapters.training import ENCODINGS, Data, Mixture, load_data, tasks_of


def backbone_for(experiment: Experiment) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a run's backbone, in the type that the run holds it in, onto the default device, and its tokenizer.

    Raises:
        InputError: what `load_backbone` raises.
    """
    gc.collect()  # an earlier run's backbone and Delta refer to each other, and would stay in memory beside this one's
    precision = experiment.training.backbone_precision
    head = _head_for(experiment.task)
    return load_backbone(experiment.backbone, precision=precision, head=head, device=default_device())


def load_task(experiment: Experiment, tokenizer: Any, backbone: nn.Module) -> Data | Mixture:
    """Load the rows of an experiment's task, or of all tasks of its mixture, in tokens.

    Args:
        experiment: its task, text and seed are used.
        tokenizer: the backbone's.
        backbone: what the rows are for.

    Raises:
        InputError: what `load_data` raises for any of the tasks, and `Mixture`; or the data are not those that the
            experiment has the checksums of.
    """
    choice = experiment.task
    how: Any = {"backbone": backbone, "seed": experiment.training.seed, "at_most": isinstance(choice, MixtureTask)}

    def load(defined: tuple[Task, Path | None]) -> Data:
        task, folder = defined
        return load_data(task, tokenizer, folder, experiment.text, **how)

    found = collect_errors(load, task_definitions(choice))
    data = Mixture(tuple(found), choice.temperature) if isinstance(choice, MixtureTask) else found[0]
    _check_data(experiment, data)
    return data


def attach_for(experiment: Experiment, backbone: nn.Module, data: Data | Mixture) -> Delta:
    """Attach a new Delta for this data, or the saved one that the run goes on from.

    Its `about` says what prediction needs to know of its task or tasks.

    Args:
        experiment: its method, task, start and `training.adapter_precision` are used.
        backbone: from `backbone_for`.
        data: from `load_task`.

    Raises:
        InputError: what `attach` and `load_warm_start` raise; the method may be one that holds one task alone.
    """
    columns = {task_name(entry): getattr(entry, "answer", "label") for entry in entries_of(experiment.task)}
    forms = {
        task.form.name: {
            **_format_to_json(task.form, experiment),
            "answer": columns.get(task.form.name, "label"),
            "dataset": task.dataset,
        }
        for task in tasks_of(data)
    }
    tasks = list(forms) if isinstance(data, Mixture) else []
    name = task_name(experiment.task).replace(".", "-")
    outputs = {task.form.name: ENCODINGS[task.kind].outputs(task.form) for task in tasks_of(data)}
    precision = experiment.training.adapter_precision
    if experiment.start:
        return _load_warm_start(
            experiment.start,
            backbone,
            experiment.method,
            name,
            outputs=outputs,
            forms=forms,
            said=_what_is_said(experiment.method, data),
            tokenizer=tasks_of(data)[0].tokenizer,
            precision=precision,
            pooling=experiment.text.pooling,
        )
    delta = attach(
        backbone,
        experiment.method,
        name,
        outputs=_together(outputs),
        pooling=_pooling_for(experiment, backbone),
        tasks=tasks,
        precision=precision,
        seed=None,
    )
    delta.about = {"forms": forms} if tasks else {"task": next(iter(forms.values()))}
    if said := _what_is_said(experiment.method, data):
        delta.describe(said, tasks_of(data)[0].tokenizer)
    return delta


def _pooling_for(experiment: Experiment, backbone: nn.Module) -> Pooling:
    """Return what the head of a new Delta reads, as the experiment or the files of its backbone say."""
    wanted = experiment.text.pooling
    if wanted != "auto":
        return wanted
    return saved_pooling(experiment.backbone) if is_poolable(backbone) else "model"


def _what_is_said(method: Method, data: Data | Mixture) -> dict[str, tuple[str, ...]]:
    """Return the texts that a method reads of each task, by its name; empty for one that reads none.

    Args:
        method: of the run.
        data: its task or tasks.

    Raises:
        InputError: tasks have no description.
    """
    if not isinstance(method, HyperMethod) or not method.reads_tasks:
        return {}
    tasks = tasks_of(data)
    said = {task.form.name: task.wordings if method.task_source == "description" else task.examples for task in tasks}
    if missing := [task for task, texts in said.items() if not texts]:
        raise InputError(
            f"{few_names(missing)}: no description, which task_source='description' reads. Own files get one in the "
            "YAML of tasks (`description:`); tasks of the package that have one: hyperadapters tasks."
        )
    return said


def _together(outputs: Mapping[str, int | None]) -> int | dict[str, int] | None:
    """Return the sizes of tasks' heads as `attach` takes them: one if all have as many, None if there are none."""
    sizes = {task: size for task, size in outputs.items() if size is not None}
    return sizes if len({*sizes.values()}) > 1 else next(iter(sizes.values()), None)


def _format_to_json(form: TaskFormat, experiment: Experiment) -> dict[str, Any]:
    """Return what prediction with the saved adapter needs to know of a task, as plain JSON."""
    text, evaluation = experiment.text, experiment.evaluation
    return {
        **form.to_json(),
        "source_length": text.source_length,
        "target_length": text.target_length,
        "prefix": text.prefix,
        "decode": evaluation.decode,
        "beams": evaluation.beams,
        "generation_config": evaluation.generation_config,
    }


def narrow_to_task(experiment: Experiment, task: str, method: Method) -> Experiment:
    """Return the experiment that describes one task of a run's adapter: where its rows are and how it is evaluated.

    Args:
        experiment: the run's.
        task: the whole name of a task that the adapter holds.
        method: of the adapter.

    Raises:
        InputError: the task was trained on own files in an earlier run, and only that run knows where they are.
    """
    own = {task_name(entry): entry for entry in entries_of(experiment.task)}
    if task not in own and task not in TASKS:
        raise InputError(
            f"only the run that was trained on {task} knows where its rows are; {task_name(experiment.task)} went on "
            "from that run's adapter. Give the folder of that run."
        )
    folders = [entry.data for entry in own.values() if isinstance(entry, NamedTask)]
    choice = own.get(task) or NamedTask(name=task, data=next(filter(None, folders), ""))
    text = replace(experiment.text, train_rows=None)
    return replace(experiment, method=method, task=choice, text=text, start=None)

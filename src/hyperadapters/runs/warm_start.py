"""Going on from a trained adapter: another task in one that holds several, or the same weights trained further."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hyperadapters._utils import InputError, files, resolve_task
from hyperadapters.backbones import Precision
from hyperadapters.delta import TENSORS, Delta, Method
from hyperadapters.methods import method_from_json
from hyperadapters.runs.experiment import WarmStart
from hyperadapters.storage import load, read_config


def start_from(folder: str | Path, like: str = "", *, freeze: bool = False) -> WarmStart:
    """The start of an experiment that goes on from a saved adapter.

    Where the adapter holds several tasks, one that it does not know yet is added to them with an entry of its own
    (few-shot transfer: HyperFormer, arXiv:2106.04489v1, §3). An adapter of one task is trained further as it is.

    Args:
        folder: what `train` or `Delta.save` wrote.
        like: the task that the new one starts from, the last part of its name will do; empty: the mean of all.
        freeze: train only what the new task has for itself.

    Raises:
        InputError: there is no adapter, it knows no such task, or it holds one task alone where `like` or `freeze`
            ask for more.
    """
    folder = Path(folder)
    tasks = read_config(folder)["tasks"]
    if not tasks and (like or freeze):
        raise InputError(
            f"the adapter at {folder} holds one task, so all of it is that task's: there is no other to start from "
            "and nothing shared to freeze. Start from it as it is."
        )
    return WarmStart(
        adapter=str(folder),
        digest=files.digest(folder / TENSORS),
        like=resolve_task(like, tasks, f"the adapter at {folder}") if like else "",
        freeze=freeze,
    )


def load_warm_start(
    start: WarmStart,
    backbone: nn.Module,
    method: Method,
    name: str,
    *,
    outputs: int | None,
    forms: Mapping[str, dict[str, Any]],
    precision: Precision = "fp32",
) -> Delta:
    """The Delta that a run goes on from, on its backbone, with the run's tasks.

    Args:
        start: what `start_from` made.
        backbone: the one that the adapter was trained on.
        method: the experiment's, which is the adapter's own.
        name: what to call the Delta.
        outputs: of the head that the tasks need, on a backbone that has one.
        forms: the run's tasks, as the saved adapter is to describe them.
        precision: the type to hold the Delta in, whatever it was saved in.

    Raises:
        InputError: the adapter is not there, has changed, is of another method, backbone or size of head, or cannot
            hold these tasks.
    """
    folder = Path(start.adapter)
    config = read_config(folder)
    check_start(start, config, method, forms)
    delta = load(folder, backbone, name=name, precision=precision)
    if outputs != delta.outputs:
        raise InputError(
            f"{', '.join(forms)} needs a head of {outputs} output(s), the adapter at {folder} has one of "
            f"{delta.outputs}. Start from one whose tasks have as many classes."
        )
    known = delta.tasks
    for task in forms:
        if known and task not in known:
            delta.add_task(task, start.like)
    if start.freeze:
        delta.train_only(*forms)
    single = next(iter(forms.values()))
    delta.about = {"forms": {**config.get("forms", {}), **forms}} if known else {"task": single}
    return delta


def check_start(start: WarmStart, config: Mapping[str, Any], method: Method, tasks: Mapping[str, Any]) -> None:
    """Raise InputError unless a run of this method can go on from an adapter with these tasks."""
    folder, known = Path(start.adapter), config["tasks"]
    digest = files.digest(folder / TENSORS)
    if digest != start.digest:
        raise InputError(
            f"the adapter at {folder} is not the one that this run starts from: SHA-256 {digest[:12]}, "
            f"not {start.digest[:12]}. Put that one back, or start a run from this one."
        )
    if method_from_json(config["method"]) != method:
        raise InputError(
            f"the adapter at {folder} is a {method_from_json(config['method'])}, which a run that goes on from it "
            f"keeps; given: {method}."
        )
    for task, form in tasks.items():
        held = config.get("forms", {}).get(task, form)
        other = [field for field in ("fields", "target") if held.get(field) != form.get(field)]
        if task in known and other:
            raise InputError(
                f"the adapter at {folder} holds a task {task} already, with other {' and '.join(other)}. Own files are "
                "called by their name: rename these."
            )
    if len(tasks) > 1 and (start.freeze or not known):
        why = "one task can be trained with the rest frozen" if known else f"the adapter at {folder} holds one task"
        raise InputError(f"{', '.join(tasks)}: {why}.")
    if start.like and set(tasks) <= set(known):
        raise InputError(
            f"the adapter at {folder} holds {', '.join(tasks)} already, which goes on from its own weights: "
            f"there is nothing to start from {start.like}."
        )

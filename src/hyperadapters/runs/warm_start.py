"""Starting from a trained adapter: a new task is added to one of several tasks, one of a single task goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hyperadapters._utils import InputError, absolute_path, expand_path, file_digest, resolve_task
from hyperadapters.backbones import Precision
from hyperadapters.delta import TENSORS, Delta, Method, renew_head
from hyperadapters.methods import method_from_json
from hyperadapters.runs.experiment import WarmStart
from hyperadapters.storage import load, locate_adapter, read_config


def start_from(folder: str | Path, like: str = "", *, freeze: bool = False) -> WarmStart:
    """Return the `start` of an experiment that begins with the weights of a saved adapter.

    A task that an adapter of several tasks does not know yet is added with an entry of its own (few-shot transfer:
    HyperFormer, arXiv:2106.04489v1, §3). An adapter of one task is trained further. A head of as many outputs goes on
    from the adapter's; of another number, its last layer starts anew.

    Args:
        folder: what `run`, `hyperadapters train` or `Delta.save` wrote, or its name on the Hub, as for `ha.load`.
        like: the adapter's task whose entry the new task starts from, by its full name or the last part of it; empty:
            the mean of all entries.
        freeze: train the new task's own entry alone.

    Raises:
        InputError: there is no adapter, it holds no such task, or it is of one task and `like` or `freeze` is given.
    """
    folder = locate_adapter(folder)
    tasks = read_config(folder)["tasks"]
    if not tasks and (like or freeze):
        raise InputError(
            f"the adapter at {folder} holds one task: there is no other task to start from and nothing shared to "
            "freeze. Leave out like and freeze (--init-task and --freeze)."
        )
    return WarmStart(
        adapter=str(absolute_path(folder)),
        digest=file_digest(folder / TENSORS),
        like=resolve_task(like, tasks, f"the adapter at {folder}") if like else "",
        freeze=freeze,
    )


def _load_warm_start(
    start: WarmStart,
    backbone: nn.Module,
    method: Method,
    name: str,
    *,
    outputs: Mapping[str, int | None],
    forms: Mapping[str, dict[str, Any]],
    said: Mapping[str, tuple[str, ...]] | None = None,
    tokenizer: Any = None,
    precision: Precision = "fp32",
    pooling: str = "auto",
) -> Delta:
    """Load the adapter that a run starts from onto its backbone, and add the run's new tasks to it.

    Args:
        start: from `start_from`.
        backbone: the one that the adapter was trained on.
        method: the experiment's, which must be the adapter's.
        name: the Delta's.
        outputs: the size of the head that each task needs; None on a backbone without a head of the Delta's own.
        forms: the run's tasks, by name, as the saved adapter is to describe them.
        said: what the method reads of each task, as `_what_is_said` returns it; None: nothing.
        tokenizer: the backbone's.
        precision: the type to hold the Delta in, whatever it was saved in.
        pooling: what its head is to read; "auto": what it reads already.

    Raises:
        InputError: the adapter is not there, has changed, is of another method or backbone, cannot hold these tasks, or
            its head reads something else.
    """
    folder = expand_path(start.adapter)
    config = read_config(folder)
    _check_start(start, config, method, forms)
    if pooling not in ("auto", config["backbone"]["pooling"]):
        raise InputError(
            f"text.pooling={pooling}: the head of the adapter at {folder} reads something else "
            f"({config['backbone']['pooling']}). Leave it out."
        )
    delta = load(folder, backbone, name=name, precision=precision)
    known = delta.tasks
    for task in forms:
        if known and task not in known:
            delta.add_task(task, start.like, outputs=outputs[task])
        elif not known and (size := outputs[task]) != delta.outputs and size is not None:
            renew_head(delta, size)
    if new := {task: texts for task, texts in (said or {}).items() if task not in known and not start.like}:
        delta.describe(new, tokenizer)
    if start.freeze:
        delta.train_only(*forms)
    single = next(iter(forms.values()))
    data = {"data": config["data"]} if "data" in config else {}
    about = {**delta.about, "forms": {**config.get("forms", {}), **forms}, **data}
    delta.about = about if known else {"task": single}
    return delta


def _check_start(start: WarmStart, config: Mapping[str, Any], method: Method, tasks: Mapping[str, Any]) -> None:
    """Raise InputError unless a run of this method with these tasks can start from an adapter with this config."""
    folder, known = expand_path(start.adapter), config["tasks"]
    digest = file_digest(folder / TENSORS)
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

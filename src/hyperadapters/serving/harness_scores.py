"""Saved adapters scored by lm-evaluation-harness (EleutherAI), any number of them in the same batches."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, check_extra, find_files
from hyperadapters.delta import CONFIG
from hyperadapters.serving.pool import _FEWEST_SLOTS, Pool
from hyperadapters.storage import backbone_of, load, locate_adapter, read_config


def harness_model(
    folder: str | Path, backbone: str | None = None, *, batch_size: int = 16, device: str | None = None
) -> Any:
    """Return the model that lm-evaluation-harness takes for saved adapters: `lm_eval.simple_evaluate(model=...)`.

    One adapter answers every task. Of several, a task that is named `task@adapter` says which answers it; rows of all
    of them are mixed in batches.

    Args:
        folder: of an adapter, of one task or several, or a folder with an adapter in each of its sub-folders, all of
            one method; or of one adapter, its name on the Hub.
        backbone: another place to load the backbone from than the adapter names; None: that one.
        batch_size: rows computed together.
        device: where to compute; None: on the accelerator if there is one.

    Raises:
        InputError: lm-evaluation-harness is missing, there is no adapter, it was trained on an encoder, or the adapters
            do not fit one pool.
    """
    check_extra("bridges", "lm-evaluation-harness")
    from hyperadapters.serving.harness_requests import _AdapterLM, _same_for_all  # noqa: PLC0415 (of an extra)

    folders = _adapters_in(folder)
    first = next(iter(folders.values()))
    model, tokenizer = backbone_of(read_config(first), backbone, device)
    model.eval()
    if len(folders) > 1:
        pool = Pool(model, folders, resident=max(_FEWEST_SLOTS, min(batch_size, len(folders))))
        names, delta = tuple(folders), pool.delta
        rows: Callable[..., Any] = pool.rows
    else:
        delta = load(first, model)
        names = delta.tasks or (delta.name,)
        rows = delta.rows if len(names) > 1 else _same_for_all
    if delta.structure.kind == "encoder":
        raise InputError(
            f"the adapter at {first} was trained on an encoder, which gives text no likelihood. Score it with "
            "`hyperadapters evaluate`."
        )
    return _AdapterLM(model, tokenizer, names, rows, batch_size)


def _adapters_in(folder: str | Path) -> dict[str, Path]:
    """Return the folders of adapters by name: the one adapter there is, or those of the sub-folders.

    Raises:
        InputError: there is none.
    """
    place = Path(folder)
    if place.is_dir() and not (place / CONFIG).is_file():
        found = {path.parent.relative_to(place).as_posix(): path.parent for path in find_files(place, CONFIG)}
        if found:
            return dict(sorted(found.items()))
    located = locate_adapter(folder)
    return {read_config(located)["name"]: located}


def score_with_harness(
    model: Any, tasks: Sequence[str], *, include_path: str | None = None, limit: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return the results of tasks of lm-evaluation-harness, for every adapter of a model, in mixed batches.

    Args:
        model: of `harness_model`.
        tasks: names of tasks, each for every adapter.
        include_path: a folder with tasks of your own, as the harness takes it; None: only its own.
        limit: how many rows of each task to score at most; None: all.

    Returns:
        By adapter and task, the metrics as the harness names them.

    Raises:
        InputError: the harness does not know a task.
    """
    from lm_eval import evaluator  # noqa: PLC0415 (of an extra)
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    from hyperadapters.serving.harness_requests import _SEPARATOR  # noqa: PLC0415

    manager = TaskManager(include_path=include_path, include_defaults=False)
    if not {*tasks} <= {*manager.all_tasks}:
        manager = TaskManager(include_path=include_path)  # reads thousands of files, which takes a minute
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown or not tasks:
        known = f"in {include_path} or " if include_path else ""
        raise InputError(f"lm-evaluation-harness has no task {', '.join(unknown) or 'to score'} {known}of its own.")
    loaded = {}
    for adapter in model.adapters:
        for name, task in manager.load(list(tasks))["tasks"].items():
            task.config.task = f"{name}{_SEPARATOR}{adapter}"
            loaded[task.config.task] = task
    found = evaluator.evaluate(
        model, {"tasks": loaded, "groups": {}, "group_map": {}}, limit=limit, bootstrap_iters=0, log_samples=False
    )
    results: dict[str, dict[str, Any]] = {adapter: {} for adapter in model.adapters}
    for name, scores in found["results"].items():
        task, _, adapter = name.rpartition(_SEPARATOR)
        numbers = {key.removesuffix(",none"): float(value) for key, value in scores.items() if isinstance(value, float)}
        results[adapter][task] = numbers
    return results

"""Scoring a saved adapter on any labelled file: its folder alone says what the rows mean."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters.cli.base import _quiet_libraries

if TYPE_CHECKING:
    from hyperadapters.tasks import Reading
    from hyperadapters.training import Scores


def _score_file(
    adapter: Path,
    config: Mapping[str, Any],
    file: str,
    label: str,
    task: str,
    decode: str,
    metric: str,
    backbone: str,
    reading: "Reading",
    separator: str,
) -> tuple[str, "Scores", int]:
    """Score an adapter on the rows of a file.

    Args:
        adapter: the adapter's folder.
        config: its `adapter_config.json`.
        file: the rows, with the columns of the adapter's task.
        label: the column of the answers; empty: as in training.
        task: which task, of an adapter that holds several.
        decode: how to answer; empty: as in training.
        metric: another metric to compute besides the task's own; empty: none.
        backbone: where to load the backbone from; empty: from where the adapter says.
        reading: how the file is read.
        separator: what stands between the labels of a row, if that is no semicolon.

    Returns:
        The task's name, the scores and the number of rows.

    Raises:
        InputError: the adapter does not say its task or does not know this one, or the file lacks columns or has
            answers that are none of the task's.
    """
    from hyperadapters._utils import settings
    from hyperadapters.serving import answer_column, saved_task
    from hyperadapters.tasks import TASKS, labelled_task

    form, text, saved = saved_task(config, adapter, task)
    how = replace(settings.updated(saved, {"decode": decode} if decode else {}, "evaluation"), metric=metric)
    answer = label or answer_column(config, adapter, task)
    rows = labelled_task(form, Path(file), answer, TASKS.get(form.name), reading, separator=separator)
    from hyperadapters.storage import backbone_of, load
    from hyperadapters.training import evaluate, load_data

    _quiet_libraries()
    model, tokenizer = backbone_of(config, backbone)
    delta = load(adapter, model)
    data = load_data(rows, tokenizer, text=text, backbone=model)
    return form.name, evaluate(delta, data, "test", how, quiet=False), len(data.splits["test"])

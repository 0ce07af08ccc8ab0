"""How long a run's steps and answers take on this machine, and how many tokens its rows have: from some rows."""

import os
import statistics
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoTokenizer

from hyperadapters._utils import expand_path
from hyperadapters.backbones import (
    EMBEDDED,
    default_device,
    find_backbone,
    kind_of,
    meta_backbone,
)
from hyperadapters.runs import Experiment, MixtureTask, attach_for, backbone_for, task_definitions
from hyperadapters.training import (
    ENCODINGS,
    Data,
    Mixture,
    batches_by_length,
    evaluate,
    load_data,
    median_seconds,
    tasks_of,
    training_backbone,
    training_rows,
    training_step,
)

_SAMPLE = 512
"""Training rows whose lengths stand for all."""

_ANSWERED = 32
"""Rows of each other split whose lengths stand for all; the validation rows among them are answered to time it."""

_LONGEST_STEP = 2.0
"""Seconds of a timed step at most: where a whole batch takes longer, fewer rows are timed."""

_Pace = tuple[float, float]
"""Seconds for each token of training, and for each token of the rows that are answered."""


class _Sample:
    """Some rows of each split of a task or mixture, and how many there are in all."""

    def __init__(self, experiment: Experiment) -> None:
        definitions = task_definitions(experiment.task)
        text, place = experiment.text, experiment.backbone if _is_local(experiment.backbone) else EMBEDDED
        limits, most = (text.train_rows, text.evaluation_rows), (_SAMPLE, _ANSWERED)
        train, others = (few if limit is None else min(limit, few) for limit, few in zip(limits, most, strict=True))
        text = replace(text, train_rows=train, evaluation_rows=others)
        tokenizer = AutoTokenizer.from_pretrained(find_backbone(place), trust_remote_code=False)
        outline = meta_backbone(place)
        how: Any = {"backbone": outline, "at_most": True}
        found = tuple(load_data(task, tokenizer, folder, text, **how) for task, folder in definitions)
        self.data: Data | Mixture = Mixture(found) if isinstance(experiment.task, MixtureTask) else found[0]
        self.rows: dict[str, int] = defaultdict(int)
        for task in found:
            for split, count in task.available.items():
                limit = limits[split != "train"]
                self.rows[split] += count if limit is None else min(limit, count)

    def tokens(self, split: str) -> float:
        """Return the tokens of a split, source and target, by the mean of the sample."""
        found = _lengths(self.data, split)
        return self.rows[split] * statistics.mean(found) if found else 0.0


def _lengths(data: Data | Mixture, split: str) -> list[int]:
    """Return the tokens of each row of a split, source and target, of all tasks."""
    return [len(row.source) + len(row.target) for task in tasks_of(data) for row in task.splits.get(split, [])]


def _is_local(backbone: str) -> bool:
    """Return whether a backbone's weights are on this machine."""
    if backbone == EMBEDDED or expand_path(backbone).is_dir():
        return True
    return isinstance(try_to_load_from_cache(backbone, "model.safetensors"), str)


def _time_steps(experiment: Experiment, data: Data | Mixture) -> _Pace:
    """Time training on rows of middling length, and answering the validation rows.

    Raises:
        InputError: the method does not fit, or the adapter to start from is not there.
    """
    training, device = experiment.training, default_device()
    backbone, tokenizer = backbone_for(experiment)
    delta = attach_for(experiment, backbone, data)
    encoding, rows = ENCODINGS[kind_of(backbone.config)], training_rows(data)

    def time_batch(size: int) -> tuple[float, int]:
        batches = batches_by_length([encoding.length(row) for row in rows], size)
        batch = [rows[number] for number in batches[(len(batches) - 1) // 2]]
        _, step = training_step(delta, batch, tokenizer.pad_token_id, training.precision)
        return median_seconds(step, 2, device), sum(len(row.source) + len(row.target) for row in batch)

    with training_backbone(backbone, training):
        most = max(1, min(training.batch_size, int(_LONGEST_STEP / time_batch(1)[0])))
        seconds, tokens = time_batch(most)
    answering = evaluate(delta, data, "validation", experiment.evaluation, quiet=True).seconds
    return seconds / tokens, answering / sum(_lengths(data, "validation"))


@contextmanager
def _share_of_threads(jobs: int) -> Generator[None]:
    """Use as many threads as each of several processes on this machine gets."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, (os.cpu_count() or 1) // jobs)))
    try:
        yield
    finally:
        torch.set_num_threads(before)

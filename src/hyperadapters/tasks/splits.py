"""From a task's official splits to the papers' train, validation and test."""

from collections.abc import Callable

import torch

from hyperadapters.tasks.readers import _Record

_Splits = dict[str, list[_Record]]
"""Rows by the name of their split."""

_Split = Callable[[_Splits], _Splits]
"""Official splits -> train, validation, test."""


def permutation(rows: int, seed: int = 42) -> list[int]:
    """Return the papers' permutation of row numbers (Compacter and HyperFormer, published code)."""
    order: list[int] = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def _halve_validation(splits: _Splits) -> _Splits:
    """Split a small set: half of the official validation set is the test set (Compacter, arXiv:2106.04647v2, §4.1)."""
    rows = splits["validation"]
    order = permutation(len(rows))
    half = len(rows) // 2
    return {
        "train": splits["train"],
        "validation": [rows[i] for i in order[:half]],
        "test": [rows[i] for i in order[half:]],
    }


def _hold_out_thousand(splits: _Splits) -> _Splits:
    """Split a large set: 1,000 training rows validate; the official validation set, or the test set, tests."""
    rows = splits["train"]
    order = permutation(len(rows))
    return {
        "train": [rows[i] for i in order[1000:]],
        "validation": [rows[i] for i in order[:1000]],
        "test": splits["validation"] if "validation" in splits else splits["test"],
    }


def _parts_of(split: str, validation: int, test: int) -> _Split:
    """Return a split for a task of which only one official split is available.

    Args:
        split: its official name.
        validation: how many of its permuted rows validate.
        test: how many of them test; the rest is for training.
    """

    def cut(splits: _Splits) -> _Splits:
        rows = splits[split]
        order = [rows[i] for i in permutation(len(rows))]
        held_out = validation + test
        return {"train": order[held_out:], "validation": order[:validation], "test": order[validation:held_out]}

    return cut


def _as_given(splits: _Splits) -> _Splits:
    """Return splits that already are train, validation and perhaps test."""
    return splits

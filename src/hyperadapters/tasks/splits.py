"""From a task's official splits to the papers' train, validation and test."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from hyperadapters._utils import InputError
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


def _hold_out(share: float, seed: int, answer: str, alike: Sequence[str] = ()) -> _Split:
    """Return a split that takes a share of the training rows for validation.

    Rows that were made of one record, as the turns of a conversation, stay together, and so do rows of the same texts.

    Args:
        share: of the rows, between 0 and 1.
        seed: draws them.
        answer: the column whose classes are taken in proportion, each with a row left to train on; empty: any rows.
        alike: columns of which rows that hold the same stay together: a text and its copies, the questions on a text.
    """

    def cut(splits: _Splits) -> _Splits:
        records = _together(splits["train"], alike)
        classes: dict[str, list[int]] = defaultdict(list)
        for number, rows in enumerate(records):
            classes[splits["train"][rows[0]].values[answer].strip() if answer else ""].append(number)
        counts = _counts_by_class({name: len(found) for name, found in classes.items()}, share)
        drawn = {found[i] for name, found in classes.items() for i in permutation(len(found), seed)[: counts[name]]}
        taken = {number for record in drawn for number in records[record]}
        kept = [row for number, row in enumerate(splits["train"]) if number not in taken]
        held_out = [row for number, row in enumerate(splits["train"]) if number in taken]
        return {**splits, "train": kept, "validation": held_out}

    return cut


def _together(rows: Sequence[_Record], alike: Sequence[str]) -> list[list[int]]:
    """Return the numbers of the rows that stay together, in the order of the first of each.

    Args:
        rows: of a split.
        alike: columns of which rows that hold the same stay together, beside those that one record has made.
    """
    found: dict[Any, list[int]] = {}
    for number, row in enumerate(rows):
        key = tuple(str(row.values[column]) for column in alike) if alike else row.place
        found.setdefault(key, []).append(number)
    return list(found.values())


def _counts_by_class(sizes: Mapping[str, int], share: float) -> dict[str, int]:
    """Return how many rows to take of each class: a share of all, and never the last row of a class.

    scikit-learn's stratified split refuses classes of one row, and more classes than rows to take.

    Args:
        sizes: rows of each class.
        share: of the rows, between 0 and 1.

    Raises:
        InputError: the share is less than a row, or every class has one row.
    """
    rows = sum(sizes.values())
    wanted = round(share * rows)
    counts = {name: min(math.floor(share * size), size - 1) for name, size in sizes.items()}
    largest_remainder_first = sorted(sizes, key=lambda name: (counts[name] - share * sizes[name], -sizes[name]))
    while sum(counts.values()) < min(wanted, rows - len(sizes)):
        for name in largest_remainder_first:
            if sum(counts.values()) < wanted and counts[name] < sizes[name] - 1:
                counts[name] += 1
    if not sum(counts.values()):
        why = "each of them is the only one of its class" if wanted and rows > 1 else "that is less than a row"
        raise InputError(
            f"validation {100 * share:g}% of {rows} training row(s): {why}. Give more rows, a larger share, or a file."
        )
    return counts

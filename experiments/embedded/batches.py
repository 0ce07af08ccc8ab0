"""Batches of pre-training, each a pure function of the seed and the step."""

import argparse
import random
from collections.abc import Iterator

import numpy as np
import torch
from transformers import T5Tokenizer

from corpus import read_mixture
from objectives import corrupt, pretext, sentences, with_copy
from teacher import word_index

WINDOW = 128
HELD_OUT_WINDOWS = 256
SHARES = {"doubled": 0.1, "pairs": 0.2, "single": 0.1, "taught": 0.15, "mixture": 0.2}
"""Of the batches, by kind, in the first half of the steps; the rest are spans."""
LATER_SHARES = {"doubled": 0.05, "pairs": 0.2, "single": 0.15, "taught": 0.1, "mixture": 0.45}
"""The same in the second half: words first, then sentences."""
LIKE_LENGTH = 2048
"""Rows of similar length among which a batch of labelled pairs is drawn, to save padding."""


def pad(rows: list[list], value: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)


class Batches:
    """Makes the batch of a step, a pure function of the seed and the step."""

    def __init__(
        self, options: argparse.Namespace, lines: list[str], stream: np.ndarray, tokenizer: T5Tokenizer
    ) -> None:
        self.lines, self.stream, self.tokenizer = lines, stream, tokenizer
        self.batch, self.seed = options.batch, options.seed
        self.first_sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        self.training_end = len(stream) - HELD_OUT_WINDOWS * WINDOW
        self.labelled = read_mixture(options.mixture) if options.mixture else []
        have = {"taught": bool(options.teacher), "mixture": bool(options.mixture)}
        self.kinds = [kind for kind in SHARES if have.get(kind, True)]
        self.half = options.steps // 2

    def __call__(self, step: int) -> dict:
        rng = np.random.default_rng([self.seed, step])
        chance = random.Random(self.seed * 10**9 + step)
        shares = [(SHARES if step < self.half else LATER_SHARES)[kind] for kind in self.kinds]
        (kind,) = chance.choices([*self.kinds, "spans"], [*shares, 1 - sum(shares)])
        match kind:
            case "pairs" | "single":
                return self.pretext(chance, pairs=kind == "pairs")
            case "taught":
                return self.taught(chance)
            case "mixture":
                start = chance.randrange(max(1, len(self.labelled) - LIKE_LENGTH))
                rows = chance.sample(self.labelled[start : start + LIKE_LENGTH], 2 * self.batch)
                return self.answers([words for words, _ in rows], [answer for _, answer in rows])
        starts = rng.integers(0, self.training_end - WINDOW, self.batch)
        return self.spans(starts, rng, doubled=kind == "doubled")

    def spans(self, starts: np.ndarray, rng: np.random.Generator, *, doubled: bool) -> dict:
        windows = [self.stream[start : start + WINDOW] for start in starts]
        windows = [with_copy(window, rng) for window in windows] if doubled else windows
        rows = [corrupt(window, rng, self.first_sentinel) for window in windows]
        source = pad([row[0] for row in rows], 0)
        return {
            "input_ids": source,
            "attention_mask": (source != 0).long(),
            "labels": pad([row[1] for row in rows], -100),
        }

    def words(self, rows: list[list[str]]) -> dict:
        source = self.tokenizer(rows, is_split_into_words=True, padding=True, return_tensors="pt")
        return {**source, "words": word_index(source, len(rows))}

    def answers(self, rows: list[list[str]], answers: list[str]) -> dict:
        return {**self.words(rows), "labels": pad(self.tokenizer(answers).input_ids, -100)}

    def pretext(self, chance: random.Random, *, pairs: bool) -> dict:
        rows = pretext(self.lines, chance, 2 * self.batch, pairs=pairs)
        flags = pad([[float(flag) for flag in changed] for changed in rows.changed], -1.0)
        return {**self.answers(rows.words, rows.answers), "changed": flags}

    def taught(self, chance: random.Random) -> dict:
        stream = sentences(self.lines, chance)
        rows = [next(stream)[0] for _ in range(2 * self.batch)]
        return {**self.words([["sentence:", *row] for row in rows]), "taught": rows}

    def held_out(self) -> Iterator[dict]:
        rng = np.random.default_rng(0)
        starts = self.training_end + WINDOW * np.arange(HELD_OUT_WINDOWS - 1)
        for index in range(0, len(starts), self.batch):
            yield self.spans(starts[index : index + self.batch], rng, doubled=False)

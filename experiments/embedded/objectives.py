"""The objectives of pre-training as pure functions of text and a generator: spans, and two of sentences."""

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


def corrupt(window: np.ndarray, rng: np.random.Generator, first_sentinel: int) -> tuple[list[int], list[int]]:
    """Return (source, target) of span corruption of one window: 15 % noise in spans of mean length 3."""
    noise = max(1, round(len(window) * 0.15))
    spans = max(1, round(noise / 3))
    noise_lengths = random_segments(noise, spans, rng)
    kept_lengths = random_segments(len(window) - noise, spans, rng)
    source: list[int] = []
    target: list[int] = []
    position = 0
    for span, (kept, gone) in enumerate(zip(kept_lengths, noise_lengths, strict=True)):
        source += [*window[position : position + kept].tolist(), first_sentinel - span]
        target += [first_sentinel - span, *window[position + kept : position + kept + gone].tolist()]
        position += kept + gone
    return [*source, 1], [*target, 1]


def with_copy(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return half of the window, then the same with an eighth of its tokens gone and its parts exchanged."""
    half = window[: len(window) // 2]
    copy = half[rng.random(len(half)) > 0.12]
    cut = rng.integers(0, len(copy))
    return np.concatenate([half, copy[cut:], copy[:cut]])


def random_segments(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Return `total` split into `parts` lengths ≥ 1, uniformly."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def sentences(lines: list[str], rng: random.Random) -> Iterator[tuple[list[str], list[str]]]:
    """Yield (sentence, the one after it) without end, as lists of 5 to 32 words."""
    while True:
        parts = re.split(r"(?<=[.!?]) +", lines[rng.randrange(len(lines))])
        if len(parts) < 2:
            continue
        index = rng.randrange(len(parts) - 1)
        first, second = parts[index].split(), parts[index + 1].split()
        if 5 <= len(first) <= 32 and 5 <= len(second) <= 32:
            yield first, second


def rewritten(words: list[str], rng: random.Random) -> list[str]:
    """Return the same content: a few words dropped, and sometimes the two halves exchanged."""
    words = [word for word in words if rng.random() > 0.12] or words
    if rng.random() < 0.4:
        cut = rng.randrange(1, len(words)) if len(words) > 1 else 0
        words = words[cut:] + words[:cut]
    return words


def altered(words: list[str], other: list[str], rng: random.Random) -> tuple[list[str], list[bool]]:
    """Return another content, some words taken from another sentence so that overlap alone does not tell; and which."""
    words = rewritten(words, rng)
    share = rng.choice((0.15, 0.3, 0.5))
    foreign = [rng.random() < share for _ in words]
    return [rng.choice(other) if new else word for word, new in zip(words, foreign, strict=True)], foreign


def damaged(words: list[str], rng: random.Random) -> tuple[list[str], list[bool]]:
    """Return one sentence made ungrammatical: words swapped, dropped, doubled or inflected; and where."""
    words = list(words)
    index, other = rng.sample(range(len(words)), 2)
    wrong = {index}
    match rng.randrange(4):
        case 0:
            words[index], words[other] = words[other], words[index]
            wrong.add(other)
        case 1:
            del words[index]
        case 2:
            word = words[index]
            words[index] = word[:-1] if word.endswith("s") else word + "s"
        case _:
            words.insert(index, words[other])
    return words, [position in wrong for position in range(len(words))]


class Pretext(NamedTuple):
    """Rows of a sentence objective: words, which of them were changed, and the answer."""

    words: list[list[str]]
    changed: list[list[bool]]
    answers: list[str]


def pretext(lines: list[str], rng: random.Random, rows: int, *, pairs: bool) -> Pretext:
    """Return rows of one of the two sentence objectives."""
    found = Pretext([], [], [])
    stream = sentences(lines, rng)
    for _ in range(rows):
        first, second = next(stream)
        true = rng.random() < 0.5
        same = [False] * len(first)
        if pairs:
            other = rewritten(first, rng)
            changed = [False] * len(other)
            if not true and rng.random() < 0.25:
                other, changed = second, [True] * len(second)
            elif not true:
                other, changed = altered(first, second if rng.random() < 0.5 else next(stream)[0], rng)
            words = ["sentence1:", *first, "sentence2:", *other]
            flags = [False, *same, False, *changed]
        else:
            sentence, changed = (first, same) if true else damaged(first, rng)
            words, flags = ["sentence:", *sentence], [False, *changed]
        found.words.append(words)
        found.changed.append(flags)
        found.answers.append("1" if true else "0")
    return found

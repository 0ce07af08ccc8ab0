"""Tags of words on an encoder: which token stands for each word, the loss, and the answers."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from jaxtyping import Float
from torch import Tensor

from hyperadapters._utils import InputError
from hyperadapters.tasks import Example, TagSequence, TaskFormat
from hyperadapters.training.encoded import Encoded, _Cut
from hyperadapters.training.tensors import _target_losses

_NO_TOKEN = -1
"""In place of the token of a word that was cut off, or of which the tokenizer makes none."""


def _encode_words(
    rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int
) -> tuple[list[Encoded], _Cut]:
    """Return rows of words in tokens; the first token of each word carries its tag.

    The words are read as running text, with a space between two: byte-level tokenizers have other tokens for a word
    after a space than for one alone.

    Args:
        rows: with their words.
        form: whose target is a tag for each word.
        tokenizer: the backbone's; one of the fast ones, which say of each token where it stands.
        source_length: longest row in tokens; of longer ones, the words at the end are lost.

    Raises:
        InputError: the tokenizer does not say it.
    """
    _require_fast(form, tokenizer, "tags of words", "the tokens of each word")
    texts = [" ".join(row.words) for row in rows]
    found = tokenizer(texts, verbose=False, truncation=True, max_length=source_length, return_offsets_mapping=True)
    encoded, cut = [], 0
    for number, row in enumerate(rows):
        places = _first_tokens(found.offset_mapping[number], row.words)
        source = found.input_ids[number]
        cut += len(source) == source_length and _NO_TOKEN in places
        encoded.append(Encoded(source, _tags_of(row, form, places), places=places))
    return encoded, _Cut(cut)


def _require_fast(form: TaskFormat, tokenizer: Any, answers: str, known: str) -> None:
    """Raise InputError unless a tokenizer is one of the fast ones.

    Args:
        form: of the task.
        tokenizer: the backbone's.
        answers: what needs it, in words.
        known: what it knows, in words.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"task {form.name}: {answers} need a fast tokenizer, which knows {known}; this one is "
            f"{type(tokenizer).__name__}. Save the backbone's tokenizer as tokenizer.json, or use another backbone."
        )


def _first_tokens(offsets: Iterable[tuple[int, int]], words: Sequence[str]) -> list[int]:
    """Return the place of the first token of each word.

    Args:
        offsets: of each token, its first character in the text and the one after the last; equal for special tokens.
        words: of the text, in which a space stands between two.
    """
    places, ends = [_NO_TOKEN] * len(words), list(accumulate(len(word) + 1 for word in words))
    number = 0
    for place, (start, end) in enumerate(offsets):
        if end <= start:
            continue
        while number < len(words) and ends[number] - 1 <= start:
            number += 1
        begun = number  # a token may hold the space before its word, or several words
        while begun < len(words) and ends[begun] - 1 - len(words[begun]) < end:
            if places[begun] == _NO_TOKEN:
                places[begun] = place
            begun += 1
    return places


def _tags_of(row: Example, form: TaskFormat, places: Sequence[int]) -> list[int]:
    """Return the numbers of the tags of those words that have a token; none for a row to answer."""
    assert isinstance(form.target, TagSequence)
    numbers = {tag: number for number, tag in enumerate(form.target.texts)}
    tags = form.target.decode(row.target)
    return [numbers[tag] for tag, place in zip(tags, places, strict=True) if place != _NO_TOKEN] if tags else []


def _tag_losses(
    logits: Float[Tensor, "rows seq tags"], rows: Sequence[Encoded], sizes: Sequence[int], smoothing: float
) -> Float[Tensor, " rows"]:
    """Return the cross entropy of each row's tags, summed over its words; `sizes` is how many tags its task has."""
    places = [[place for place in row.places if place != _NO_TOKEN] for row in rows]
    scores = [own[at, :size] if at else own for own, at, size in zip(logits, places, sizes, strict=True)]
    return _target_losses(scores, [row.target for row in rows], smoothing)


def _read_tags(logits: Float[Tensor, "seq tags"], row: Encoded, form: TaskFormat) -> str:
    """Return the likeliest tag of each word as one text; a word without a token has the tag of no span."""
    assert isinstance(form.target, TagSequence)
    best = logits[:, : len(form.target.texts)].argmax(-1).tolist()
    tags = [form.target.outside if place == _NO_TOKEN else form.target.texts[best[place]] for place in row.places]
    return " ".join(tags)

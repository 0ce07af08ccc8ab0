"""Metrics of answers that are a tag for each word: over the spans that tags mark, and over the tags."""

from collections.abc import Sequence

_Tags = Sequence[Sequence[str]]
"""The tags of each row's words."""

_Span = tuple[str, int, int]
"""Type, first word, and the word after the last."""


def span_f1(predictions: _Tags, references: _Tags) -> float:
    """Return the F1 over all spans of all rows: one is right if its type and both its ends are; 0 where there is none.

    As conlleval and seqeval's default mode (Tjong Kim Sang and De Meulder, CoNLL 2003), micro-averaged.
    """
    pairs = [({*_spans(found)}, {*_spans(wanted)}) for found, wanted in zip(predictions, references, strict=True)]
    right = sum(len(found & wanted) for found, wanted in pairs)
    both = sum(len(found) + len(wanted) for found, wanted in pairs)
    return 2 * right / both if both else 0.0


def tag_accuracy(predictions: _Tags, references: _Tags) -> float:
    """Return the share of words with the right tag, over all rows."""
    same = [
        a == b
        for found, wanted in zip(predictions, references, strict=True)
        for a, b in zip(found, wanted, strict=True)
    ]
    return sum(same) / len(same)


def _spans(tags: Sequence[str]) -> list[_Span]:
    """Return the spans that BIO tags mark.

    One begins at B-X, and at an I-X that does not continue a span of type X; it ends before the next tag that does not
    continue it.
    """
    found: list[_Span] = []
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and not (mark == "I" and name == kind):
            found.append((kind, start, place))
            kind = ""
        if not kind and mark in ("B", "I") and name:
            kind, start = name, place
    return found

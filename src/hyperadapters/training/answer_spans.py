"""Answers that are a part of the text, on an encoder: windows of tokens, the loss, and the answers read back.

A start and an end are scored at every token, as in BERT (Devlin et al., arXiv:1810.04805, §4.2 and §4.3): the loss is
the cross entropy of both, the answer the likeliest pair. A text without an answer has both at the first token. Texts
longer than the limit become windows that overlap: training learns from each, one that does not hold the answer being a
text without one, and the answer is the likeliest of all windows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hyperadapters._utils import InputError
from hyperadapters.tasks import AnswerSpan, Example, TaskFormat
from hyperadapters.training.encoded import Encoded, _Cut
from hyperadapters.training.tensors import _target_losses
from hyperadapters.training.word_tags import _require_fast

OUTPUTS = 2
"""Of the head, for each token: the score of a start and of an end."""


class _Window(NamedTuple):
    """A part of a row's text that fits the limit, in tokens."""

    source: list[int]
    segments: Sequence[int]
    offsets: list[tuple[int, int]]
    """For each token, first character in the text and the one after the last; (0, 0) of tokens that are not of it."""

    @property
    def covered(self) -> tuple[int, int]:
        """First character and the one after the last that the window shows."""
        own = [place for place in self.offsets if place[1] > place[0]]
        return (own[0][0], own[-1][1]) if own else (0, 0)


def _encode_spans(
    rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
) -> tuple[list[Encoded], _Cut]:
    """Return rows in tokens, each with all windows of its text.

    Args:
        rows: with where their answers stand.
        form: whose target is a part of the last text.
        tokenizer: the backbone's; one of the fast ones, which say of each token where it stands.
        source_length: of a window, in tokens. A question has half of it at most; of a longer one, the end is lost.
        target_length: longest answer in tokens; of longer ones, the end is lost.

    Raises:
        InputError: the tokenizer does not say it.
    """
    _require_fast(form, tokenizer, "answers in the text", "where each token stands")
    texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
    found = tokenizer(*texts, verbose=False, return_offsets_mapping=True)
    encoded, questions_cut, answers_cut = [], 0, 0
    for number, row in enumerate(rows):
        windows = _windows_of(found, [number], len(row.texts) - 1)
        row = row._replace(span=_span_in_tokens(windows[0], row.span))  # noqa: PLW2901 (the same row)
        if len(windows[0].source) > source_length:
            windows, cut = _cut_into_windows(row, windows[0], tokenizer, source_length, target_length)
            questions_cut += cut
        targets = [_target_in(window, row, target_length) for window in windows]
        answers_cut += _is_cut(windows, targets, row)
        first, *others = [_as_row(window, row, target) for window, target in zip(windows, targets, strict=True)]
        encoded.append(first._replace(windows=others))
    return encoded, _Cut(questions_cut, answers_cut)


def _span_in_tokens(whole: _Window, span: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return which characters of an answer tokens stand for: there may be none for those at its ends, such as accents.

    Args:
        whole: all of the row's text.
        span: the answer's first character and the one after the last; equal of a row to be answered; None: no answer.
    """
    if span is None or span[1] <= span[0]:
        return span
    own = [place for place in whole.offsets if place[1] > place[0] and place[0] < span[1] and place[1] > span[0]]
    return (max(span[0], own[0][0]), min(span[1], own[-1][1])) if own else span


def _as_row(window: _Window, row: Example, target: list[int]) -> Encoded:
    return Encoded(window.source, target, segments=window.segments, context=row.texts[-1], offsets=window.offsets)


def _windows_of(found: Any, numbers: Iterable[int], context: int) -> list[_Window]:
    """Return windows out of what a tokenizer gave.

    Args:
        found: token ids, offsets and perhaps segments.
        numbers: which of its rows.
        context: which of the texts the answer stands in: 0, or 1 of a pair.
    """
    segments = getattr(found, "token_type_ids", None) or {}
    return [
        _Window(
            found.input_ids[number],
            segments[number] if segments else (),
            [
                (int(start), int(end)) if text == context else (0, 0)
                for (start, end), text in zip(found.offset_mapping[number], found.sequence_ids(number), strict=True)
            ],
        )
        for number in numbers
    ]


def _cut_into_windows(
    row: Example, whole: _Window, tokenizer: Any, source_length: int, target_length: int
) -> tuple[list[_Window], bool]:
    """Return the windows of a row that is too long, and whether its question was cut.

    Neighbours share a third of the text's tokens in a window, or as many as an answer may have, but half of them at
    most.

    Raises:
        InputError: the limit leaves no token for the text.
    """
    *questions, context = row.texts
    own = sum(end > start for start, end in whole.offsets)
    others = len(whole.source) - own
    most = source_length // 2
    if is_cut := bool(questions) and others > most:
        limit = most - (others - len(tokenizer(questions[0], add_special_tokens=False).input_ids))
        kept = tokenizer(
            questions[0],
            add_special_tokens=False,
            truncation=True,
            max_length=max(1, limit),
            return_offsets_mapping=True,
        )
        questions = [questions[0][: kept.offset_mapping[-1][1]]]
        others = len(tokenizer(*questions, context, verbose=False).input_ids) - own
    room = source_length - others
    if room < 1:
        raise InputError(
            f"windows of {source_length} tokens have no room for the text beside the question and {others} tokens of "
            f"both together: --set text.source_length={4 * max(others, 8)}, or more."
        )
    found = tokenizer(
        *([text] for text in (*questions, context)),
        verbose=False,
        truncation="only_second" if questions else "only_first",
        max_length=source_length,
        stride=min(room // 2, max(room // 3, target_length)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    return _windows_of(found, range(len(found.input_ids)), len(questions)), is_cut


def _target_in(window: _Window, row: Example, target_length: int) -> list[int]:
    """Return the first and last token of a row's answer in a window; none for a row to be answered.

    A window that does not hold the whole answer, or its first `target_length` tokens, has the first token as both.
    """
    if row.span is None:
        return [0, 0]
    start, end = row.span
    if end <= start:
        return []
    own = [i for i, (first, last) in enumerate(window.offsets) if last > first and first < end and last > start]
    begun = bool(own) and window.covered[0] <= start
    if not begun or (len(own) < target_length and window.covered[1] < end):
        return [0, 0]
    return [own[0], own[min(len(own), target_length) - 1]]


def _is_cut(windows: Sequence[_Window], targets: Sequence[list[int]], row: Example) -> bool:
    """Return whether no window holds the whole answer of a row as what is learned."""
    if row.span is None or row.span[1] <= row.span[0]:
        return False
    learned = [window.offsets[target[1]] for window, target in zip(windows, targets, strict=True) if target[1] > 0]
    return not any(last >= row.span[1] for _, last in learned)


def _span_losses(
    logits: Float[Tensor, "rows seq outputs"], rows: Sequence[Encoded], smoothing: float
) -> Float[Tensor, " rows"]:
    """Return the cross entropy of each row's start plus that of its end, over its own tokens."""
    scores = [own[: len(row.source), :OUTPUTS].T for own, row in zip(logits, rows, strict=True)]
    return _target_losses(scores, [row.target for row in rows], smoothing)


class _Best(NamedTuple):
    """The likeliest answer in a window."""

    log_probability: float
    text: str
    of_nothing: float
    """The log-probability that the window holds no answer."""


def _best_answer(logits: Float[Tensor, "seq outputs"], window: Encoded, target_length: int) -> _Best:
    """Return the likeliest part of a window's text, of `target_length` tokens at most."""
    starts, ends = logits[: len(window.source), :OUTPUTS].double().log_softmax(0).unbind(-1)
    outside = torch.tensor([last == first for first, last in window.offsets], device=logits.device)
    pairs = starts.masked_fill(outside, -torch.inf)[:, None] + ends.masked_fill(outside, -torch.inf)[None, :]
    possible = torch.ones_like(pairs, dtype=torch.bool).triu().tril(target_length - 1)
    pairs = pairs.masked_fill(~possible, -torch.inf)
    first, last = divmod(int(pairs.argmax()), len(window.source))
    text = window.context[window.offsets[first][0] : window.offsets[last][1]]
    return _Best(pairs[first, last].item(), text.strip(), (starts[0] + ends[0]).item())


def _answer_of(found: Sequence[_Best], form: TaskFormat) -> str:
    """Return the likeliest answer of a row's windows; empty where some texts have none, and none is likelier there."""
    assert isinstance(form.target, AnswerSpan)
    best = max(found, key=lambda each: each.log_probability)
    return "" if form.target.empty and best.of_nothing > best.log_probability else best.text

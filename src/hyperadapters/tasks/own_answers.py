"""What the answers of a user's own rows are: their form, their metrics, and what is wrong with them."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hyperadapters._utils import InputError, expand_path, few_names, listed, shortened
from hyperadapters.tasks.label_set_metrics import _LABEL_SET_METRICS
from hyperadapters.tasks.metrics import (
    _NUMBER_METRICS,
    _SPAN_METRICS,
    _TEXT_METRICS,
    Metric,
    accuracy,
    exact_match,
    macro_f1,
    token_f1,
)
from hyperadapters.tasks.readers import _Record
from hyperadapters.tasks.tag_metrics import span_f1, tag_accuracy
from hyperadapters.tasks.targets import (
    AnswerSpan,
    FreeText,
    Labels,
    LabelSet,
    Numeric,
    TagSequence,
    _Number,
    _plain_form,
    _Target,
)
from hyperadapters.tasks.task import _Reference, _target_value

AnswerType = Literal["label", "labels", "text", "score", "tags", "span"]
"""What the answers of own files are: one class a row, any number of labels, any text, numbers, a tag a word, or
a part of the text."""

_ADD_ROWS = (
    "Classes are those of the training rows: add rows of the others there, or name all classes with --labels FILE."
)
_ADD_LABELS = "Classes are those that --labels names: add the others there, or correct the rows."

_ADD_TAGGED = "Tags are those of the training rows: add rows of the others there, or name all tags with --labels FILE."
_ADD_TAGS = "Tags are those that --labels names: add the others there, or correct the rows."

_ADD_EMPTY = "Add training rows whose text has no answer, or leave these rows out."

_TAG_METRICS = (span_f1, tag_accuracy)
"""The metrics of tags that mark spans; the first chooses the best weights."""

_FEW_CLASSES = 10
"""So many numbers may be classes, whatever they are: ratings from 0.5 to 5 in halves."""

_FEW_ALONE = 4
"""So many may be classes where most of them stand in one row alone."""

_ROWS_OF_A_CLASS = 3
"""Rows that more classes, numbered ones, have on average at least."""


@dataclass(frozen=True)
class _Column:
    """A column of answers, for errors."""

    place: str | Path
    name: str

    def __str__(self) -> str:
        return f"{self.place}: column {self.name!r}"


@dataclass(frozen=True)
class _Answers:
    """What the answers of a task are."""

    target: _Target
    metrics: tuple[Metric, ...]
    chosen_by: tuple[Metric, ...] = ()
    """As in `Task`."""
    reference: _Reference = _target_value
    remedy: str = ""
    """What to do about answers that are not valid."""


def _describe_answers(
    rows: Callable[[], Iterable[_Record]], answer: str, column: _Column, answers: AnswerType, classes: tuple[str, ...]
) -> _Answers:
    """Return what the answers of a task of own rows are.

    Args:
        rows: reads the training rows.
        answer: the name of the answer among a row's values.
        column: the same as the user calls it, for errors.
        answers: which kind.
        classes: all classes or labels; empty: those that occur in the training rows.

    Raises:
        InputError: as `own_task`.
    """
    if answers == "text":
        return _answers_of(FreeText(), answer)
    if answers == "score":
        return _answers_of(_number_format([(row.values[answer], row.place) for row in rows()], column), answer)
    if answers == "span":
        return _answers_of(AnswerSpan(empty=not all(row.values[answer] for row in rows())), answer, _ADD_EMPTY)
    if classes:
        _check_given(classes)
    if answers == "tags":
        named = [((tag,), "the labels") for tag in classes]
        tags = _tags(named or [(row.values[answer], row.place) for row in rows()], column)
        return _answers_of(TagSequence(classes or tags), answer, _ADD_TAGS if classes else _ADD_TAGGED)
    if classes:
        found, remedy = classes, _ADD_LABELS
    else:
        values = [(row.values[answer], row.place) for row in rows()]
        several = answers == "labels"
        each = [(text, place) for value, place in values for text in (value if several else [value.strip()])]
        found, remedy = _classes(each, column), _ADD_ROWS
    if answers == "label":
        return _answers_of(Labels(found), answer, remedy)
    _check_joinable(found)
    return _answers_of(LabelSet(found), answer, remedy)


def _answers_of(target: _Target, answer: str, remedy: str = "") -> _Answers:
    """Return how answers of one kind are scored in a user's own rows.

    Args:
        target: the answers.
        answer: the name of the answer among a row's values.
        remedy: what to do about answers that are not valid.
    """
    if isinstance(target, Labels):
        return _Answers(target, (accuracy, macro_f1), remedy=remedy)
    if isinstance(target, LabelSet):
        return _Answers(target, _LABEL_SET_METRICS, remedy=remedy)
    if isinstance(target, AnswerSpan):
        return _Answers(target, _SPAN_METRICS, (token_f1,), _all_answers(answer), remedy)
    if isinstance(target, TagSequence):
        marked = any(tag.startswith(("B-", "I-")) for tag in target.texts)
        metrics, chosen_by = (_TAG_METRICS, (span_f1,)) if marked else ((tag_accuracy,), ())
        return _Answers(target, metrics, chosen_by, remedy=remedy)
    if isinstance(target, Numeric):
        exact = _exact_number(answer) if isinstance(target, _Number) else _target_value
        return _Answers(target, _NUMBER_METRICS, reference=exact)
    return _Answers(target, _TEXT_METRICS, (exact_match,))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return the labels that a file names, one a line, in its order; blank lines are left out.

    Raises:
        InputError: there is no such file, or it is not UTF-8.
    """
    path = expand_path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8, one label a line.") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _check_given(classes: Sequence[str]) -> None:
    """Raise InputError if the classes that a user names are fewer than two, or two of them look the same."""
    places: dict[str, str] = {}
    for number, text in enumerate(classes, 1):
        if text in places:
            raise InputError(f"the labels name {text!r} twice ({places[text]} and label {number}): name each once.")
        places[text] = f"label {number}"
    if len(classes) < 2:
        raise InputError(f"the labels are {few_names(classes, none='none')}: classification needs two, one a line.")
    _check_alike("the labels", places)


def _check_joinable(labels: Sequence[str]) -> None:
    """Raise InputError if a label holds what stands between the labels of a row, where they are written as text."""
    wrong = [label for label in labels if LabelSet.SEPARATOR.strip() in label]
    if wrong:
        raise InputError(
            f"the labels {few_names(map(repr, wrong))} hold {LabelSet.SEPARATOR.strip()!r}, which stands between the "
            "labels of a row where they are written as text: write them otherwise, in all files."
        )


def _classes(values: Sequence[tuple[str, str]], column: _Column) -> tuple[str, ...]:
    """Return the classes of training rows, sorted.

    Args:
        values: each class, and the place of its row.
        column: where they are from, for errors.

    Raises:
        InputError: there is one class at most, two classes look the same, or the column holds numbers to predict.
    """
    places: dict[str, str] = {}
    for text, place in values:
        places.setdefault(text, place)
    if len(places) < 2:
        raise InputError(
            f"{column} holds {len(places)} class(es) ({few_names(places, none='none')}); "
            "classification needs two. For free text use --target instead of --label."
        )
    _check_alike(f"{column}", places)
    if _are_measurements([*places], len(values)):
        raise InputError(
            f"{column} holds {len(places):,} different numbers in {len(values):,} rows "
            f"({few_names(places)}): each would become a class of its own. To predict numbers, use --score instead of "
            "--label (answers='score'). If the numbers do name classes, write a word before them."
        )
    return tuple(sorted(places))


def _check_alike(where: str, places: Mapping[str, str]) -> None:
    """Raise InputError if classes differ in white space, Unicode form or the writing of a whole number alone.

    Args:
        where: what holds them, in words.
        places: where each stands first.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for text in places:
        plain = _plain_form(text)
        groups[plain[:-2] if re.fullmatch(r"[+-]?\d+\.0", plain) else plain].append(text)
    same = [" and ".join(f"{text!a} ({places[text]})" for text in texts) for texts in groups.values() if len(texts) > 1]
    if same:
        raise InputError(
            f"{where} holds classes that differ in white space or in the way that they are written "
            f"alone. Write each in one way, in all files:\n  {listed(same)}"
        )


def _are_measurements(classes: Sequence[str], rows: int) -> bool:
    """Return whether classes are numbers to predict, and no names: too many for the rows, or with decimals.

    Ratings from 1 to 5, in halves too, and numbered classes with some rows each are names.
    """
    if not all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) for text in classes):
        return False
    whole = all(float(text).is_integer() for text in classes)
    few = _FEW_CLASSES if rows >= 2 * len(classes) else _FEW_ALONE
    return len(classes) > few and (not whole or rows < _ROWS_OF_A_CLASS * len(classes))


def _tags(values: Sequence[tuple[Sequence[str], str]], column: _Column) -> tuple[str, ...]:
    """Return the tags of training rows: O first, the others sorted.

    Raises:
        InputError: there is one at most, one holds white space, or some mark spans and others are neither O nor BIO.
    """
    places: dict[str, str] = {}
    for tags, place in values:
        for tag in tags:
            places.setdefault(tag, place)
    if len(places) < 2:
        held = few_names(places, none="no tags")
        raise InputError(f"{column} holds {len(places)} tag(s) ({held}); to learn tags takes two.")
    _check_alike(f"{column}", places)
    spaced = [f"{tag!r} ({place})" for tag, place in places.items() if len(tag.split()) != 1]
    if spaced:
        raise InputError(f"{column} holds tags with white space inside: {few_names(spaced)}. Write each as one word.")
    marked = [tag for tag in places if tag.startswith(("B-", "I-"))]
    others = [f"{tag} ({place})" for tag, place in places.items() if tag != "O" and tag not in marked]
    if marked and others:
        raise InputError(
            f"{column} holds tags of spans ({few_names(marked)}) beside {few_names(others)}. Write spans in BIO: "
            "B-X for the first word of one of type X, I-X for its others, O for all other words."
        )
    return tuple(sorted(places, key=lambda tag: (tag != "O", tag)))


def _number_format(values: Sequence[tuple[str, str]], column: _Column) -> _Number:
    """Return the form of numbers like those of the training rows.

    Args:
        values: each number as text, and the place of its row.
        column: where they are from, for errors.

    Raises:
        InputError: some are no numbers (the first ten, with file and line), or all are the same.
    """
    any_number = _Number(mean=0.0, deviation=1.0, step=1.0)
    bad = [f"{place}: {shortened(text)!r}" for text, place in values if any_number.decode(text) is None]
    if bad:
        commas = any(re.fullmatch(r"\s*[+-]?\d+,\d+\s*", text) for text, _ in values)
        hint = " Decimals are written with a point: 2.75." if commas else ""
        raise InputError(
            f"{column} holds {len(bad):,} answer(s) that are no finite number.{hint} Correct them, or leave these rows "
            f"out (--skip-bad-rows); for classes use --label, for text --target:\n  {listed(bad)}"
        )
    numbers = [float(text) for text, _ in values]
    if len(set(numbers)) < 2:
        held = f"holds the number {numbers[0]:g} alone" if numbers else "has no rows"
        raise InputError(f"{column} {held}: to learn numbers takes two different ones at least.")
    try:
        return _Number.of(numbers)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{column} holds numbers from {min(numbers):g} to {max(numbers):g}, whose standard "
            "deviation is not finite or 0 in double precision: write them in another unit."
        ) from error


def _misfit(answers: AnswerType, text: str, answer: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what says why the values of a row do not go together: a number that is none, tags of other words.

    Args:
        answers: of which kind they are.
        text: the name of the text among a row's values; of tags, the words.
        answer: the name of the answer.
    """
    any_number = _Number(mean=0.0, deviation=1.0, step=1.0)

    def why(values: Mapping[str, Any]) -> str:
        if answers == "score" and any_number.decode(values[answer]) is None:
            return f"the answer {shortened(values[answer])!r} is no finite number"
        if answers == "tags" and (len(values[text]) != len(values[answer]) or not values[text]):
            return f"{len(values[text]):,} word(s) and {len(values[answer]):,} tag(s): each word needs one"
        return ""

    return why


def _exact_number(answer: str) -> Callable[[Any, _Record], float]:
    """Return what a number is compared with: the row's own, not the rounded one that its target text states.

    Args:
        answer: the name of the answer among a row's values.
    """
    return lambda _, row: float(row.values[answer])


def _all_answers(answer: str) -> Callable[[Any, _Record], tuple[str, ...]]:
    """Return what a part of a text is compared with: all right ones, of which the first is learned; or none.

    Args:
        answer: the name of the answers among a row's values.
    """
    return lambda _, row: row.values[answer]

"""SuperGLUE (Wang et al., arXiv:1905.00537) in text-to-text form, with the papers' splits (Compacter, §4.1)."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hyperadapters.tasks.glue import _BINARY, _ENTAILMENT, _same
from hyperadapters.tasks.metrics import (
    Metric,
    accuracy,
    answer_f1,
    macro_f1_of,
    normalized_exact_match,
    question_exact_match,
    token_f1,
)
from hyperadapters.tasks.readers import _Record, _Unfold
from hyperadapters.tasks.sources import _Hub, _Official
from hyperadapters.tasks.splits import _halve_validation, _hold_out_thousand, _Split, _Splits, permutation
from hyperadapters.tasks.targets import FreeText, Labels, _Target
from hyperadapters.tasks.task import Task, _Reference, _target_value
from hyperadapters.tasks.task_format import _PUBLISHED, TaskFormat

_TWO_FILES = {"train": "train.jsonl", "validation": "val.jsonl"}


def _superglue_task(
    name: str,
    folder: str,
    fields: tuple[str, ...],
    target: _Target,
    metrics: tuple[Metric, ...],
    *,
    hub: _Hub | None = None,
    unfold: _Unfold | None = None,
    split: _Split = _halve_validation,
    reference: _Reference = _target_value,
    epochs: int = 20,
) -> Task:
    """Return a task of SuperGLUE; unless `unfold` makes the rows, the official columns have the names of the fields."""
    return Task(
        form=TaskFormat(f"superglue/{name}", fields, target),
        metrics=metrics,
        source=_Official(
            benchmark="superglue",
            folder=folder,
            files=_TWO_FILES,
            columns=_same(*fields, "label"),
            hub=hub or _on_hub(name),
            unfold=unfold,
        ),
        split=split,
        epochs=epochs,
        reference=reference,
    )


def _on_hub(configuration: str, unfold: _Unfold | None = None) -> _Hub:
    """Return a task of SuperGLUE on the Hub."""
    return _Hub("aps/super_glue", configuration, {"train": "train", "validation": "validation"}, unfold=unfold)


@functools.cache
def _without_markup(text: str) -> str:
    """Return a paragraph of MultiRC without the HTML that numbers their sentences, blanks single."""
    return " ".join(re.sub(r"</?\w+>", " ", re.sub(r"<b>Sent \d+: </b>", " ", text)).split())


def _answer_row(question: str, answer: str, paragraph: str, label: Any, question_id: str) -> dict[str, str]:
    """Return a row of MultiRC: one candidate answer."""
    texts = {"question": question, "answer": answer, "paragraph": paragraph}
    cleaned = {name: _without_markup(text) for name, text in texts.items()}
    return {**cleaned, "label": str(int(label)), "question_id": question_id}


def _answers_of_passage(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the rows of an official record of MultiRC: a passage with its questions and their answers."""
    passage = record["passage"]
    for number, question in enumerate(passage["questions"]):
        for answer in question["answers"]:
            key = f"{record['idx']}-{number}"
            yield _answer_row(question["question"], answer["text"], passage["text"], answer["label"], key)


def _answer_on_hub(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a record of MultiRC on the Hub: one answer."""
    key = f"{record['idx']['paragraph']}-{record['idx']['question']}"
    yield _answer_row(record["question"], record["answer"], record["paragraph"], record["label"], key)


def _class_and_question(value: int, row: _Record) -> tuple[int, str]:
    """Return what MultiRC's metrics need: the class of an answer, and the question that it answers."""
    return value, row.values["question_id"]


def _halve_questions(splits: _Splits) -> _Splits:
    """Split MultiRC: half of the validation questions, with all their answers, are the test set.

    The published code halves the answers, so that a question is judged by some of them (its EM is then too high).
    """
    questions = list(dict.fromkeys(row.values["question_id"] for row in splits["validation"]))
    order = permutation(len(questions))
    chosen = {questions[i] for i in order[: len(questions) // 2]}
    halves: dict[bool, list[_Record]] = {True: [], False: []}
    for row in splits["validation"]:
        halves[row.values["question_id"] in chosen].append(row)
    return {"train": splits["train"], "validation": halves[True], "test": halves[False]}


def _query_row(query: str, entities: Iterable[str], passage: str, answers: Iterable[str]) -> dict[str, str]:
    """Return a row of ReCoRD: one query with all its right answers, the highlights read as sentences."""
    passage = re.sub(r"""(?<=[.?!"'])\n@highlight\n""", " ", passage)
    passage = re.sub(r"\n@highlight\n", ". ", passage)
    right = sorted(set(answers))
    return {
        "query": query,
        "entities": ", ".join(sorted(set(entities))),
        "passage": passage,
        "label": right[0],
        "answers": "\n".join(right),
    }


def _queries_of_passage(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the rows of an official record of ReCoRD: a passage with its entities and queries."""
    text = record["passage"]["text"]
    entities = [text[e["start"] : e["end"] + 1] for e in record["passage"]["entities"]]
    for query in record["qas"]:
        yield _query_row(query["query"], entities, text, [answer["text"] for answer in query["answers"]])


def _query_on_hub(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a record of ReCoRD on the Hub: one query."""
    yield _query_row(record["query"], record["entities"], record["passage"], record["answers"])


def _any_answer(value: str, row: _Record) -> tuple[str, ...]:
    """Return all right answers to a query."""
    return tuple(row.values["answers"].split("\n"))


def _one_training_row_per_answer(splits: _Splits) -> _Splits:
    """Split ReCoRD: 1,000 training queries validate; the others are trained on once for every right answer."""
    parts = _hold_out_thousand(splits)
    train = [
        row._replace(values={**row.values, "label": answer})
        for row in parts["train"]
        for answer in row.values["answers"].split("\n")
    ]
    return {**parts, "train": train}


def _find_span(text: str, span: str, word: int) -> tuple[int, int]:
    """Return where a span begins and ends: of its occurrences, in upper or lower case, the nearest to a word's number.

    Raises:
        ValueError: it does not occur. (In places the official numbers are off by one, and case and blanks differ.)
    """
    words = [match.start() for match in re.finditer(r"\S+", text)]
    pattern = r"\s+".join(re.escape(part) for part in span.split())
    found = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)]
    if not found:
        raise ValueError(f"{span!r} does not occur in the text")
    expected = words[min(word, len(words) - 1)]
    return min(found, key=lambda ends: abs(ends[0] - expected))


def _mark_spans(text: str, spans: Sequence[tuple[str, int, str]]) -> str:
    """Return a text with marks around spans, each given by its text, its first word's number and its mark.

    One span may lie inside the other ("their mothers", "their"). The published code leaves out the inner one's mark,
    which it looks for among words whose numbers the outer one's mark has changed.
    """
    marks = []
    for span, word, mark in spans:
        start, end = _find_span(text, span, word)
        marks += [(start, 1, start - end, f"{mark} "), (end, 0, end - start, f" {mark}")]
    for place, _, _, mark in sorted(marks, reverse=True):
        text = text[:place] + mark + text[place:]
    return text


def _wsc_row(record: Mapping[Any, Any], spans: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of WSC: `*` around the noun, `#` around the pronoun, as T5 reads it (arXiv:1910.10683v4, §2.4)."""
    marks = [(spans[f"span{i}_text"], int(spans[f"span{i}_index"]), mark) for i, mark in ((1, "*"), (2, "#"))]
    return {"text": _mark_spans(record["text"], marks), "label": str(int(record["label"]))}


def _wsc_official(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of an official record of WSC, which holds the spans under `target`."""
    yield _wsc_row(record, record["target"])


def _wsc_on_hub(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a record of WSC on the Hub, which holds the spans itself."""
    yield _wsc_row(record, record)


_PREMISE = ("premise", "hypothesis")

_OFFICIAL = {
    task.form.name: task
    for task in (
        _superglue_task("boolq", "BoolQ", ("question", "passage"), _BINARY, (accuracy,)),
        _superglue_task(
            "cb",
            "CB",
            _PREMISE,
            Labels(("0", "1", "2"), ("entailment", "contradiction", "neutral")),
            (macro_f1_of(3), accuracy),
        ),
        _superglue_task("copa", "COPA", ("premise", "choice1", "choice2", "question"), _BINARY, (accuracy,)),
        _superglue_task(
            "multirc",
            "MultiRC",
            ("question", "answer", "paragraph"),
            _BINARY,
            (answer_f1, question_exact_match),
            hub=_on_hub("multirc", _answer_on_hub),
            unfold=_answers_of_passage,
            split=_halve_questions,
            reference=_class_and_question,
            epochs=3,
        ),
        _superglue_task(
            "record",
            "ReCoRD",
            ("query", "entities", "passage"),
            FreeText(),
            (token_f1, normalized_exact_match),
            hub=_on_hub("record", _query_on_hub),
            unfold=_queries_of_passage,
            split=_one_training_row_per_answer,
            reference=_any_answer,
            epochs=3,
        ),
        _superglue_task("rte", "RTE", _PREMISE, _ENTAILMENT, (accuracy,)),
        _superglue_task("wic", "WiC", ("sentence1", "sentence2", "word"), _BINARY, (accuracy,)),
        _superglue_task(
            "wsc",
            "WSC",
            ("text",),
            _BINARY,
            (accuracy,),
            hub=_on_hub("wsc.fixed", _wsc_on_hub),
            unfold=_wsc_official,
        ),
    )
}

_BOOLQ, _COPA, _MULTIRC = (_OFFICIAL[f"superglue/{name}"] for name in ("boolq", "copa", "multirc"))

_PUBLISHED_FORMS = (
    replace(
        _COPA,
        form=replace(_COPA.form, name=f"superglue/copa{_PUBLISHED}", fields=("premise", "choice1", "choice2")),
        description="as the published code has it: without the question, so cause and effect cannot be told",
    ),
    replace(
        _MULTIRC,
        form=replace(_MULTIRC.form, name=f"superglue/multirc{_PUBLISHED}"),
        split=_halve_validation,
        description="as the published code has it: validation halved by answers, not questions, which inflates EM",
    ),
)

_BOOLQ_PART = replace(
    _BOOLQ,
    form=replace(_BOOLQ.form, name="superglue/boolq-1886"),
    source=_Official(
        benchmark="superglue",
        folder="BoolQ",
        files={"train": "train_subset1886.jsonl", "validation": "val.jsonl"},
        columns=_same("question", "passage", "label"),
    ),
    description="1,886 rows of the official training set; validation and test as for superglue/boolq",
)

TASKS = {**_OFFICIAL, **{task.form.name: task for task in (*_PUBLISHED_FORMS, _BOOLQ_PART)}}

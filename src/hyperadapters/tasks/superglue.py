"""SuperGLUE (Wang et al., arXiv:1905.00537) in text-to-text form, with the papers' splits (Compacter, §4.1)."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hyperadapters.tasks.glue import BINARY, ENTAILMENT, same
from hyperadapters.tasks.metrics import (
    Metric,
    accuracy,
    answer_f1,
    exact_match,
    macro_f1,
    question_exact_match,
    token_f1,
)
from hyperadapters.tasks.readers import Record, Unfold
from hyperadapters.tasks.sources import Hub, Official
from hyperadapters.tasks.splits import Split, Splits, halve_validation, hold_out_thousand, permutation
from hyperadapters.tasks.targets import FreeText, Labels, Target
from hyperadapters.tasks.task import Reference, Task, target_value
from hyperadapters.tasks.task_format import PUBLISHED, TaskFormat

TWO_FILES = {"train": "train.jsonl", "validation": "val.jsonl"}


def superglue_task(
    name: str,
    folder: str,
    fields: tuple[str, ...],
    target: Target,
    metrics: tuple[Metric, ...],
    *,
    hub: Hub | None = None,
    unfold: Unfold | None = None,
    split: Split = halve_validation,
    reference: Reference = target_value,
    epochs: int = 20,
) -> Task:
    """Return a task of SuperGLUE; unless `unfold` makes the rows, the official columns have the names of the fields."""
    return Task(
        form=TaskFormat(f"superglue/{name}", fields, target),
        metrics=metrics,
        source=Official(
            benchmark="superglue",
            folder=folder,
            files=TWO_FILES,
            columns=same(*fields, "label"),
            hub=hub or on_hub(name),
            unfold=unfold,
        ),
        split=split,
        epochs=epochs,
        reference=reference,
    )


def on_hub(configuration: str, unfold: Unfold | None = None) -> Hub:
    """Return a task of SuperGLUE on the Hub."""
    return Hub("aps/super_glue", configuration, {"train": "train", "validation": "validation"}, unfold=unfold)


@functools.cache
def without_markup(text: str) -> str:
    """Return a paragraph of MultiRC without the HTML that numbers their sentences, blanks single."""
    return " ".join(re.sub(r"</?\w+>", " ", re.sub(r"<b>Sent \d+: </b>", " ", text)).split())


def answer_row(question: str, answer: str, paragraph: str, label: Any, question_id: str) -> dict[str, str]:
    """Return a row of MultiRC: one candidate answer."""
    texts = {"question": question, "answer": answer, "paragraph": paragraph}
    cleaned = {name: without_markup(text) for name, text in texts.items()}
    return {**cleaned, "label": str(int(label)), "question_id": question_id}


def answers_of_passage(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the rows of an official record of MultiRC: a passage with its questions and their answers."""
    passage = record["passage"]
    for number, question in enumerate(passage["questions"]):
        for answer in question["answers"]:
            key = f"{record['idx']}-{number}"
            yield answer_row(question["question"], answer["text"], passage["text"], answer["label"], key)


def answer_on_hub(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a record of MultiRC on the Hub: one answer."""
    key = f"{record['idx']['paragraph']}-{record['idx']['question']}"
    yield answer_row(record["question"], record["answer"], record["paragraph"], record["label"], key)


def class_and_question(value: int, row: Record) -> tuple[int, str]:
    """Return what MultiRC's metrics need: the class of an answer, and the question that it answers."""
    return value, row.values["question_id"]


def halve_questions(splits: Splits) -> Splits:
    """Split MultiRC: half of the validation questions, with all their answers, are the test set.

    The published code halves the answers, so that a question is judged by some of them (its EM is then too high).
    """
    questions = list(dict.fromkeys(row.values["question_id"] for row in splits["validation"]))
    order = permutation(len(questions))
    chosen = {questions[i] for i in order[: len(questions) // 2]}
    halves: dict[bool, list[Record]] = {True: [], False: []}
    for row in splits["validation"]:
        halves[row.values["question_id"] in chosen].append(row)
    return {"train": splits["train"], "validation": halves[True], "test": halves[False]}


def query_row(query: str, entities: Iterable[str], passage: str, answers: Iterable[str]) -> dict[str, str]:
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


def queries_of_passage(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the rows of an official record of ReCoRD: a passage with its entities and queries."""
    text = record["passage"]["text"]
    entities = [text[e["start"] : e["end"] + 1] for e in record["passage"]["entities"]]
    for query in record["qas"]:
        yield query_row(query["query"], entities, text, [answer["text"] for answer in query["answers"]])


def query_on_hub(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a record of ReCoRD on the Hub: one query."""
    yield query_row(record["query"], record["entities"], record["passage"], record["answers"])


def any_answer(value: str, row: Record) -> tuple[str, ...]:
    """Return all right answers to a query."""
    return tuple(row.values["answers"].split("\n"))


def one_training_row_per_answer(splits: Splits) -> Splits:
    """Split ReCoRD: 1,000 training queries validate; the others are trained on once for every right answer."""
    parts = hold_out_thousand(splits)
    train = [
        row._replace(values={**row.values, "label": answer})
        for row in parts["train"]
        for answer in row.values["answers"].split("\n")
    ]
    return {**parts, "train": train}


def find_span(text: str, span: str, word: int) -> tuple[int, int]:
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


def mark_spans(text: str, spans: Sequence[tuple[str, int, str]]) -> str:
    """Return a text with marks around spans, each given by its text, its first word's number and its mark."""
    for start, end, mark in sorted(((*find_span(text, span, word), mark) for span, word, mark in spans), reverse=True):
        text = f"{text[:start]}{mark} {text[start:end]} {mark}{text[end:]}"
    return text


def wsc_row(record: Mapping[Any, Any], spans: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of WSC: `*` around the noun, `#` around the pronoun, as T5 reads it (arXiv:1910.10683v4, §2.4)."""
    marks = [(spans[f"span{i}_text"], int(spans[f"span{i}_index"]), mark) for i, mark in ((1, "*"), (2, "#"))]
    return {"text": mark_spans(record["text"], marks), "label": str(int(record["label"]))}


def wsc_official(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of an official record of WSC, which holds the spans under `target`."""
    yield wsc_row(record, record["target"])


def wsc_on_hub(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a record of WSC on the Hub, which holds the spans itself."""
    yield wsc_row(record, record)


PREMISE = ("premise", "hypothesis")

OFFICIAL = {
    task.form.name: task
    for task in (
        superglue_task("boolq", "BoolQ", ("question", "passage"), BINARY, (accuracy,)),
        superglue_task(
            "cb",
            "CB",
            PREMISE,
            Labels(("0", "1", "2"), ("entailment", "contradiction", "neutral")),
            (macro_f1, accuracy),
        ),
        superglue_task("copa", "COPA", ("premise", "choice1", "choice2", "question"), BINARY, (accuracy,)),
        superglue_task(
            "multirc",
            "MultiRC",
            ("question", "answer", "paragraph"),
            BINARY,
            (answer_f1, question_exact_match),
            hub=on_hub("multirc", answer_on_hub),
            unfold=answers_of_passage,
            split=halve_questions,
            reference=class_and_question,
            epochs=3,
        ),
        superglue_task(
            "record",
            "ReCoRD",
            ("query", "entities", "passage"),
            FreeText(),
            (token_f1, exact_match),
            hub=on_hub("record", query_on_hub),
            unfold=queries_of_passage,
            split=one_training_row_per_answer,
            reference=any_answer,
            epochs=3,
        ),
        superglue_task("rte", "RTE", PREMISE, ENTAILMENT, (accuracy,)),
        superglue_task("wic", "WiC", ("sentence1", "sentence2", "word"), BINARY, (accuracy,)),
        superglue_task(
            "wsc",
            "WSC",
            ("text",),
            BINARY,
            (accuracy,),
            hub=on_hub("wsc.fixed", wsc_on_hub),
            unfold=wsc_official,
        ),
    )
}

BOOLQ, COPA, MULTIRC = (OFFICIAL[f"superglue/{name}"] for name in ("boolq", "copa", "multirc"))

PUBLISHED_FORMS = (
    replace(
        COPA,
        form=replace(COPA.form, name=f"superglue/copa{PUBLISHED}", fields=("premise", "choice1", "choice2")),
        description="as the published code has it: without the question, so cause and effect cannot be told",
    ),
    replace(
        MULTIRC,
        form=replace(MULTIRC.form, name=f"superglue/multirc{PUBLISHED}"),
        split=halve_validation,
        description="as the published code has it: validation halved by answers, not questions, which inflates EM",
    ),
)

BOOLQ_PART = replace(
    BOOLQ,
    form=replace(BOOLQ.form, name="superglue/boolq-1886"),
    source=Official(
        benchmark="superglue",
        folder="BoolQ",
        files={"train": "train_subset1886.jsonl", "validation": "val.jsonl"},
        columns=same("question", "passage", "label"),
    ),
    description="1,886 rows of the official training set; validation and test as for superglue/boolq",
)

TASKS = {**OFFICIAL, **{task.form.name: task for task in (*PUBLISHED_FORMS, BOOLQ_PART)}}

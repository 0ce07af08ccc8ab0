"""What SuperGLUE's records become: spans, markup, several answers, questions that stay whole; and the Hub's form."""

import json
import re

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from hyperadapters import TASKS, InputError, load_data
from hyperadapters.tasks.readers import _Record
from hyperadapters.tasks.superglue import _halve_questions, _mark_spans, _one_training_row_per_answer, _without_markup
from hyperadapters.training.config import Evaluation
from hyperadapters.training.evaluation import evaluate

TEXT = "Mark told Pete lies, which Pete put in his book."


def test_spans_are_marked_where_the_official_word_numbers_say():
    assert _mark_spans(TEXT, [("Pete", 5, "*"), ("his", 8, "#")]) == (
        "Mark told Pete lies, which * Pete * put in # his # book."
    )


def test_a_span_inside_the_other_keeps_both_marks_whole():
    nested = "Mothers love their children, as their mothers did."
    outer, inner = ("their mothers", 5, "*"), ("their", 5, "#")
    for spans in ([outer, inner], [inner, outer]):
        assert _mark_spans(nested, spans) == "Mothers love their children, as * # their # mothers * did."
    last = [("mothers of them", 0, "*"), ("them", 2, "#")]
    assert _mark_spans("mothers of them", last) == "* mothers of # them # *"
    assert _mark_spans("Ann, she", [("Ann", 0, "*"), ("she", 1, "#")]) == "* Ann *, # she #"


def test_spans_are_found_where_number_case_or_blanks_are_off():
    assert _mark_spans("The lawyer asked it .", [("the  lawyer", 0, "*"), ("it", 2, "#")]) == (
        "* The lawyer * asked # it # ."
    )


def test_a_span_that_is_not_there_is_an_error_with_its_line(tmp_path):
    write(tmp_path / "WSC", {"text": TEXT, "label": True, "target": spans("Paul", 0, "his", 8)})
    with pytest.raises(InputError, match=r"train.jsonl:1: not made as expected .*'Paul' does not occur"):
        TASKS["superglue/wsc"].examples(tmp_path)


def spans(noun, noun_word, pronoun, pronoun_word):
    return {"span1_text": noun, "span1_index": noun_word, "span2_text": pronoun, "span2_index": pronoun_word}


def test_markup_is_removed():
    assert _without_markup("<b>Sent 1: </b>It rains.<br><b>Sent 2: </b>It <i>pours</i>.") == "It rains. It pours ."


def answers(split):
    """Nine answers to three questions, not in the questions' order."""
    return [
        _Record({"question_id": question, "answer": str(number), "label": "1"}, f"{split}:{number}")
        for number, question in enumerate("abcabcabc")
    ]


def test_multirc_is_halved_by_questions():
    splits = _halve_questions({"train": [], "validation": answers("v")})
    questions = {split: {row.values["question_id"] for row in splits[split]} for split in ("validation", "test")}
    assert not questions["validation"] & questions["test"]
    assert (len(questions["validation"]), len(questions["test"])) == (1, 2)
    assert len(splits["validation"]) + len(splits["test"]) == 9


def test_the_published_multirc_tears_questions_apart():
    splits = TASKS["superglue/multirc-published"].split({"train": [], "validation": answers("v")})
    questions = [{row.values["question_id"] for row in splits[split]} for split in ("validation", "test")]
    assert questions[0] & questions[1]


def test_record_trains_on_every_answer_and_asks_every_query_once():
    rows = [
        _Record({"query": str(i), "answers": "a\nb" if i % 2 else "a", "label": "a"}, f"train:{i}") for i in range(1100)
    ]
    splits = _one_training_row_per_answer({"train": rows, "validation": rows[:3]})
    assert (len(splits["validation"]), len(splits["test"])) == (1000, 3)
    held = {row.values["query"] for row in splits["validation"]}
    trained = [row for row in rows if row.values["query"] not in held]
    assert len(splits["train"]) == sum(len(row.values["answers"].split("\n")) for row in trained)
    assert {row.values["label"] for row in splits["train"]} == {"a", "b"}


def write(folder, *records, files=("train.jsonl", "val.jsonl")):
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))


PASSAGE = "Rome fell.\n@highlight\nIt was sacked by Goths\n@highlight\nA bus came."
ENTITIES = [{"start": PASSAGE.index(name), "end": PASSAGE.index(name) + len(name) - 1} for name in ("Rome", "Goths")]
RECORD = {
    "passage": {"text": PASSAGE, "entities": ENTITIES * 2},
    "qas": [
        {"query": "@placeholder fell.", "answers": [{"text": "Rome"}, {"text": "Eternal City"}, {"text": "Rome"}]},
        {"query": "The @placeholder came.", "answers": [{"text": "Goths"}]},
    ],
}
MULTIRC = [
    {
        "idx": number,
        "passage": {
            "text": "It <b>rained</b>.",
            "questions": [
                {"question": f"Did {what} it?", "answers": [{"text": "Yes", "label": 1}, {"text": "No", "label": 0}]}
                for what in ("rain", "snow")
            ],
        },
    }
    for number in range(2)
]
HUB = {
    "superglue/cb": (
        "cb",
        [{"premise": "p", "hypothesis": f"h{i}", "label": i % 3} for i in range(4)],
        {"label": ClassLabel(names=["entailment", "contradiction", "neutral"])},
    ),
    "superglue/multirc": (
        "multirc",
        [
            {
                "paragraph": record["passage"]["text"],
                "question": question["question"],
                "answer": answer["text"],
                "idx": {"paragraph": record["idx"], "question": number, "answer": 0},
                "label": answer["label"],
            }
            for record in MULTIRC
            for number, question in enumerate(record["passage"]["questions"])
            for answer in question["answers"]
        ],
        {"label": ClassLabel(names=["False", "True"])},
    ),
    "superglue/record": (
        "record",
        [
            {
                "passage": PASSAGE,
                "query": query["query"],
                "entities": ["Goths", "Rome"],
                "answers": [answer["text"] for answer in query["answers"]],
            }
            for query in RECORD["qas"]
        ]
        * 501,
        {"entities": Sequence(Value("string"))},
    ),
    "superglue/wsc": (
        "wsc.fixed",
        [{"text": TEXT, **spans("Pete", 5, "his", 8), "label": 1}] * 4,
        {"label": ClassLabel(names=["False", "True"])},
    ),
}
FILES = {
    "superglue/cb": [
        {"premise": "p", "hypothesis": f"h{i}", "label": ("entailment", "contradiction", "neutral")[i % 3]}
        for i in range(4)
    ],
    "superglue/multirc": MULTIRC,
    "superglue/record": [RECORD] * 501,
    "superglue/wsc": [{"text": TEXT, "target": spans("Pete", 5, "his", 8), "label": True}] * 4,
}


def hub_copy(folder, configuration, records, types):
    """A folder as the Hub lays it out: Parquet files with typed columns."""
    rows = Dataset.from_list(records)
    rows = rows.cast(Features({**rows.features, **types}))
    (folder / configuration).mkdir(parents=True)
    for split in ("train", "validation"):
        rows.to_parquet(str(folder / configuration / f"{split}-00000-of-00001.parquet"))
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", HUB)
def test_official_files_and_the_hub_give_the_same_examples(name, tmp_path, own_cache):
    folder = {"cb": "CB", "multirc": "MultiRC", "record": "ReCoRD", "wsc": "WSC"}[name.split("/")[1]]
    write(tmp_path / "files" / folder, *FILES[name])
    from_files = TASKS[name].examples(tmp_path / "files")
    assert from_files == TASKS[name].examples(hub_copy(tmp_path / "super_glue", *HUB[name]))
    assert from_files == TASKS[name].examples(tmp_path)  # the repository's folder, or the one that holds it


def test_the_texts_are_those_of_the_paper(tmp_path):
    for folder, name in (("CB", "cb"), ("MultiRC", "multirc"), ("ReCoRD", "record"), ("WSC", "wsc")):
        write(tmp_path / folder, *FILES[f"superglue/{name}"])
    found = {name: {row.source: row for row in TASKS[name].examples(tmp_path)["test"]} for name in FILES}
    assert found["superglue/cb"]["premise: p hypothesis: h1"].target == "1"
    assert "question: Did rain it? answer: Yes paragraph: It rained ." in found["superglue/multirc"]
    query = "query: @placeholder fell. entities: Goths, Rome passage: Rome fell. It was sacked by Goths. A bus came."
    assert found["superglue/record"][query].reference == ("Eternal City", "Rome")
    assert list(found["superglue/wsc"]) == ["text: Mark told Pete lies, which * Pete * put in # his # book."]


def test_a_hub_copy_without_a_split_is_refused(tmp_path, own_cache):
    folder = hub_copy(tmp_path, *HUB["superglue/cb"])
    (folder / "cb" / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"cb lacks validation-\*.parquet of aps/super_glue"):
        TASKS["superglue/cb"].examples(folder)


def test_multirc_is_scored_by_question(tmp_path):
    """A model that says one class to all answers finds no question whole: each has a right and a wrong answer."""
    from hyperadapters import METHODS, attach, load_backbone

    write(tmp_path, *MULTIRC)
    backbone, tokenizer = load_backbone()
    data = load_data("superglue/multirc", tokenizer, tmp_path)
    found = evaluate(attach(backbone, METHODS["compacter++"]), data, "test", Evaluation(decode="score"))
    assert set(found.metrics) == {"answer_f1", "question_exact_match"}
    right = [int(a) == r for a, (r, _) in zip(found.answers, data.references["test"], strict=True)]
    assert (
        found.metrics["question_exact_match"] == sum(a and b for a, b in zip(right[::2], right[1::2], strict=True)) / 2
    )


def test_in_the_real_files_every_text_of_wsc_has_its_two_marks(shared):
    for rows in TASKS["superglue/wsc"].examples(shared).values():
        assert all(re.search(r"\* .+ \*", row.source) and re.search(r"# .+ #", row.source) for row in rows)

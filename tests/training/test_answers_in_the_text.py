"""Answers that are a part of the text: rows as SQuAD has them, windows, learning, and answering on every kind."""

import itertools
import json
import random

import pytest
from command_line import one_json, refuses, works
from tiny_encoders import own_files, rows_in, tiny_encoder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hyperadapters import InputError, load_backbone
from hyperadapters.tasks import AnswerSpan, TaskFormat, own_task
from hyperadapters.training import Text, encode

COLOURS = ("red", "blue", "green", "yellow")
OTHERS = ("house", "small", "large", "river", "with", "many", "trees", "on", "its", "way")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def paragraph(draw, words, colour=True):
    """A text of some words, with a colour in it or not, and its question as SQuAD has it."""
    found = draw.choices(OTHERS, k=words)
    if not colour:
        return {"context": " ".join(found), "question": "which colour?", "answers": []}
    place = draw.randrange(words)
    found[place] = draw.choice(COLOURS)
    answer = {"text": found[place], "answer_start": len(" ".join(found[:place])) + (place > 0)}
    return {"context": " ".join(found), "question": "which colour?", "answers": [answer]}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    draw = random.Random(0)
    return rows_in(tmp_path_factory.mktemp("squad") / "colours.jsonl", [paragraph(draw, 9) for _ in range(96)])


def squad_file(path, rows, **how):
    """The same rows as a file in SQuAD's form."""
    articles = [
        {"title": "t", "paragraphs": [{"context": row["context"], "qas": [{"id": str(number), **row}]}]}
        for number, row in enumerate(rows)
    ]
    path.write_text(json.dumps({"version": "1.1", "data": articles}, **how))
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_encoder_learns_where_answers_stand(encoder, questions, tmp_path):
    words = own_files(questions, span="answers", backbone=encoder, output=tmp_path / "out")
    result = one_json(works("train", *words, "--method", "houlsby", "--lr", "1e-2", "--steps", "90", "--json"))
    found = result["metrics"]["validation"]
    assert set(found) == {"token_f1", "normalized_exact_match"}
    assert found["token_f1"] > 0.9
    assert result["baselines"]["constant"]["validation"]["token_f1"] < 0.6
    row = rows_of(questions)[0]
    answers = one_json(works("predict", tmp_path / "out", row["question"], row["context"], "--json"))
    assert answers["predictions"] == [row["answers"][0]["text"]]
    whole = squad_file(tmp_path / "dev.json", rows_of(questions), indent=1)
    scored = works("evaluate", tmp_path / "out", "--file", whole)
    assert f"{100 * found['token_f1']:.2f}" in scored.stdout
    works("predict", tmp_path / "out", "--file", whole, "--output", tmp_path / "answers.jsonl")
    assert [row["prediction"] in COLOURS for row in rows_of(tmp_path / "answers.jsonl")].count(True) > 86


def test_a_text_model_writes_the_answer(questions, tmp_path):
    words = own_files(questions, span="answers", output=tmp_path / "out")
    result = one_json(works("train", *words, "--steps", "2", "--json"))
    assert result["decode"] == "generate"
    assert set(result["metrics"]["validation"]) == {"token_f1", "normalized_exact_match"}


def task_of(path, rows, answers="answers"):
    files = dict.fromkeys(("train", "validation"), rows_in(path, rows))
    return own_task(files, ("question", "context"), answers, answers="span", name="quiz")


def examples_of(path, rows, answers="answers"):
    return task_of(path, rows, answers).examples(None)["train"]


def test_answers_are_read_in_every_form_that_data_sets_have(tmp_path):
    rows = [
        {"question": "q", "context": "  one two one", "answers": {"text": ["one"], "answer_start": [10]}},
        {"question": "q", "context": "one two one", "answers": [{"text": "two", "answer_start": 4}]},
        {"question": "q", "context": "one two one", "answers": "one"},
        {"question": "q", "context": "one two one", "answers": ["two", "one"]},
        {"question": "q", "context": "one two one", "answers": []},
    ]
    found = examples_of(tmp_path / "rows.jsonl", rows)
    assert [row.span for row in found] == [(8, 11), (4, 7), (0, 3), (4, 7), None]
    assert [row.reference for row in found] == [("one",), ("two",), ("one",), ("two", "one"), ()]
    assert [row.target for row in found] == ["one", "two", "one", "two", ""]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([{"text": "two", "answer_start": 5}], "'two' does not stand at 5 of the text; it stands at 4"),
        ([{"text": "six", "answer_start": 4}], "it stands nowhere in it"),
        ([{"text": "two", "answer_start": -7}], "does not stand at -7"),
        ([{"text": "two", "answer_start": "4"}], "a text and its first character's number"),
        ([{"text": "two"}], "lacks 'answer_start'"),
        ({"text": ["two"], "answer_start": []}, "two lists of one length"),
        ("Two", "'Two' does not stand in the text, to the letter"),
        (None, "write [] where the text has no answer"),
    ],
)
def test_answers_that_do_not_stand_where_they_say_are_refused_by_line(tmp_path, answer, expected):
    good = {"question": "q", "context": "one two", "answers": "one"}
    with pytest.raises(InputError) as caught:
        examples_of(tmp_path / "rows.jsonl", [good, {**good, "answers": answer}])
    assert expected in str(caught.value)
    assert "rows.jsonl:2" in str(caught.value)


def test_questions_without_an_answer_need_some_to_train_on(tmp_path):
    good = {"question": "q", "context": "one two", "answers": "one"}
    train, other = rows_in(tmp_path / "a.jsonl", [good]), rows_in(tmp_path / "b.jsonl", [{**good, "answers": []}])
    files = {"train": train, "validation": other}
    task = own_task(files, ("question", "context"), "answers", answers="span", name="quiz")
    assert not task.form.target.empty
    with pytest.raises(InputError, match="no answer, which no training row has.*\n.*Add training rows"):
        task.examples(None)


def test_options_that_do_not_go_with_parts_of_the_text_are_refused(questions, encoder, tmp_path):
    words = own_files(questions, span="answers", template="{context}", output=tmp_path / "out")
    assert "--template names its columns itself" in refuses("train", *words)
    words = own_files(questions, span="answers", text="a,b,c", output=tmp_path / "out")
    assert "needs the column of that text" in refuses("train", *words)
    words = own_files(questions, span="answer", output=tmp_path / "out")
    assert "no column answer" in refuses("train", *words)
    tasks = [{"train": str(questions), "validation": "10%", "span": "answers", "name": "quiz"}, "demo/sentiment"]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    words = ("--tasks", tmp_path / "tasks.json", "--backbone", encoder, "--output", tmp_path / "out")
    assert "quiz asks for a part of the text, the other tasks for other answers" in refuses("train", *words)
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps({"data": [{"paragraphs": [{"context": "a"}]}]}))
    assert "begins as a file of SQuAD" in refuses("train", *own_files(damaged, span="answers"))


FORM = TaskFormat("quiz", ("question", "context"), AnswerSpan())


def windows_of(row, length, target_length=4, **more):
    """The row in tokens, where each window of its text begins and ends in it, and what was cut."""
    _, tokenizer = load_backbone("embedded")
    example = FORM.example(row, prefix=False)._replace(**more)
    (found,), cut = encode(
        [example], FORM, tokenizer, Text(source_length=length, target_length=target_length), "encoder"
    )
    shown = []
    for window in (found, *found.windows):
        own = [place for place in window.offsets if place[1] > place[0]]
        shown.append((own[0][0], own[-1][1]))
        assert len(window.source) <= length
    return found, shown, cut


def test_a_long_text_becomes_windows_that_overlap_and_cover_it():
    row = paragraph(random.Random(1), 60)
    answer = row["answers"][0]
    span = (answer["answer_start"], answer["answer_start"] + len(answer["text"]))
    found, shown, cut = windows_of(row, 32, span=span)
    assert len(shown) > 2
    places = sorted(shown)
    assert places[0][0] == 0
    assert places[-1][1] == len(row["context"])
    assert all(begin < end for (_, end), (begin, _) in itertools.pairwise(places))
    learned = [window for window in (found, *found.windows) if window.target != [0, 0]]
    assert learned
    for window in learned:
        first, last = window.target
        assert row["context"][window.offsets[first][0] : window.offsets[last][1]] == answer["text"]
    assert cut == (0, 0)


def test_what_is_too_long_is_cut_and_counted():
    row = {**paragraph(random.Random(1), 40), "question": "which colour " * 20}
    _, shown, cut = windows_of(row, 24, span=(0, 1))
    assert len(shown) > 1
    assert cut.sources == 1
    _, _, cut = windows_of(row, 200, span=(0, len(row["context"])))
    assert cut.targets == 1
    found, _, cut = windows_of(row, 200, span=None)
    assert found.target == [0, 0]
    assert cut == (0, 0)


@pytest.mark.parametrize(
    ("answer", "learned"),
    [("love this phone \u2764\ufe0f", "love this phone \u2764"), ("\ufe0f", None), ("phone", "phone")],
)
def test_ends_of_an_answer_that_no_token_stands_for_are_no_part_of_what_is_learned(answer, learned, encoder):
    """Tokenizers drop selectors of emoji and combining accents."""
    inner = Tokenizer(models.WordLevel({"<pad>": 0, "?": 1, "\u2764": 2, "phone": 3}, unk_token="?"))
    inner.normalizer = normalizers.Replace("\ufe0f", "")
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>")
    context = "I love this phone \u2764\ufe0f"
    start = context.index(answer)
    example = FORM.example({"question": "what", "context": context}, prefix=False)
    example = example._replace(span=(start, start + len(answer)))
    (row,), cut = encode([example], FORM, tokenizer, Text(), "encoder")
    first, last = row.target
    assert cut.targets == (learned is None)
    if learned is not None:
        assert context[row.offsets[first][0] : row.offsets[last][1]].startswith(learned)


def test_a_prefix_moves_the_place_of_the_answer(tmp_path):
    rows = [{"context": "  Ann lives in Paris", "answers": "Paris"}, {"context": "in Rome", "answers": "Rome"}]
    files = dict.fromkeys(("train", "validation"), rows_in(tmp_path / "rows.jsonl", rows))
    for fields in (("context",), ("question", "context")):
        if "question" in fields:
            rows_in(tmp_path / "rows.jsonl", [{"question": "where?", **row} for row in rows])
        task = own_task(files, fields, "answers", answers="span", name="quiz")
        for prefix in (False, True):
            found = task.examples(None, prefix=prefix)["train"]
            assert [row.texts[-1][slice(*row.span)] for row in found] == ["Paris", "Rome"]


def test_an_answer_that_stands_in_the_text_is_that_answer_though_it_is_a_list_of_json_too(tmp_path):
    row = {"question": "which?", "context": "the first 1 is shown in [1] of the film", "answers": "[1]"}
    (found,) = examples_of(tmp_path / "rows.jsonl", [row])
    assert found.reference == ("[1]",)
    assert found.span == (24, 27)
    (found,) = examples_of(tmp_path / "rows.jsonl", [{**row, "answers": '["first", "film"]'}])
    assert found.reference == ("first", "film")


def test_a_function_of_ones_own_gets_answers_and_references_as_texts():
    target = AnswerSpan()
    assert [target.as_given(value) for value in ("a", ("b", "c"), ())] == ["a", "b", ""]


def test_windows_without_room_for_the_text_are_refused():
    row = paragraph(random.Random(1), 12)
    with pytest.raises(InputError, match=r"windows of 2 tokens have no room .* --set text.source_length="):
        windows_of(row, 2, span=(0, 1))


def test_questions_without_answers_can_be_answered_and_not_learned(questions, encoder, tmp_path):
    rows = [{key: row[key] for key in ("question", "context")} for row in rows_of(questions)[:4]]
    whole = squad_file(tmp_path / "new.json", rows)
    assert "no column" in refuses("train", *own_files(whole, span="answers", backbone=encoder))
    words = own_files(questions, span="answers", backbone=encoder, output=tmp_path / "out")
    works("train", *words, "--steps", "1")
    works("predict", tmp_path / "out", "--file", whole, "--output", tmp_path / "answers.jsonl")
    assert [row["context"] for row in rows_of(tmp_path / "answers.jsonl")] == [row["context"] for row in rows]


def test_the_answer_is_the_best_of_all_windows_whatever_their_number(encoder, tmp_path):
    draw = random.Random(5)
    path = rows_in(tmp_path / "rows.jsonl", [paragraph(draw, 40) for _ in range(60)])
    words = own_files(path, span="answers", backbone=encoder, output=tmp_path / "out")
    words += ("--set", "text.source_length=32", "--set", "text.target_length=4")
    result = one_json(works("train", *words, "--method", "houlsby", "--lr", "3e-2", "--steps", "150", "--json"))
    assert result["metrics"]["validation"]["token_f1"] > 0.9
    rows = [paragraph(draw, words) for words in (5, 90, 12, 60, 30, 45)]
    works(
        "predict", tmp_path / "out", "--file", rows_in(tmp_path / "new.jsonl", rows), "--output", tmp_path / "a.jsonl"
    )
    wanted = [row["answers"][0]["text"] for row in rows]
    assert [row["prediction"] for row in rows_of(tmp_path / "a.jsonl")] == wanted


@pytest.mark.slow  # a run whose answers stand in the text is in `make check`
def test_a_text_without_an_answer_is_answered_with_nothing(encoder, tmp_path):
    draw = random.Random(3)
    rows = [paragraph(draw, 9, colour=number % 3 > 0) for number in range(120)]
    words = own_files(rows_in(tmp_path / "rows.jsonl", rows), span="answers", backbone=encoder, output=tmp_path / "out")
    result = one_json(works("train", *words, "--method", "houlsby", "--lr", "1e-2", "--steps", "150", "--json"))
    assert result["metrics"]["validation"]["token_f1"] > 0.85
    answers = one_json(works("predict", tmp_path / "out", "which colour?", "small house on its way", "--json"))
    assert answers["predictions"] == [""]


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(InputError, match="need a fast tokenizer, which knows where each token stands"):
        encode([FORM.example({"question": "q", "context": "c"}, prefix=False)], FORM, object(), Text(), "encoder")

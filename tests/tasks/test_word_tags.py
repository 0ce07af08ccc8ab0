"""A tag for each word: files, span F1, and what is refused."""

import pytest
from tiny_encoders import rows_in

from hyperadapters import InputError, Reading
from hyperadapters.tasks.own_files import own_task
from hyperadapters.tasks.readers import iterate_rows
from hyperadapters.tasks.tag_metrics import _spans, span_f1, tag_accuracy
from hyperadapters.tasks.task_format import TaskFormat

CONLL = """-DOCSTART- -X- -X- O

Ann NNP B-NP B-PER
Lee NNP I-NP I-PER
ran VBD B-VP O

Oslo NNP B-NP B-LOC
"""


def task_of(folder, *rows, validation=(), fields=("words",), **how):
    files = {}
    for split, given in (("train", rows), ("validation", validation or rows)):
        made = [{"words": words, "bio": tags} for words, tags in given]
        files[split] = rows_in(folder / f"{split}.jsonl", made)
    return own_task(files, fields, "bio", answers="tags", name="names", **how)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("I-PER I-PER O I-PER", [("PER", 0, 2), ("PER", 3, 4)]),
        ("O O", []),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
    ],
)
def test_spans_are_those_of_conlleval(tags, spans):
    assert _spans(tags.split()) == spans


def test_span_f1_counts_a_span_with_a_wrong_end_as_wrong_and_as_missed():
    """One of two answered spans is right, and one of three wanted ones found: precision 1/2, recall 1/3."""
    wanted = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC"]]
    found = [["B-PER", "O", "O", "B-LOC"], ["O"]]
    assert span_f1(found, wanted) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert tag_accuracy(found, wanted) == pytest.approx(3 / 5)
    assert span_f1([["O"]], [["O"]]) == 0.0


def test_rows_of_words_and_tags_are_read(tmp_path):
    task = task_of(tmp_path, (["Ann", "ran"], ["B-PER", "O"]), (["Ann"], ["B-PER"]))
    assert task.form.target.texts == ("O", "B-PER")
    assert [metric.__name__ for metric in task.metrics] == ["span_f1", "tag_accuracy"]
    row = task.examples(None)["train"][0]
    assert (row.words, row.target, row.reference) == (("Ann", "ran"), "B-PER O", ("B-PER", "O"))
    assert TaskFormat.from_json(task.form.to_json()) == task.form


def test_tags_that_mark_no_spans_are_scored_by_word(tmp_path):
    task = task_of(tmp_path, (["a", "dog"], ["DET", "NOUN"]), (["dog"], ["NOUN"]))
    assert [metric.__name__ for metric in task.metrics] == ["tag_accuracy"]


def test_a_conll_file_has_words_and_tags_in_its_first_and_last_columns(tmp_path):
    path = tmp_path / "names.conll"
    path.write_text(CONLL)
    files = {"train": path, "validation": path}
    rows = own_task(files, ("tokens",), "tags", answers="tags", name="names").examples(None)["train"]
    assert [row.words for row in rows] == [("Ann", "Lee", "ran"), ("Oslo",)]
    assert [row.target for row in rows] == ["B-PER I-PER O", "B-LOC"]
    path.write_text("Ann B-PER\nLee\n\nran O\n")
    with pytest.raises(InputError, match=r"names.conll:2: a word without a tag"):
        own_task(files, ("tokens",), "tags", answers="tags", name="names")


def test_words_of_a_conll_file_keep_their_white_space_and_may_lack_tags_all_together(tmp_path):
    path = tmp_path / "names.conll"
    path.write_text("I\tO\nNew York\tB-LOC\n\n10\u00a0000 B-NUM\nx \t O\t\n")
    files = {"train": path, "validation": path}
    rows = own_task(files, ("tokens",), "tags", answers="tags", name="names").examples(None)["train"]
    assert [row.words for row in rows] == [("I", "New York"), ("10\u00a0000", "x")]
    assert [row.target for row in rows] == ["O B-LOC", "B-NUM O"]
    path.write_text("Ann\nran\n\nLee\n")
    assert [row.values for row in iterate_rows(path, {"tokens": "tokens"}, lists={"tokens": ""})] == [
        {"tokens": ("Ann", "ran")},
        {"tokens": ("Lee",)},
    ]
    with pytest.raises(InputError, match="tags"):
        own_task(files, ("tokens",), "tags", answers="tags", name="names")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(["a", "b"], ["O"]), (["a"], ["B-X"])], r"1 row\(s\) do not fit:\n  train.jsonl:1: 2 word\(s\) and 1 tag"),
        ([([], []), (["a", "b"], ["O", "B-X"])], r"train.jsonl:1: 0 word\(s\) and 0 tag"),
        ([("a b", ["O", "B-X"])], r"column 'words' holds 'a b', which is no list"),
        ([(["a"], ["O"])], r"holds 1 tag\(s\) \(O\); to learn tags takes two"),
        ([(["a", "b"], ["O", "B X"])], r"white space inside: 'B X' \(train.jsonl:1\)"),
        ([(["a", "b"], ["B-X", "S-X"])], r"tags of spans \(B-X\) beside S-X \(train.jsonl:1\)"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_line(rows, message, tmp_path):
    with pytest.raises(InputError, match=message):
        task_of(tmp_path, *rows).examples(None)


def test_what_tags_are_not_made_for_is_refused(tmp_path):
    row = (["a", "b"], ["O", "B-X"])
    with pytest.raises(InputError, match=r"validation.jsonl:1: label 'O; B-Y' \(no tag: 'B-Y'\)"):
        task_of(tmp_path, row, validation=((["a", "b"], ["O", "B-Y"]),)).examples(None)
    with pytest.raises(InputError, match="tags are of the words of one column"):
        task_of(tmp_path, row, fields=("words", "other"))


def test_tags_that_training_lacks_can_be_named(tmp_path):
    rows = (["Ann", "ran"], ["B-PER", "O"]), (["Oslo", "slept"], ["B-LOC", "O"])
    other = [(["Ann", "Lee"], ["B-PER", "I-PER"])]
    with pytest.raises(InputError, match="no tag: 'I-PER'.*\n.*name all tags with --labels FILE"):
        task_of(tmp_path, *rows, validation=other).examples(None)
    tags = ("O", "B-PER", "I-PER", "B-LOC")
    found = task_of(tmp_path, *rows, validation=other, classes=tags)
    assert found.form.target.texts == tags
    assert [row.reference for row in found.examples(None)["validation"]] == [("B-PER", "I-PER")]
    with pytest.raises(InputError, match="holds tags of spans"):
        task_of(tmp_path, *rows, classes=("O", "B-PER", "person"))


def test_sentences_with_too_few_tags_are_left_out_where_that_is_asked(tmp_path):
    rows = (["Ann", "ran"], ["B-PER", "O"]), (["Oslo", "slept"], ["B-LOC"])
    found = task_of(tmp_path, *rows, reading=Reading(skip_bad_rows=True))
    assert [row.reference for row in found.examples(None)["train"]] == [("B-PER", "O")]
    assert found.left_out() == {"train": 1, "validation": 1}

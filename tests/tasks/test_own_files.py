"""Classes of a user's own files: which columns hold classes, and which do not."""

import json
import unicodedata

import pyarrow
import pyarrow.parquet
import pytest

from hyperadapters import InputError
from hyperadapters.tasks.own_files import own_task

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def classes(path, *labels, validation=()):
    """The classes of a task whose training rows have these labels."""
    files = {"train": path / "train.jsonl", "validation": path / "validation.jsonl"}
    for file, given in ((files["train"], labels), (files["validation"], validation or labels)):
        file.write_text("".join(json.dumps({"t": f"row {i}", "y": label}) + "\n" for i, label in enumerate(given)))
    task = own_task(files, ("t",), "y", answers="label", name="rows")
    task.examples(None)
    return task.form.target.texts


@pytest.mark.parametrize(
    "labels",
    [(COMPOSED, DECOMPOSED), ("not ok", "not  ok"), ("not ok", "not\u00a0ok"), ("ok", "o\u200bk"), ("1", "1.0")],
)
def test_classes_that_look_the_same_are_refused_with_their_lines(labels, tmp_path):
    with pytest.raises(InputError, match=r"written alone.*\n .*train.jsonl:1\) and .*train.jsonl:2\)") as error:
        classes(tmp_path, *labels, "another")
    assert ascii(labels[1]) in str(error.value)


def test_a_validation_class_in_another_unicode_form_is_told_from_an_unknown_one(tmp_path):
    with pytest.raises(InputError, match=r"differs in white space or Unicode form alone"):
        classes(tmp_path, COMPOSED, "tea", validation=(DECOMPOSED, "tea"))


def test_classes_that_differ_in_case_or_by_a_word_are_classes(tmp_path):
    assert classes(tmp_path, "US", "us", "not", "not us") == ("US", "not", "not us", "us")


def test_an_unknown_class_among_very_many_names_the_nearest_in_a_short_error(tmp_path):
    many = [f"class {i}" for i in range(3000)]
    with pytest.raises(InputError, match=r"validation.jsonl:1: label 'clas 77' \(Did you mean class 77") as error:
        classes(tmp_path, *many, validation=("clas 77",))
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused_with_its_line(value, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"t": "x", "y": "a"}}\n{{"t": "y", "y": {value}}}\n{{"t": "z", "y": "b"}}\n')
    with pytest.raises(InputError, match=r"rows.jsonl:2: column 'y' is (missing \(NaN\)|-?inf)"):
        own_task({"train": file, "validation": file}, ("t",), "y", answers="label", name="rows")


def test_nan_in_parquet_is_a_missing_value_with_its_row(tmp_path):
    file = tmp_path / "rows.parquet"
    table = pyarrow.table({"t": ["a", "b", "c"], "y": [0.0, float("nan"), None]})
    pyarrow.parquet.write_table(table, file)
    with pytest.raises(InputError, match=r"2 bad row.*\n  .*:2: column 'y' is missing \(NaN\)\n  .*:3: .* missing"):
        own_task({"train": file, "validation": file}, ("t",), "y", answers="label", name="rows")


def test_the_word_nan_in_text_is_a_word(tmp_path):
    assert classes(tmp_path, "NaN", "roti") == ("NaN", "roti")


@pytest.mark.parametrize(
    "numbers",
    [
        [i / 7 for i in range(40)],
        [i % 40 / 10 for i in range(4000)],
        [37 * i for i in range(30)],
        [0.5, 1.7, 3, 4, 5.1],
    ],
    ids=["all different", "scores in steps", "whole numbers", "few rows"],
)
def test_numbers_to_predict_are_refused_as_classes(numbers, tmp_path):
    with pytest.raises(InputError, match=r"different numbers in .* use --score instead of --label"):
        classes(tmp_path, *numbers)


@pytest.mark.parametrize(
    "numbers",
    [[0, 1] * 2, [i % 10 / 2 for i in range(40)], [i % 77 for i in range(400)]],
    ids=["two classes", "half stars", "numbered intents"],
)
def test_numbers_that_name_classes_are_classes(numbers, tmp_path):
    assert len(classes(tmp_path, *numbers)) == len(set(numbers))


def test_classify_is_short_for_the_two_usual_kinds(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"t": "a", "y": "x"}\n{"t": "b", "y": "z"}\n')
    files = {"train": path, "validation": path}
    for classify, answers in ((True, "label"), (False, "text")):
        short = own_task(files, ("t",), "y", classify=classify, name="mine")
        assert short.form == own_task(files, ("t",), "y", answers=answers, name="mine").form
    for wrong in ({}, {"answers": "label", "classify": True}):
        with pytest.raises(InputError, match="say what the answers are"):
            own_task(files, ("t",), "y", name="mine", **wrong)


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        ({"train": "a.csv"}, ("t",), "files: no validation. Name those of train"),
        ({"train": "a.csv", "dev": "b.csv"}, ("t",), "files: no validation"),
        ({"train": "a.csv", "validation": "b.csv", "dev": "c.csv"}, ("t",), "files: 'dev'. Name those of train"),
        (
            {"train": ["a.csv", "b.csv"], "validation": "10%"},
            ("t",),
            "files of train: give one text, several files with",
        ),
        ({"train": "a.csv", "validation": "10%"}, "t", r"fields='t': give a tuple of columns, \('t',\)"),
    ],
)
def test_a_call_in_another_form_says_how_it_is_made(files, fields, message):
    with pytest.raises(InputError, match=message):
        own_task(files, fields, "y", answers="label", name="rows")

"""Templates of the source text: what they may hold, and that nothing but a row's columns is ever looked up."""

import json

import pytest

from hyperadapters import InputError, own_task
from hyperadapters.tasks.targets import FreeText
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.tasks.templates import template_fields


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("Question: {question}\nAnswer:", ("question",)),
        ("{b} and {a}, {b} again", ("b", "a")),
        ("{{not a field}} {a column}", ("a column",)),
    ],
)
def test_a_template_names_its_columns(template, fields):
    assert template_fields(template) == fields


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no column", "names no column"),
        ("{", "Single '{' encountered"),
        ("a } b", "Single '}' encountered"),
        ("{}", "name of a column and nothing else"),
        ("{a!r}", r"\{a!r\}"),
        ("{a:>10}", r"\{a:>10\}"),
        ("{a:{b}}", "name of a column and nothing else"),
        ("{a.__class__}", r"\{a.__class__\}"),
        ("{a[0]}", r"\{a\[0\]\}"),
    ],
)
def test_a_field_that_is_more_than_a_columns_name_is_refused(template, message):
    with pytest.raises(InputError, match=message):
        template_fields(template)


def form(template, fields=None, style="template"):
    return TaskFormat("qa", fields or template_fields(template), FreeText(), style=style, template=template)


def test_the_source_is_the_template_filled_in_and_one_text_for_encoders():
    template = form("{{Q}}: {q}\nIn {where}. {q}\nA:")
    row = {"q": " why? {where} ", "where": "Rome"}
    assert template.source(row) == "{Q}: why? {where}\nIn Rome. why? {where}\nA:"
    assert template.source(row, prefix=True) == "qa {Q}: why? {where}\nIn Rome. why? {where}\nA:"
    assert template.texts(row) == (template.source(row),)


def test_a_template_is_saved_and_a_damaged_one_refused():
    saved = json.loads(json.dumps(form("Q: {q}").to_json()))
    assert TaskFormat.from_json(saved) == form("Q: {q}")
    for damaged in ("Q: {q.__class__}", "Q: {other}", "Q:"):
        with pytest.raises(InputError):
            TaskFormat.from_json({**saved, "template": damaged})


def write(path):
    path.write_text('{"q": "one", "a": "yes"}\n{"q": "two", "a": "no"}\n')
    return {"train": path, "validation": path}


@pytest.mark.parametrize("answers", ["label", "text"])
def test_own_files_take_a_template_in_place_of_columns(answers, tmp_path):
    task = own_task(write(tmp_path / "a.jsonl"), (), "a", answers=answers, name="qa", template="Q: {q} A:")
    assert [row.source for row in task.examples(None)["train"]] == ["Q: one A:", "Q: two A:"]


@pytest.mark.parametrize(
    ("fields", "template", "message"),
    [
        ((), "Q: {question}", "has no column 'question'. Its columns: q, a"),
        (("q",), "Q: {q}", "a template names its columns itself"),
        ((), "", "name the columns of the source text"),
        ((), "Q: {q} {a}", "column 'a' is both text and answer"),
    ],
)
def test_a_template_that_does_not_fit_the_file_is_refused(fields, template, message, tmp_path):
    with pytest.raises(InputError, match=message):
        own_task(write(tmp_path / "a.jsonl"), fields, "a", answers="label", name="qa", template=template)

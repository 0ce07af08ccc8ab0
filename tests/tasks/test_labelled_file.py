"""The task of one labelled file: read as the adapter's own task is, with its metrics."""

import json

import pytest

from hyperadapters import TASKS, InputError
from hyperadapters.tasks.instructions import instruction_task
from hyperadapters.tasks.labelled_file import labelled_task
from hyperadapters.tasks.own_files import own_task


def rows_at(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("answers", ["label", "text"])
def test_own_rows_are_read_as_in_training(answers, tmp_path):
    path = rows_at(tmp_path / "rows.jsonl", [{"label": f"text {i}", "y": "ab"[i % 2]} for i in range(4)])
    trained = own_task({"train": path, "validation": path}, ("label",), "y", answers=answers, name="mine")
    found = labelled_task(trained.form, path, "y")
    assert found.examples(None) == {"test": trained.examples(None)["train"]}
    assert found.metrics == trained.metrics


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Who?", "response": "I."},
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]},
    ],
)
def test_instructions_are_read_as_in_training(row, tmp_path):
    path = rows_at(tmp_path / "rows.jsonl", [row, row])
    trained = instruction_task({"train": path, "validation": path}, name="mine")
    found = labelled_task(trained.form, path, "response")
    assert found.examples(None) == {"test": trained.examples(None)["train"]}
    assert found.metrics == trained.metrics


def test_a_task_of_the_package_takes_its_own_metrics_and_label_names(tmp_path):
    known = TASKS["glue/stsb"]
    path = rows_at(tmp_path / "rows.jsonl", [{"sentence1": "a", "sentence2": "b", "label": 2.5}])
    found = labelled_task(known.form, path, "label", known)
    assert found.metrics == known.metrics
    assert [row.target for row in found.examples(None)["test"]] == ["2.4"]
    known = TASKS["superglue/cb"]
    path = rows_at(tmp_path / "rows.jsonl", [{"premise": "a", "hypothesis": "b", "label": "neutral"}])
    assert [row.target for row in labelled_task(known.form, path, "label", known).examples(None)["test"]] == ["2"]


@pytest.mark.parametrize(
    ("cells", "separator"),
    [(['["a", "b"]', '["b"]'], ""), (["a|b", "b"], "|"), (["a;b", "b"], ""), ([["a", "b"], ["b"]], "")],
)
def test_several_labels_are_read_in_every_form_that_training_takes(cells, separator, tmp_path):
    path = rows_at(tmp_path / "rows.jsonl", [{"t": f"text {i}", "y": cell} for i, cell in enumerate(cells)])
    form = own_task(
        {"train": rows_at(tmp_path / "train.jsonl", [{"t": "x", "y": ["a", "b"]}]), "validation": path},
        ("t",),
        "y",
        answers="labels",
        name="mine",
    ).form
    found = labelled_task(form, path, "y", separator=separator).examples(None)["test"]
    assert [row.target for row in found] == ["a; b", "b"]


def test_what_is_scored_by_more_than_text_and_answer_is_refused(tmp_path):
    path = rows_at(tmp_path / "rows.jsonl", [{"question": "a", "answer": "b", "paragraph": "c", "label": "0"}])
    known = TASKS["superglue/multirc"]
    with pytest.raises(InputError, match="give its official files with --data"):
        labelled_task(known.form, path, "label", known)


def test_columns_that_are_missing_are_named_all_at_once(tmp_path):
    path = rows_at(tmp_path / "rows.jsonl", [{"premise": "a", "gold": "0"}])
    with pytest.raises(InputError) as caught:
        labelled_task(TASKS["glue/rte"].form, path, "label")
    assert "has no column 'sentence1', 'sentence2', 'label'" in str(caught.value)
    assert "Its columns: gold, premise. Name the column of the answers with --label" in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        labelled_task(TASKS["glue/rte"].form, tmp_path / "absent.jsonl", "label")

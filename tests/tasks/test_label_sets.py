"""Several labels a row, and labels that a file names: how they are read, written and scored, and what is refused."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.metrics import accuracy_score, f1_score
from tiny_encoders import rows_in

from hyperadapters import InputError
from hyperadapters.tasks.label_set_metrics import macro_f1, micro_f1, subset_accuracy
from hyperadapters.tasks.metrics import bootstrap
from hyperadapters.tasks.own_answers import read_labels
from hyperadapters.tasks.own_files import own_task
from hyperadapters.tasks.own_rows import holds_lists
from hyperadapters.tasks.targets import LabelSet
from hyperadapters.tasks.task_format import TaskFormat


def files_of(folder, *cells, validation=()):
    files = {}
    for split, given in (("train", cells), ("validation", validation or cells)):
        rows = [{"t": f"row {i}", "y": cell} for i, cell in enumerate(given)]
        files[split] = rows_in(folder / f"{split}.jsonl", rows)
    return files


def task_of(folder, *cells, validation=(), answers="labels", **options):
    files = files_of(folder, *cells, validation=validation)
    return own_task(files, ("t",), "y", answers=answers, name="topics", **options)


def test_lists_are_written_sorted_and_joined_and_a_row_may_have_no_label(tmp_path):
    task = task_of(tmp_path, ["sport", "arts"], [], ["law", "law"])
    assert task.form.target.texts == ("arts", "law", "sport")
    rows = task.examples(None)["train"]
    assert [row.target for row in rows] == ["arts; sport", "", "law"]
    assert [row.reference for row in rows] == [(0, 2), (), (1,)]
    assert [task.form.target.present(row.target) for row in rows] == [["arts", "sport"], [], ["law"]]
    assert task.form.target.decode("law; crime") == (-1, 1)
    assert TaskFormat.from_json(task.form.to_json()) == task.form


def test_cells_with_a_separator_and_lists_in_json_text_are_lists_too(tmp_path):
    task = task_of(tmp_path, "sport; arts", "", "law;", separator=";")
    assert [row.target for row in task.examples(None)["train"]] == ["arts; sport", "", "law"]
    table = tmp_path / "rows.csv"
    table.write_text('t,y\na,"[""sport"", ""arts""]"\nb,[]\n')
    files = {"train": table, "validation": table}
    task = own_task(files, ("t",), "y", answers="labels", name="topics")
    assert [row.target for row in task.examples(None)["train"]] == ["arts; sport", ""]
    assert holds_lists(files, "y")
    pyarrow.parquet.write_table(pyarrow.table({"t": ["a"], "y": [["x", "z"]]}), tmp_path / "rows.parquet")
    assert holds_lists({"train": tmp_path / "rows.parquet"}, "y")
    assert not holds_lists(files_of(tmp_path, "sport; arts"), "y")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((["a"], None, "b", ["c", ["d"]], ["e", ""]), r"4 bad row.*\n.*:2.*missing; write \[\] for none\n.*:3.*'b', "),
        ((["a"], ["a"]), r"holds 1 class\(es\) \(a\)"),
        ((["a;b"], ["c"]), r"'a;b' hold ';', which stands between the labels"),
        ((["a"], ["b", "b "], ["b\u00a0c", "b c"]), r"written alone"),
    ],
)
def test_what_is_no_list_of_labels_is_refused_with_its_line(cells, message, tmp_path):
    with pytest.raises(InputError, match=message):
        task_of(tmp_path, *cells)


def test_an_unknown_label_of_a_validation_row_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"validation.jsonl:1: label 'a; q' \(no label: 'q'; .*\n.*--labels FILE"):
        task_of(tmp_path, ["a"], ["b"], validation=(["a", "q"],)).examples(None)


def test_a_file_names_classes_that_training_lacks_in_its_order(tmp_path):
    names = tmp_path / "labels.txt"
    names.write_text("wrong\nright\n\n  unknown  \n")
    task = task_of(tmp_path, "right", "wrong", validation=("unknown",), answers="label", classes=read_labels(names))
    assert task.form.target.texts == ("wrong", "right", "unknown")
    assert task.examples(None)["validation"][0].reference == 2
    with pytest.raises(InputError, match=r"train.jsonl:2: label 'rihgt'\n.*--labels names"):
        task_of(tmp_path, "right", "rihgt", answers="label", classes=read_labels(names)).examples(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n", "needs two"), ("a\nb\na\n", r"name 'a' twice \(label 1 and label 3\)"), ("a b\na\u00a0b\n", "alone")],
)
def test_labels_that_a_file_names_badly_are_refused(text, message, tmp_path):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        task_of(tmp_path, "a", "b", answers="label", classes=read_labels(tmp_path / "labels.txt"))


def test_a_file_of_labels_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_labels(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("a\nß\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(tmp_path / "latin.txt")


def test_options_of_labels_are_refused_for_answers_that_have_none(tmp_path):
    with pytest.raises(InputError, match="labels are named, but the answers are of the kind 'text'"):
        task_of(tmp_path, "a", "b", answers="text", classes=("a", "b"))
    with pytest.raises(InputError, match="is for several labels a row"):
        task_of(tmp_path, "a", "b", answers="label", separator=";")


def test_the_metrics_are_scikit_learns():
    random = np.random.default_rng(0)
    found, wanted = (random.random((40, 5)) < 0.4 for _ in range(2))
    sets = [[tuple(np.flatnonzero(row).tolist()) for row in rows] for rows in (found, wanted)]
    assert micro_f1(*sets) == pytest.approx(f1_score(wanted, found, average="micro"))
    assert macro_f1(*sets) == pytest.approx(f1_score(wanted, found, average="macro"))
    assert subset_accuracy(*sets) == pytest.approx(accuracy_score(wanted, found))
    low, high = bootstrap(macro_f1, *sets)
    assert low < macro_f1(*sets) < high


def test_an_invalid_label_counts_as_a_wrong_one():
    assert micro_f1([(-1, 0)], [(0,)]) == pytest.approx(2 / 3)
    assert macro_f1([(-1, 0)], [(0,)]) == 1.0
    assert subset_accuracy([(-1, 0)], [(0,)]) == 0.0
    assert micro_f1([()], [()]) == macro_f1([()], [()]) == 0.0
    assert subset_accuracy([()], [()]) == 1.0


def test_labels_are_json_when_saved():
    target = LabelSet(("a", "b"))
    assert json.loads(json.dumps(vars(target))) == {"texts": ["a", "b"]}

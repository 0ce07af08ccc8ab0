"""Numbers as answers of own files: how they are written, learned and read back, and what is refused."""

import pytest
from tiny_encoders import rows_in

from hyperadapters import InputError, Reading
from hyperadapters.tasks.metrics import rmse
from hyperadapters.tasks.own_files import own_task
from hyperadapters.tasks.targets import _Number
from hyperadapters.tasks.task_format import TaskFormat


def task_of(folder, *numbers, validation=()):
    """The task of training rows with these numbers."""
    files = {}
    for split, given in (("train", numbers), ("validation", validation or numbers)):
        rows = [{"t": f"row {i}", "y": number} for i, number in enumerate(given)]
        files[split] = rows_in(folder / f"{split}.jsonl", rows)
    return own_task(files, ("t",), "y", answers="score", name="numbers")


@pytest.mark.parametrize(
    ("numbers", "step", "written"),
    [
        ([0.0, 1.4, 2.8, 4.2, 5.0], 0.2, ["0.0", "1.4", "2.8", "4.2", "5.0"]),
        ([1, 2, 3, 4, 5], 1.0, ["1", "2", "3", "4", "5"]),
        ([100_000, 260_000, 181_234], 5000.0, ["100000", "260000", "180000"]),
        ([1e-6, 9e-6, 2.34e-6], 2e-7, ["0.0000010", "0.0000090", "0.0000024"]),
        ([-0.001, 4.0], 0.2, ["0.0", "4.0"]),
    ],
    ids=["as STS-B", "ratings", "prices", "small", "no negative zero"],
)
def test_as_text_numbers_are_rounded_to_a_seventh_of_their_deviation(numbers, step, written):
    target = _Number.of([float(number) for number in numbers])
    assert target.step == step
    assert [target.encode(str(number)) for number in numbers] == written


def test_what_a_head_learns_is_standardised_and_read_back_in_the_users_unit():
    numbers = [120_000.0, 480_000.0, 1_250_000.0]
    target = _Number.of(numbers)
    outputs = [target.to_output(number) for number in numbers]
    assert sum(outputs) == pytest.approx(0.0, abs=1e-12)
    assert sum(output**2 for output in outputs) / 3 == pytest.approx(1.0)
    assert [float(target.from_output(output)) for output in outputs] == pytest.approx(numbers, rel=1e-5)
    assert float(target.from_output(5.0)) > 2_000_000  # no limits
    assert target.from_output(target.to_output(-1e-9)) == "0"


def test_references_are_the_rows_own_numbers(tmp_path):
    examples = task_of(tmp_path, 0.03, 5.02, validation=(7.77, "8.5")).examples(None)
    assert [row.reference for row in examples["validation"]] == [7.77, 8.5]
    assert [row.number for row in examples["train"]] == [0.03, 5.02]
    assert [row.target for row in examples["train"]] == ["0.0", "5.0"]


def test_the_form_of_numbers_is_saved(tmp_path):
    form = task_of(tmp_path, 1.5, 2.5).form
    assert TaskFormat.from_json(form.to_json()) == form
    for wrong in ({"step": 0}, {"deviation": -1.0}, {"mean": "x"}):
        with pytest.raises(InputError, match="damaged"):
            TaskFormat.from_json({**form.to_json(), "target": {**form.to_json()["target"], **wrong}})


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1.0, "many", 2.0, "inf"], r"2 answer\(s\) that are no finite number.*\n  .*:2: 'many'\n  .*:4: 'inf'"),
        ([1, "1_000", "\uff11\uff12"], r"2 answer\(s\) that are no finite number.*\n  .*:2: '1_000'"),
        ([2, 2.0], r"holds the number 2 alone: to learn numbers takes two"),
        ([-1e308, 1e308, 1e308], r"standard deviation is not finite or 0 in double precision"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_what_is_no_number_is_refused_with_its_line(numbers, message, tmp_path):
    with pytest.raises(InputError, match=message):
        task_of(tmp_path, *numbers)


def test_a_validation_answer_that_is_no_number_is_refused_with_its_line(tmp_path):
    with pytest.raises(InputError, match=r"validation.jsonl:1: label 'good'"):
        task_of(tmp_path, 1, 2, validation=("good",)).examples(None)


def test_the_root_mean_squared_error_is_in_the_numbers_unit():
    assert rmse([1.0, 5.0], [1.0, 2.0]) == pytest.approx((9 / 2) ** 0.5)
    assert rmse([None, 2.0], [1.0, 3.0]) == pytest.approx(((3 - 1) ** 2 / 2 + 1 / 2) ** 0.5)  # the farthest: 3


def test_rows_whose_answer_is_no_number_are_left_out_where_that_is_asked(tmp_path, capsys):
    path = rows_in(tmp_path / "a.jsonl", [{"t": f"row {i}", "y": y} for i, y in enumerate(["1", "n/a", "nan", "2.5"])])
    task = own_task(
        {"train": path, "validation": path},
        ("t",),
        "y",
        answers="score",
        name="numbers",
        reading=Reading(skip_bad_rows=True),
    )
    assert [row.number for row in task.examples(None)["train"]] == [1.0, 2.5]
    assert task.left_out() == {"train": 2, "validation": 2}
    assert "a.jsonl:2: the answer 'n/a' is no finite number" in " ".join(capsys.readouterr().err.split())


def test_a_decimal_comma_is_named(tmp_path):
    with pytest.raises(InputError, match="Decimals are written with a point: 2.75"):
        task_of(tmp_path, "2,75", "3,5")


def test_a_bad_row_takes_none_with_it_of_another_file_of_the_same_name(tmp_path):
    for folder, numbers in {"a": ["1", "n/a"], "b": ["2", "3"]}.items():
        (tmp_path / folder).mkdir()
        rows_in(tmp_path / folder / "rows.jsonl", [{"t": f"row {i}", "y": y} for i, y in enumerate(numbers)])
    both = f"{tmp_path}/a/rows.jsonl,{tmp_path}/b/rows.jsonl"
    skipping = Reading(skip_bad_rows=True)
    task = own_task({"train": both, "validation": both}, ("t",), "y", answers="score", name="n", reading=skipping)
    assert [row.number for row in task.examples(None)["train"]] == [1.0, 2.0, 3.0]

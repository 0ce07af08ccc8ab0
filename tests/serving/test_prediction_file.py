"""What `predict --output` writes, and what it never replaces."""

import json
import os
import threading
from pathlib import Path

import pytest

from hyperadapters import InputError
from hyperadapters.serving.prediction_file import as_json, check_prediction_file, write_predictions
from hyperadapters.tasks.readers import iterate_rows

ROWS = [{"id": 7, "text": "a film"}, {"id": 8, "text": "a dull film"}]


class Answered:
    """What answers every row alike; it fails at the row after the last, if it is to."""

    def __init__(self, fails: bool = False, **more: object) -> None:
        self.fails, self.more = fails, more

    def file(self, path, *, top=0, reading=None):
        for line in path.read_text().splitlines():
            yield {**json.loads(line), "prediction": "good", **self.more}
        if self.fails:
            raise InputError("a bad row")


@pytest.fixture(name="source")
def rows_to_answer(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_of_answers_is_whole_or_as_it_was(source, tmp_path):
    output = tmp_path / "answers.jsonl"
    output.write_text("old")
    output.chmod(0o640)
    with pytest.raises(InputError, match="a bad row"):
        write_predictions(Answered(fails=True), source, output)
    assert output.read_text() == "old"
    assert write_predictions(Answered(), source, output) == 2
    assert read(output) == [{**row, "prediction": "good"} for row in ROWS]
    assert output.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "rows.jsonl"]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_answers_in_cells_are_read_back_as_they_were(ending, tmp_path):
    texts = ['he said "no"', "two\nlines", "a\ttab, a comma", "cr\rhere", "plain", "é 日本 😀", '"']
    rows = [{"text": text, "id": number, "none": None} for number, text in enumerate(texts)]
    source, output = tmp_path / "rows.jsonl", tmp_path / f"answers.{ending}"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_predictions(Answered(scores={"good": 0.75}), source, output) == len(texts)
    columns = {"text": "text", "id": "id", "prediction": "prediction", "scores": "scores"}
    found = list(iterate_rows(output, columns))
    assert [row.values["text"] for row in found] == texts
    assert [row.values["id"] for row in found] == [str(number) for number in range(len(texts))]
    assert all(row.given["none"] == "" and row.values["prediction"] == "good" for row in found)
    assert all(json.loads(row.values["scores"]) == {"good": 0.75} for row in found)


def test_rows_of_several_kinds_are_no_table(tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "answers.csv"
    source.write_text('{"text": "a"}\n{"text": "b", "id": 1}\n')
    with pytest.raises(InputError, match=r"row 2 has the columns text, id, prediction, .* answers.jsonl can hold"):
        write_predictions(Answered(), source, output)
    assert not output.exists()


@pytest.mark.parametrize("name", ["answers.parquet", "answers.jsonl.gz", "answers.xlsx"])
def test_a_name_of_a_format_that_is_not_written_is_refused(name, source, tmp_path):
    with pytest.raises(InputError, match=r"answers are written as .jsonl, .csv or .tsv, not as"):
        write_predictions(Answered(), source, tmp_path / name)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_the_rows_to_answer_are_never_replaced(link, source, tmp_path):
    link(source, tmp_path / "other.jsonl")
    before = source.read_bytes()
    for output in (source, tmp_path / "other.jsonl", tmp_path / "." / "rows.jsonl"):
        with pytest.raises(InputError, match="is the file of the rows to answer"):
            write_predictions(Answered(), source, output)
    assert source.read_bytes() == before


@pytest.mark.parametrize("mark", ["adapter_config.json", "config.json"])
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "README.md", "result.json"])
def test_a_file_of_an_adapter_or_a_model_is_never_replaced(mark, name, source, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / mark).write_text("{}")
    (folder / name).write_text("{}")
    (tmp_path / "link.jsonl").symlink_to(folder / name)
    for output in (folder / name, tmp_path / "link.jsonl"):
        with pytest.raises(InputError, match="may be a file of the adapter or model in that folder"):
            write_predictions(Answered(), source, output)
    assert (folder / name).read_text() == "{}"
    write_predictions(Answered(), source, folder / "answers.jsonl")
    assert len(read(folder / "answers.jsonl")) == 2


def test_a_link_stays_a_link_and_its_file_is_written(source, tmp_path):
    (tmp_path / "real").mkdir()
    link, target = tmp_path / "link.jsonl", tmp_path / "real" / "answers.jsonl"
    link.symlink_to(target)
    for _ in range(2):
        write_predictions(Answered(), source, link)
        assert link.is_symlink()
        assert len(read(target)) == 2
    link.unlink()
    link.symlink_to(tmp_path / "absent" / "answers.jsonl")
    with pytest.raises(InputError, match="there is no folder"):
        write_predictions(Answered(), source, link)


def test_a_device_is_written_to_and_stays_a_device(source):
    before = os.stat("/dev/null")
    write_predictions(Answered(), source, "/dev/null")
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    with pytest.raises(InputError, match="/dev/full cannot be written: No space left"):
        write_predictions(Answered(), source, "/dev/full")


def test_a_pipe_is_written_to_and_stays_a_pipe(source, tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    write_predictions(Answered(), source, pipe)
    reader.join()
    assert pipe.is_fifo()
    assert [json.loads(line)["id"] for line in found[0].splitlines()] == [7, 8]


def test_an_open_file_behind_a_descriptor_is_written_to(source, tmp_path):
    with (tmp_path / "open.jsonl").open("w") as file:
        file.write('{"id": 6}\n')
        file.flush()
        write_predictions(Answered(), source, f"/dev/fd/{file.fileno()}")
        assert os.fstat(file.fileno()).st_nlink == 1
    assert [row["id"] for row in read(tmp_path / "open.jsonl")] == [6, 7, 8]


def test_a_folder_and_a_missing_folder_are_refused(tmp_path, source):
    with pytest.raises(InputError, match="is a folder: name a file"):
        check_prediction_file(source, tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_prediction_file(source, tmp_path / "absent" / "o.jsonl")


def test_what_json_lacks_is_written_as_null_or_text():
    row = {"a": float("nan"), "b": float("inf"), "c": Path("x"), "d": 1.5, "e": "é"}
    assert as_json(row) == {"a": None, "b": None, "c": "x", "d": 1.5, "e": "é"}

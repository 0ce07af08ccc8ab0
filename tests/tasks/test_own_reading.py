"""How a user's own files are read: separators, encodings, headers, arrays of JSON, and rows that are left out."""

import json

import pytest

from hyperadapters import InputError, Reading, load_backbone, load_data
from hyperadapters.tasks import own_task
from hyperadapters.tasks.notices import _say_once
from hyperadapters.tasks.own_rows import _OwnRows

COLUMNS = {"text": "text", "label": "label"}
ROWS = [{"text": "one, two", "label": "0"}, {"text": "drei", "label": "1"}]


def read(path, content, reading=Reading()):  # noqa: B008 (frozen)
    """The rows of a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    _say_once.cache_clear()
    rows = _OwnRows(places={"train": path}, columns=COLUMNS, reading=reading).rows("train")
    return [row.values for row in rows]


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_of_csv_are_found_and_said_once(mark, name, tmp_path, capsys):
    content = f'"text"{mark}label\n"one, two"{mark}0\ndrei{mark}1\n'
    assert read(tmp_path / "a.csv", content) == ROWS
    assert f"a.csv: cells stand between {name}, not commas" in " ".join(capsys.readouterr().err.split())
    _OwnRows(places={"train": tmp_path / "a.csv"}, columns=COLUMNS).rows("train")
    assert capsys.readouterr().err == ""


def test_commas_are_not_said_and_win_where_both_would_do(tmp_path, capsys):
    assert read(tmp_path / "a.csv", 'text,label\n"one, two",0\ndrei,1\n') == ROWS
    with pytest.raises(InputError, match="Its columns: text;a, label."):
        read(tmp_path / "a.csv", "text;a,label\na,b\n")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t"), ("a.txt", "\t")])
def test_a_file_without_a_header_has_the_columns_that_are_named(name, mark, tmp_path):
    content = mark.join(("1", "eins", "0")) + "\n" + mark.join(("2", "zwei", "1")) + "\n"
    found = read(tmp_path / name, content, Reading(columns=("id", "text", "label")))
    assert found == [{"text": "eins", "label": "0"}, {"text": "zwei", "label": "1"}]


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("a.csv", "text,label\na,1\n", ("text", "label"), "a.csv:1 holds the names of the columns: leave out"),
        ("a.csv", "a,1\n", ("x", "text", "label"), "a.csv:1: 2 cells, --columns names 3"),
        ("a.jsonl", '{"text": "a"}', ("text", "label"), "a.jsonl names its columns itself: --columns is for CSV"),
        ("a.csv", "a,1\nb,2\n", (), "no column 'text', 'label'. Its columns: a, 1. If its first line is a row, name"),
        ("a.txt", "a line\nanother\n", (), "That is one column: cells of .txt files stand between tabs. If its first"),
    ],
)
def test_columns_that_do_not_fit_the_file_are_refused(name, content, columns, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(tmp_path / name, content, Reading(columns=columns))


def test_a_header_that_is_no_text_is_never_taken_for_a_bad_row(tmp_path):
    with pytest.raises(InputError, match="a.csv:1: not UTF-8"):
        read(tmp_path / "a.csv", b"te\xe9xt,label\na,1\nb,2\n", Reading(skip_bad_rows=True))


def test_latin_1_is_read_when_asked_for_and_hinted_at_otherwise(tmp_path):
    content = "text,label\ncafé,0\n".encode("latin-1")
    with pytest.raises(InputError, match=r"a.csv:2: not UTF-8 \(byte 3\)\n .*--encoding cp1252, or --encoding latin-1"):
        read(tmp_path / "a.csv", content)
    assert read(tmp_path / "a.csv", content, Reading(encoding="latin-1")) == [{"text": "café", "label": "0"}]
    array = '[{"text": "café", "label": 0}]'.encode("cp1252")
    with pytest.raises(InputError, match="--encoding cp1252"):
        read(tmp_path / "a.json", array)
    assert read(tmp_path / "a.json", array, Reading(encoding="cp1252")) == [{"text": "café", "label": "0"}]


@pytest.mark.parametrize("encoding", ["utf-17", "utf-16", "base64", "", "\0"])
def test_an_encoding_that_keeps_no_lines_is_refused(encoding):
    with pytest.raises(InputError, match="name one that keeps the ends of lines"):
        Reading(encoding=encoding)


def test_columns_are_named_once_each():
    with pytest.raises(InputError, match="(?s)one has no name.*a occurs twice"):
        Reading(columns=("a", "a", " "))


@pytest.mark.parametrize(
    "content",
    [json.dumps(ROWS), json.dumps(ROWS, indent=2), "\ufeff\n " + json.dumps(ROWS), "\n".join(map(json.dumps, ROWS))],
)
def test_json_holds_an_array_or_an_object_in_each_line(content, tmp_path):
    assert read(tmp_path / "a.json", content) == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a", "label": 1}, 3]', "a.json:2: a int, not a JSON object"),
        ('[{"text": "a", "label": 1}, {"text": "\\ud800", "label": 1}]', "a.json:2: not text"),
        ('[{"text": "a", "label": 1}', "begins as an array of objects, and is not JSON"),
        ('{\n"rows": []}', "neither an array of objects nor one object in each line"),
        ("[]", "^$"),
    ],
)
def test_json_that_holds_neither_is_refused(content, message, tmp_path):
    if message == "^$":
        assert read(tmp_path / "a.json", content) == []
        return
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.json", content)


BAD = 'text,label\ngood,1\n,0\nragged\n"x" y,1\nfine,0\nno label,\n'


def test_bad_rows_are_refused_and_the_option_named(tmp_path):
    with pytest.raises(InputError, match=r"(?s)4 bad row\(s\).*a.csv:3: column 'text' is empty.*--skip-bad-rows"):
        read(tmp_path / "a.csv", BAD)


def test_bad_rows_are_left_out_and_said_when_asked_for(tmp_path, capsys):
    found = read(tmp_path / "a.csv", BAD, Reading(skip_bad_rows=True))
    assert [row["text"] for row in found] == ["good", "fine"]
    said = capsys.readouterr().err
    assert "a.csv: left out 4 bad row(s):" in said
    for part in ("a.csv:3: column 'text' is empty", "a.csv:4: 1 cells", "a.csv:5: not CSV", "a.csv:7: column 'label'"):
        assert part in said


def test_the_rows_that_are_left_out_are_counted_once_by_split(tmp_path):
    (tmp_path / "a.csv").write_text(BAD + "more,1\n,\n")
    (tmp_path / "b.csv").write_text("text,label\na,1\n,0\n")
    files = {"train": tmp_path / "a.csv", "validation": tmp_path / "b.csv"}
    reading = Reading(skip_bad_rows=True)
    task = own_task(files, ("text",), "label", answers="label", name="mine", reading=reading)
    _, tokenizer = load_backbone("embedded")
    found = load_data(task, tokenizer)
    assert found.left_out == {"train": 5, "validation": 1}
    assert found.available == {"train": 3, "validation": 1}


def test_a_quotation_without_an_end_does_not_take_all_that_follows_with_it(tmp_path):
    with pytest.raises(InputError, match="a.csv:3: a quotation mark begins a cell that does not end"):
        read(tmp_path / "a.csv", 'text,label\na,1\n"b,1\nc,0\n', Reading(skip_bad_rows=True))


def test_lines_that_end_with_a_carriage_return_alone_are_said(tmp_path):
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        with pytest.raises(InputError, match="end with a carriage return alone"):
            read(tmp_path / name, 'text,label\r"a b",x\r')

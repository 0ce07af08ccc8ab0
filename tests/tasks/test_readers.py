"""Files of rows: the formats, and every way a line can be wrong."""

import csv
import gzip
import json

import pytest

from hyperadapters import InputError
from hyperadapters.tasks.readers import _read_rows, iterate_rows

COLUMNS = {"text": "text", "label": "label"}
ROWS = [{"text": "one two", "label": "0"}, {"text": "drei", "label": "1"}]


def write(path, rows=ROWS):
    if path.name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.name.endswith(".jsonl.gz"):
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        path.write_text("\n".join([mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_rows(ending, tmp_path):
    assert [row.values for row in _read_rows(write(tmp_path / f"a.{ending}"), COLUMNS)] == ROWS


def test_numbers_and_truth_values_become_text(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": 3.5, "label": 1}, {"text": "x", "label": True}])
    assert [row.values for row in _read_rows(path, COLUMNS)] == [
        {"text": "3.5", "label": "1"},
        {"text": "x", "label": "1"},
    ]


def test_quotes_matter_in_csv_and_not_in_tsv(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"a, ""b""\nc",1\n')
    (tmp_path / "a.tsv").write_text('text\tlabel\n"a b\t1\n')
    assert _read_rows(tmp_path / "a.csv", COLUMNS)[0].values["text"] == 'a, "b"\nc'
    assert _read_rows(tmp_path / "a.tsv", COLUMNS)[0].values["text"] == '"a b'


TEXTS = ['he said "no"', "plain", "two\nlines", "a\ttab", '"', ""]


@pytest.mark.parametrize("style", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_tsv_that_a_program_with_quotes_has_written_is_read_as_its_csv(style, end, tmp_path, capsys):
    """Pandas writes so, and Excel and R: the texts would hold the marks, twice each."""
    for name, separator in (("a.csv", ","), ("a.tsv", "\t"), ("a.txt", "\t")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file, delimiter=separator, quoting=style, lineterminator=end)
            writer.writerows([["text", "label"], *[[text or "x", i] for i, text in enumerate(TEXTS)]])
    found = [
        [row.values for row in iterate_rows(tmp_path / f"a.{ending}", COLUMNS)] for ending in ("csv", "tsv", "txt")
    ]
    assert found[0] == found[1] == found[2]
    assert [values["text"] for values in found[0]] == [text or "x" for text in TEXTS]
    assert "a.tsv: cells stand in quotes." in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(
    "lines",
    [
        ['"a b\t1', 'he said ""no""\t1'],
        ['"whole"\t1', "plain\t1"],
        ['5" nails\t1'],
        ['"a ""b"" c"\t1', '"whole"\t1', "plain\t1"],
        ['"the only row"\t1'],
        ['"one"\t1', 'NA "two"\t1'],
        ['"a ""b"" c"\t1', 'and "d"\t1'],
    ],
)
def test_quotation_marks_of_a_tsv_without_quoting_are_text(lines, tmp_path):
    (tmp_path / "a.tsv").write_text("\n".join(["text\tlabel", *lines, ""]))
    found = [row.values["text"] for row in iterate_rows(tmp_path / "a.tsv", COLUMNS)]
    assert found == [line.split("\t")[0] for line in lines]


def test_a_column_in_quotes_may_lack_cells_as_r_writes_them(tmp_path):
    (tmp_path / "a.tsv").write_text('"text"\t"score"\n"one ""two"""\t1\nNA\t2\n')
    found = [row.values for row in iterate_rows(tmp_path / "a.tsv", {"text": "text", "score": "score"})]
    assert found[0] == {"text": 'one "two"', "score": "1"}
    assert found[1]["text"] == "NA"


def test_marks_inside_of_a_column_in_quotes_must_be_written_twice(tmp_path):
    (tmp_path / "a.tsv").write_text('"text"\t"label"\n"he said \\"no\\""\t1\n"plain"\t0\n')
    with pytest.raises(InputError, match=r'every cell of a column stands .* qmethod="double"'):
        list(iterate_rows(tmp_path / "a.tsv", COLUMNS))


def test_a_benchmarks_own_tsv_is_read_without_quoting_as_in_the_papers_code(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tlabel\n"he said ""no"""\t1\n')
    assert _read_rows(tmp_path / "a.tsv", COLUMNS)[0].values["text"] == '"he said ""no"""'
    assert next(iterate_rows(tmp_path / "a.tsv", COLUMNS)).values["text"] == 'he said "no"'


def test_blank_lines_in_quotes_are_text_and_between_records_are_nothing(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'\ntext,label\n\n"para one\n\npara two\r\n",1\n  \n\nplain,0\n\n')
    rows = _read_rows(tmp_path / "a.csv", COLUMNS)
    assert [row.values["text"] for row in rows] == ["para one\n\npara two\r\n", "plain"]
    assert [row.place for row in rows] == ["a.csv:4", "a.csv:10"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'text,label\n\n"a\n\nb",1\n\nragged\n', "a.csv:7: 1 cells, expected 2"),
        (b'text,label\n\na,1\n"open\n\n', r"a.csv:4: not CSV \(unexpected end of data\)"),
        (b"text,label\n\n\xff,1\nragged\n", r"a.csv:3: not UTF-8 \(byte 0\)\n  a.csv:4: 1 cells"),
        (b"text,label\na\rb,1\n", r"a.csv:2: not CSV \(a carriage return in a cell without quotes\)"),
        (b"text,text,label\na,b,1\n", "a.csv has several columns 'text': rename them"),
    ],
)
def test_what_is_wrong_with_csv_is_told_with_its_line(content, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        _read_rows(tmp_path / "a.csv", COLUMNS)


def test_a_cell_of_csv_may_be_long(tmp_path):
    (tmp_path / "a.csv").write_text(f"text,label\n{'x' * 200_000},1\n")
    assert len(_read_rows(tmp_path / "a.csv", COLUMNS)[0].values["text"]) == 200_000


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "a.tsv").write_bytes("\ufefftext\tlabel\na\t1\n".encode())
    assert len(_read_rows(tmp_path / "a.tsv", COLUMNS)) == 1


def test_columns_by_number_where_there_is_no_header(tmp_path):
    (tmp_path / "a.tsv").write_text("x\t1\t\tsentence\n")
    assert _read_rows(tmp_path / "a.tsv", {"sentence": 3, "label": 1}, header=False)[0].values == {
        "sentence": "sentence",
        "label": "1",
    }


def test_a_missing_column_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no column 'label'. Its columns: text, lable"):
        _read_rows(write(tmp_path / "a.jsonl", [{"text": "a", "lable": 1}]), COLUMNS)


def test_the_first_ten_bad_lines_are_in_one_error(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"text\tlabel\n" + b"ok\t1\n" + b"\xff\xfe\t1\n" + b"ragged\n" * 12 + b"\t1\n")
    with pytest.raises(InputError) as caught:
        _read_rows(path, COLUMNS)
    message = str(caught.value)
    assert "14 bad row(s)" in message
    assert "a.tsv:3: not UTF-8 (byte 0)" in message
    assert "a.tsv:4: 1 cells, expected 2" in message
    assert "… and 4 more" in message
    assert "a.tsv:14:" not in message


def test_bad_json_lines_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a", "label": 1}\n{"text"\n[1]\n{"text": null, "label": 1}\n{"text": ["a"], "label": 1}\n'
    )
    with pytest.raises(InputError) as caught:
        _read_rows(path, COLUMNS)
    message = str(caught.value)
    for part in ("a.jsonl:2: not JSON", "a.jsonl:3: a list", "a.jsonl:4: column 'text' is missing", "a.jsonl:5:"):
        assert part in message


def test_half_a_character_is_no_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00", "label": 1}\n{"text": "\\ud800", "label": 1}\n')
    with pytest.raises(InputError, match=r"a.jsonl:2: not text \(.ud800 is half a character\)"):
        _read_rows(path, COLUMNS)
    path.write_text(path.read_text().splitlines()[0])
    assert _read_rows(path, COLUMNS)[0].values["text"] == "😀"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"", "cannot tell its format. Use a name that ends in .jsonl"),
        ("a.parquet", b"PAR1", "not a readable Parquet file"),
        ("a.jsonl.gz", b"no gzip", "not a whole gzip file"),
    ],
)
def test_files_of_another_kind_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        _read_rows(tmp_path / name, COLUMNS)


def test_a_missing_file_says_where_was_looked(tmp_path):
    with pytest.raises(InputError, match="does not exist .looked in"):
        _read_rows(tmp_path / "a.jsonl", COLUMNS)


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "is in UTF-16: save it as UTF-8"), ("utf-16-le", "zero byte")]
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.jsonl.gz"])
def test_utf_16_is_told(name, encoding, said, tmp_path):
    mark = "\t" if name.endswith("tsv") else ","
    text = json.dumps({"text": "a", "label": 1}) if "jsonl" in name else f"text{mark}label\na{mark}1\n"
    content = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match=said):
        _read_rows(tmp_path / name, COLUMNS)


def test_a_gzip_file_with_a_flipped_bit_is_refused_or_says_the_same(tmp_path):
    whole = gzip.compress("".join(json.dumps({"text": f"{i}", "label": i % 2}) + "\n" for i in range(50)).encode())
    refused = 0
    for place in range(10, len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x10
        (tmp_path / "a.jsonl.gz").write_bytes(data)
        try:
            assert [row.values["text"] for row in _read_rows(tmp_path / "a.jsonl.gz", COLUMNS)] == [
                *map(str, range(50))
            ]
        except InputError:
            refused += 1
    assert refused > len(whole) - 20
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-4])
    with pytest.raises(InputError, match="not a whole gzip file: [^\n]*Use an intact copy"):
        _read_rows(tmp_path / "a.jsonl.gz", COLUMNS)


def test_a_line_of_gigabytes_in_a_small_archive_is_refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperadapters.tasks.text_lines._LONGEST_LINE", 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"x" * 2000 + b'", "label": 1}\n'))
    with pytest.raises(InputError, match="a.jsonl.gz:1 has more than 1,000 bytes, which is no row"):
        _read_rows(tmp_path / "a.jsonl.gz", COLUMNS)


def test_bytes_and_numbers_of_too_many_digits_are_no_text(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{"text": b"raw", "label": 1}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'text' holds a bytes, not text"):
        _read_rows(tmp_path / "a.parquet", COLUMNS)
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": ' + "9" * 5000 + "}")
    with pytest.raises(InputError, match="a.jsonl:1: not JSON"):
        _read_rows(tmp_path / "a.jsonl", COLUMNS)

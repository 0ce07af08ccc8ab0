"""Ten real sets as files of a user's own: JSONL with the columns `text` (or `first` and `second`) and `label`.

    python -m experiments.own_sets DATA out/own-sets

DATA holds the official files in the folders glue, nli, scitail, superglue and imdb. Every set has at most 5,000 rows to
train on, 400 to validate and 1,000 to test, drawn by a fixed seed from rows with labels; no text is in two splits.
"""

import gzip
import json
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SEARCH = ("sst2", "snli", "cola", "scitail", "mrpc", "wic")
"""The sets on which defaults are chosen."""
HELD_OUT = ("qqp", "mnli", "qnli", "imdb")
"""The sets that only check them."""
VALIDATION, TEST, TRAIN = 400, 1000, 5000
Row = dict[str, str]


def _tsv(path: Path, columns: dict[str, int | str], *, header: bool = True) -> Iterator[Row]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    names = lines[0].split("\t") if header else []
    for line in lines[bool(header) :]:
        cells = line.split("\t")
        places = {name: names.index(c) if isinstance(c, str) else c for name, c in columns.items()}
        if len(cells) > max(places.values()):
            yield {name: cells[place].strip() for name, place in places.items()}


def _jsonl(path: Path, columns: dict[str, str]) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield {name: str(row[column]).strip() for name, column in columns.items()}


_PAIR = {"first": "premise", "second": "hypothesis", "label": "label"}


def rows_of(name: str, data: Path) -> list[Row]:
    """Return all rows of a set that have a label."""
    glue, named = data / "glue", {"text": "sentence", "label": "label"}
    pairs: dict[str, int | str] = {"first": "question", "second": "sentence", "label": "label"}
    sources = {
        "sst2": lambda: _tsv(glue / "SST-2/train.tsv", named),
        "cola": lambda: _tsv(glue / "CoLA/train.tsv", {"label": 1, "text": 3}, header=False),
        "mrpc": lambda: _tsv(glue / "MRPC/train.tsv", {"label": 0, "first": 3, "second": 4}),
        "qnli": lambda: _tsv(glue / "QNLI/dev.tsv", pairs),
        "mnli": lambda: _jsonl(next((glue / "MNLI").glob("*.jsonl")), _PAIR),
        "snli": lambda: _jsonl(data / "nli/snli-dev.jsonl", _PAIR),
        "scitail": lambda: _jsonl(data / "scitail/test.jsonl", _PAIR),
        "imdb": lambda: _jsonl(data / "imdb/train.jsonl.gz", {"text": "text", "label": "label"}),
        "wic": lambda: _wic(data / "superglue/WiC/train.jsonl"),
        "qqp": lambda: _tsv(
            glue / "QQP-subset/train_subset.tsv", {"first": "question1", "second": "question2", "label": "is_duplicate"}
        ),
    }
    return [row for row in sources[name]() if all(row.values()) and row["label"] != "-"]


def _wic(path: Path) -> Iterator[Row]:
    columns = {"word": "word", "first": "sentence1", "second": "sentence2", "label": "label"}
    for row in _jsonl(path, columns):
        yield {"first": f"{row['word']}: {row['first']}", "second": row["second"], "label": row["label"]}


def write_set(name: str, data: Path, output: Path) -> dict[str, int]:
    """Write the three files of a set; return how many rows each has."""
    seen: set[str] = set()
    rows = []
    for row in rows_of(name, data):
        text = " ".join(value for column, value in row.items() if column != "label")
        if text not in seen:
            rows.append(row)
            seen.add(text)
    random.Random(0).shuffle(rows)
    held = min(TEST, len(rows) // 3)
    cuts = {"test": rows[:held], "validation": rows[held : held + VALIDATION]}
    cuts["train"] = rows[held + VALIDATION : held + VALIDATION + TRAIN]
    (output / name).mkdir(parents=True, exist_ok=True)
    for split, part in cuts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (output / name / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return {split: len(part) for split, part in cuts.items()}


def set_of(task: Mapping[str, Any]) -> str:
    """Return the name of an experiment's task in JSON; of own files, that of the set; of a mixture, all of them."""
    if "tasks" in task:
        return " + ".join(set_of(each) for each in task["tasks"])
    return Path(task["train"]).parent.name if "train" in task else str(task["name"])


def main() -> None:
    data, output = map(Path, sys.argv[1:])
    for name in (*SEARCH, *HELD_OUT):
        print(name, write_set(name, data, output))


if __name__ == "__main__":
    main()

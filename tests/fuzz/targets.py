"""The files that are read, each with what it means when it is read."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from damage import Edit, damaged_bytes, damaged_json

from conftest import UNSEEN, make_tiny
from hyperadapters import METHODS, Experiment, InputError, NamedTask, Pool, Training, attach, load, own_task
from hyperadapters._utils import check_json, read_json, write_json
from hyperadapters.delta import CONFIG, TENSORS
from hyperadapters.runs import EXPERIMENT, RESULT, Result, read_result
from hyperadapters.training import CHECKPOINT, Cost
from hyperadapters.training.checkpoint import _Checkpoint, _read_checkpoint, _TrainingState, _write_checkpoint

MOST_LINES, MOST_CHARACTERS = 55, 8_000
"""Of an error."""


@dataclass(frozen=True)
class Target:
    """A kind of file."""

    write: Callable[[Path], Path]
    """Writes an intact one into a folder, and perhaps others beside it; returns its path."""
    read: Callable[[Path], Any]
    """Reads it through the library and returns what it means."""
    checked: bool = True
    """Whether a checksum tells every change."""
    plain: bool = False
    """Whether it is JSON, so that values can be changed too."""


BACKBONE = make_tiny()
KEYS = list(BACKBONE.state_dict())


def _saved(folder: Path) -> Path:
    torch.manual_seed(0)
    delta = attach(BACKBONE, METHODS["compacter"], name="fuzz")
    task = {"name": "t", "fields": ["a"], "target": {"labels": ["x", "y"]}}
    delta.about = {"task": task, "scores": {"test": {"a": 0.5}}}
    delta.save(folder)
    delta.detach()
    return folder


def _read_adapter(path: Path) -> Any:
    """Loaded, used and detached; nothing is left on the backbone, whether it is read or refused."""
    try:
        delta = load(path.parent, BACKBONE)
        found = {name: _bits(tensor) for name, tensor in delta.tensors().items()}
        delta.detach()
        return delta.name, delta.method, delta.tasks, delta.about, found
    finally:
        assert list(BACKBONE.state_dict()) == KEYS, "a Delta was left on the backbone"


def _read_pool(path: Path) -> Any:
    try:
        pool = Pool(BACKBONE, {"a": path.parent, "b": path.parent}, resident=2)
        found = {name: _bits(tensor) for name, tensor in pool.read("a").items()}
        pool.detach()
        return found
    finally:
        assert list(BACKBONE.state_dict()) == KEYS, "a pool was left on the backbone"


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


FIXED = {"backbone": "abc", "evaluation": "{}"}
TRAINED = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2)}


def _checkpoint(folder: Path) -> Path:
    torch.manual_seed(0)
    trained = {name: torch.randn_like(tensor) for name, tensor in TRAINED.items()}
    moments = {
        i: {"step": torch.tensor(4.0), "exp_avg": tensor / 2, "exp_avg_sq": tensor**2}
        for i, tensor in enumerate(trained.values())
    }
    state = _TrainingState(epoch=1, batch=2, step=5, best=0.75, history=[{"epoch": 1, "step": 4, "accuracy": 0.75}])
    path = folder / CHECKPOINT
    checkpoint = _Checkpoint(state, trained, moments, {"cpu": torch.get_rng_state()[None]})
    _write_checkpoint(path, checkpoint, "settings", FIXED)
    return path


def _read_a_checkpoint(path: Path) -> Any:
    found = _read_checkpoint(path, TRAINED, 1, "settings", FIXED)
    moments = {i: {name: _bits(tensor) for name, tensor in held.items()} for i, held in found.moments.items()}
    tensors = [{name: _bits(tensor) for name, tensor in held.items()} for held in (found.trained, found.random)]
    return found.state, moments, tensors


def _experiment() -> Experiment:
    return Experiment(method=METHODS["compacter"], task=NamedTask(name="glue/rte"), training=Training(lr=1e-3))


def _write_experiment(folder: Path) -> Path:
    write_json(folder / EXPERIMENT, _experiment().to_json())
    return folder / EXPERIMENT


def _write_result(folder: Path) -> Path:
    counts = {"train": 8, "validation": 4}
    values = {
        **{
            "experiment": _experiment().to_json(),
            "method": "compacter",
            "task": "glue/rte",
            "trained": 10,
            "total": 99,
        },
        **{
            "metrics": {"validation": {"accuracy": 0.75}},
            "averages": {"validation": 0.75},
            "cost": Cost(*[1] * 6),
            "percent": 10.1,
            "bytes": 40,
        },
        **{"by_kind": {"adapter": 10}, "history": [{"step": 4, "accuracy": 0.75}], "versions": {"torch": "2"}},
    }
    result = Result(**{**UNSEEN, **values, "truncated_targets": {}, "rows": counts, "rows_available": counts})
    write_json(folder / RESULT, asdict(result))
    return folder / RESULT


ROWS = [{"t": f"ein schöner Tag {i}", "u": f'"{i}", sagte sie', "y": "ab"[i % 2]} for i in range(40)]


def _json_lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=bool(i % 2)) + "\n" for i, row in enumerate(ROWS)).encode()


def _delimited(mark: str) -> bytes:
    quoted = [[cell if mark == "\t" else '"' + cell.replace('"', '""') + '"' for cell in row.values()] for row in ROWS]
    return "".join(mark.join(row) + "\n" for row in [list(ROWS[0]), *quoted]).encode()


def _rows_file(name: str, content: Callable[[], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return write


def _parquet(folder: Path) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "rows.parquet")
    return folder / "rows.parquet"


def _read_rows(path: Path) -> Any:
    task = own_task({"train": path, "validation": path}, ("t", "u"), "y", answers="label", name="r")
    rows = [row.values for row in task.source.read(None)["train"]]
    assert all(isinstance(value, str) for row in rows for value in row.values())
    return rows


TARGETS: Mapping[str, Target] = {
    "adapter's tensors": Target(lambda folder: _saved(folder) / TENSORS, _read_adapter),
    "adapter's config": Target(lambda folder: _saved(folder) / CONFIG, _read_adapter, plain=True),
    "pooled tensors": Target(lambda folder: _saved(folder) / TENSORS, _read_pool),
    "checkpoint": Target(_checkpoint, _read_a_checkpoint),
    "experiment": Target(_write_experiment, lambda path: Experiment.from_json(read_json(path)), plain=True),
    "result": Target(_write_result, lambda path: read_result(path.parent), plain=True),
    "JSONL": Target(_rows_file("rows.jsonl", _json_lines), _read_rows, checked=False),
    "CSV": Target(_rows_file("rows.csv", lambda: _delimited(",")), _read_rows, checked=False),
    "TSV": Target(_rows_file("rows.tsv", lambda: _delimited("\t")), _read_rows, checked=False),
    "gzip": Target(_rows_file("rows.jsonl.gz", lambda: gzip.compress(_json_lines())), _read_rows),
    "Parquet": Target(_parquet, _read_rows, checked=False),
}


@dataclass
class Intact:
    """An intact file in a folder, which is damaged again and again."""

    target: Target
    path: Path

    @classmethod
    def of(cls, name: str, folder: Path) -> "Intact":
        return cls(TARGETS[name], TARGETS[name].write(folder))

    def __post_init__(self) -> None:
        self.content, self.meaning = self.path.read_bytes(), self.target.read(self.path)

    def outcome(self, edits: list[Edit], *, of_values: bool = False) -> str:
        """What comes of damage: "refused", "the same" or "other", where no checksum could tell.

        Args:
            edits: the damage.
            of_values: damage values of the JSON, and write it with a checksum that fits.

        Raises:
            AssertionError: it was read as something else although a checksum could tell, or is refused at length.
        """
        if of_values:
            values = check_json(json.loads(self.content), self.path.name)
            write_json(self.path, damaged_json(values, edits))
        else:
            self.path.write_bytes(damaged_bytes(self.content, edits))
        try:
            found = self.target.read(self.path)
        except InputError as error:
            text = str(error)
            assert len(text) < MOST_CHARACTERS, f"an error of {len(text)} characters: {text[:300]}"
            assert len(text.splitlines()) < MOST_LINES, f"an error of {len(text.splitlines())} lines: {text[:300]}"
            return "refused"
        finally:
            self.path.write_bytes(self.content)
        same = bool(found == self.meaning)
        assert same or of_values or not self.target.checked, f"read as something else after {edits}"
        return "the same" if same else "other"

"""Where the processor time of a whole `train` and a whole `predict` goes: the step, the passes of answers, all else.

    OMP_NUM_THREADS=1 python benchmarks/whole_run.py --data DATA --backbone FOLDER --output results/whole-run.json

DATA holds train.jsonl, validation.jsonl and test.jsonl with the columns `text` and `label`. `train` takes `--rows` of
the training rows with the defaults for own files; `predict` answers `--answers` rows, those of all three files again
and again. `--before SRC` measures the package of another checkout too, in turn with this one.

Each command runs in a process of its own. Its phases are functions of the package that read the process's own
processor time when they are entered and left; time belongs to the innermost. Within some training steps and some
batches of answers PyTorch's profiler divides the time among operators: its own work there falls under `between
operators`, so that Python's share is rather too high. The backbone's matrix products are told from the adapter's by
their shape: a weight of an adapter has a side shorter than `NARROW`. Attention's products and its softmax are one
operator where it is fused, without dropout.
"""

import argparse
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import cycle, islice
from pathlib import Path
from typing import Any

NARROW = 64
"""Sides of a matrix shorter than this are bottlenecks, ranks and classes."""

EVERY = {"step: forward": 25, "step: backward": 25, "evaluate: passes": 10, "answer: passes": 10}
"""Phases that the profiler looks into, and at which of their calls: every so many."""

PHASES = {
    "hyperadapters.runs.running": {
        "with_checksums": "checksums of the files",
        "backbone_for": "load the backbone",
        "load_task": "read the rows",
        "attach_for": "attach the adapter",
        "_evaluate_splits": "evaluate: around the passes",
        "measure": "measure the cost of a step",
        "finish_run": "save the adapter and the result",
        "describe_baselines": "show",
    },
    "hyperadapters.runs.finishing": {
        "_find_baselines": "baselines",
        "_bootstrap_intervals": "intervals of the scores",
    },
    "hyperadapters.training.data": {"encode": "tokenize"},
    "hyperadapters.training.trainer": {
        "evaluate": "evaluate: around the passes",
        "Trainer.__init__": "checks and batches",
        "Trainer.begin": "checks and batches",
        "Trainer.next_rows": "checks and batches",
        "Trainer.step": "step: around its parts",
        "Trainer.losses": "step: forward",
        "Accelerator.backward": "step: backward",
        "Trainer.update": "step: clipping and AdamW",
        "Trainer.record": "save the best adapter",
        "Trainer.checkpoint": "checkpoints",
        "_TrainingBatches.batch": "checks and batches",
        "_TrainingBatches.epoch": "checks and batches",
    },
    "hyperadapters.training.encoder": {"_Encoder.score_labels": "evaluate: passes"},
    "hyperadapters.cli.base": {"_print_json": "show"},
    "hyperadapters.serving.predictor": {
        "load_predictor": "load the adapter and the backbone",
        "Predictor.file": "read the rows",
        "Predictor.__call__": "answer: around the passes",
        "encode": "tokenize",
    },
    "hyperadapters.serving.prediction_file": {"write_predictions": "write the answers"},
}
"""By module, its functions and methods, each with the phase that its time belongs to."""

SPLITS = ("train", "validation", "test")

IMPORTS, REST = "imports", "the rest"

CLASSES = {
    "gelu": "gelu",
    "layer_norm": "layer norms",
    "bmm": "matrix products of the backbone",
    "scaled_dot_product": "matrix products of the backbone",
    "flash_attention": "matrix products of the backbone",
}
"""Parts of operators' names, and what they are; products of two matrices are told by shape."""

PRODUCTS = ("aten::mm", "aten::addmm", "aten::linear", "aten::mkldnn_linear", "mkldnn::_linear_pointwise")


class Phases:
    """Processor seconds by phase; time belongs to the phase that was entered last and has not been left."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.operators: dict[str, Counter[str]] = {name: Counter() for name in EVERY}
        self._open, self._since = [REST], 0.0

    def enter(self, name: str) -> None:
        self._count()
        self._open.append(name)
        self.calls[name] += 1

    def leave(self) -> None:
        self._count()
        self._open.pop()

    def inside(self, name: str) -> bool:
        return name in self._open

    def _count(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside this context for a phase."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a function whose time is counted for a phase; of a generator, that of each item."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name), self._profiled(name):
                found = function(*args, **kwargs)
            return self._items(found, name) if isinstance(found, Iterator) else found

        return call

    def _items(self, found: Iterator[Any], name: str) -> Iterator[Any]:
        while True:
            with self.phase(name):
                item = next(found, self)
            if item is self:
                return
            yield item

    @contextmanager
    def _profiled(self, name: str) -> Iterator[None]:
        """Let PyTorch's profiler look into some calls of the phases in `EVERY`; its start and end are no phase's."""
        if self.calls[name] % EVERY.get(name, sys.maxsize):
            yield
            return
        with self.phase("the profiler"):
            from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415 (nothing is imported unseen)

            profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
            profiler.__enter__()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        with self.phase("the profiler"):
            profiler.__exit__(None, None, None)
            found = operator_seconds(profiler)
            found["between operators"] = max(0.0, seconds - found.total())
            self.operators[name] += found


def operator_seconds(profiler: Any) -> Counter[str]:
    """Return the seconds of the operators that a profiler saw, by what they are."""
    found: Counter[str] = Counter()
    for event in profiler.key_averages(group_by_input_shape=True):
        if event.key.startswith(("aten::", "mkldnn::", "autograd::")):
            found[operator_class(event.key, event.input_shapes)] += event.self_cpu_time_total / 1e6
    return found


def operator_class(name: str, shapes: Sequence[Sequence[int]]) -> str:
    """Return what an operator is: whose matrix product, or what else."""
    if name in PRODUCTS:
        sides = [side for shape in shapes if len(shape) >= 2 for side in shape[-2:]]
        return f"matrix products of the {'adapter' if min(sides, default=0) < NARROW else 'backbone'}"
    return next((kind for part, kind in CLASSES.items() if part in name), "other operators")


def watch(phases: Phases) -> None:
    """Time what is imported, and every function of `PHASES` as soon as its module is there."""
    waiting = {module: dict(functions) for module, functions in PHASES.items()}
    bootstrap: Any = importlib._bootstrap  # type: ignore[attr-defined]
    find = bootstrap._find_and_load

    def find_and_load(name: str, import_: Any) -> Any:
        if phases.inside(IMPORTS):
            return find(name, import_)
        with phases.phase(IMPORTS):
            found = find(name, import_)
        for module in [module for module in waiting if module in sys.modules]:
            for path, phase in waiting.pop(module).items():
                replace_function(sys.modules[module], path, phases, phase)
        return found

    bootstrap._find_and_load = find_and_load


def replace_function(module: Any, path: str, phases: Phases, phase: str) -> None:
    """Put a timed function in the place of a function of a module or of one of its classes."""
    *owners, name = path.split(".")
    owner = module
    for each in owners:
        owner = getattr(owner, each)
    setattr(owner, name, phases.timed(getattr(owner, name), phase))


def child(report: Path, command: list[str]) -> None:
    """Run a command of the package in this process, and write what its phases took."""
    phases = Phases()
    watch(phases)
    sys.argv = ["hyperadapters", *command]
    try:
        runpy.run_module("hyperadapters.cli", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    phases.enter("")
    seconds = {name: found for name, found in phases.seconds.items() if name != "the profiler"}
    value = {"seconds": seconds, "calls": phases.calls, "operators": phases.operators}
    report.write_text(json.dumps(value), encoding="utf-8")


def measured(source: Path, command: list[str]) -> dict[str, dict[str, float]]:
    """Return the seconds of the phases of a command of the package in a folder; profiled ones by kinds of operators."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        environment = {**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"}
        words = [sys.executable, __file__, "--child", str(report), *command]
        done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.decode())
        found = json.loads(report.read_text(encoding="utf-8"))
    return {
        name: divided(seconds, found["operators"].get(name, {})) for name, seconds in by_size(found["seconds"]).items()
    }


def divided(seconds: float, operators: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of a phase, and how they divide among kinds of operators where these were seen."""
    total = sum(operators.values())
    parts = {kind: seconds * found / total for kind, found in by_size(operators).items()} if total else {}
    return {name: round(value, 3) for name, value in {"all": seconds, **parts}.items()}


def by_size(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))


def summary(phases: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the seconds of the whole and the shares of what is the step, what answers, and what is around them."""
    total = sum(parts["all"] for parts in phases.values())
    groups: Counter[str] = Counter()
    for name, parts in phases.items():
        own = "the steps" if name.startswith("step: ") else "passes of answers" if name.endswith(": passes") else ""
        groups[own or "around them"] += parts["all"]
        groups["matrix products of the backbone"] += parts.get("matrix products of the backbone", 0)
    return {"seconds": round(total, 2), **{name: round(value / total, 4) for name, value in groups.items()}}


def write_rows(data: Path, count: int, path: Path) -> None:
    """Write as many rows without labels: those of a folder's files, again and again."""
    texts = [
        json.loads(line)["text"]
        for split in SPLITS
        for line in (data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    lines = (json.dumps({"text": text}) for text in islice(cycle(texts), count))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", required=True, help="folder of an encoder")
    parser.add_argument("--before", type=Path, help="the folder src of another checkout, measured in turn")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("out/whole-run.json"))
    options = parser.parse_args()
    sides = {"before": options.before.resolve()} if options.before else {}
    sides["now"] = Path(__file__).resolve().parent.parent / "src"
    files = [word for split in SPLITS for word in (f"--{split}", f"{options.data}/{split}.jsonl")]
    columns = ["--text", "text", "--label", "label"]
    how = [*columns, "--max-train", str(options.rows), "--backbone", options.backbone]
    found: dict[str, Any] = {"train": {}, "predict": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(options.data, options.answers, folder / "rows.jsonl")
        for side, source in sides.items():
            adapter, rows = f"{folder}/{side}", f"{folder}/rows.jsonl"
            train = ["train", *files, *how, "--output", adapter]
            predict = ["predict", adapter, "--file", rows, "--output", f"{folder}/{side}.jsonl"]
            for command in (train, predict):
                phases = measured(source, command)
                found[command[0]][side] = {"summary": summary(phases), "phases": phases}
                print(command[0], side, json.dumps(found[command[0]][side], indent=1), flush=True)
    report = {"rows": options.rows, "answers": options.answers, "cpus": os.cpu_count(), **found}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

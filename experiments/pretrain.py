r"""Pre-train the T5 that ships inside the package, from plain text, resumable at any moment.

    python experiments/pretrain.py --corpus wiki.txt.xz --corpus books.txt.xz --teacher MINILM --mixture DATA \
        --output build/pretrain

Four kinds of batches take turns (`SHARES`):

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
import csv
import json
import lzma
import math
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModel, AutoTokenizer, T5Config, T5ForConditionalGeneration, T5Tokenizer

SENTINELS = 100
WINDOW = 128
HELD_OUT_WINDOWS = 256
SHARES = {"doubled": 0.1, "pairs": 0.2, "single": 0.1, "taught": 0.15, "mixture": 0.2}
"""Of the batches, by kind, in the first half of the steps; the rest are spans."""
LATER_SHARES = {"doubled": 0.05, "pairs": 0.2, "single": 0.15, "taught": 0.1, "mixture": 0.45}
"""The same in the second half: words first, then sentences."""
FALLING = 0.2
"""Share of the steps over which the rate falls to zero."""
ANSWER_WEIGHT = 5.0
"""Of the losses of sentence answers; beside the many tokens of a span target, one answer is soon drowned."""
TAUGHT_WEIGHT = 5.0
LIKE_LENGTH = 2048
"""A batch of labelled pairs comes from so many neighbours in length, to save padding."""
NLI = {"entailment": "0", "neutral": "1", "contradiction": "2"}
MIXTURE = ("glue/MNLI/dev_matched.jsonl", "nli/snli-dev.jsonl", "nli/anli-test.jsonl")


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


def altered(words: list[str], other: list[str], rng: random.Random) -> tuple[list[str], list[bool]]:
    """Another content: some words taken from another sentence, so that overlap alone does not tell; and which."""
    words = rewritten(words, rng)
    share = rng.choice((0.15, 0.3, 0.5))
    foreign = [rng.random() < share for _ in words]
    return [rng.choice(other) if new else word for word, new in zip(words, foreign, strict=True)], foreign


def damaged(words: list[str], rng: random.Random) -> tuple[list[str], list[bool]]:
    """One sentence made ungrammatical: words swapped, dropped, doubled or inflected; and where."""
    words = list(words)
    index, other = rng.sample(range(len(words)), 2)
    wrong = {index}
    match rng.randrange(4):
        case 0:
            words[index], words[other] = words[other], words[index]
            wrong.add(other)
        case 1:
            del words[index]
        case 2:
            word = words[index]
            words[index] = word[:-1] if word.endswith("s") else word + "s"
        case _:
            words.insert(index, words[other])
    return words, [position in wrong for position in range(len(words))]


def read_mixture(folder: Path) -> list[tuple[list[str], str]]:
    """Labelled pairs as (source words, answer), the shortest first."""
    rows = []
    with (folder / "glue/QQP-subset/train_subset.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            text = f"question1: {row['question1']} question2: {row['question2']}"
            rows.append((text.split()[:160], row["is_duplicate"]))
    for name in MIXTURE:
        for row in map(json.loads, (folder / name).open(encoding="utf-8")):
            text = f"premise: {row['premise']} hypothesis: {row['hypothesis']}"
            rows.append((text.split()[:160], NLI[row["label"]]))
    return sorted(rows, key=lambda row: len(row[0]))


class Teacher(torch.nn.Module):
    """A pretrained encoder whose states ours are drawn to."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder).eval().requires_grad_(False)

    @property
    def width(self) -> int:
        return self.encoder.config.hidden_size

    def states(self, words: list[list[str]], device: torch.device) -> torch.Tensor:
        """Mean state of each word: (rows, words, width)."""
        inputs = self.tokenizer(words, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
        index = word_index(inputs, len(words))
        with torch.no_grad():
            found = self.encoder(**inputs.to(device)).last_hidden_state
        return word_means(found, index.to(device), max(map(len, words)))

    def word_vectors(self, pieces: list[str], width: int) -> tuple[torch.Tensor, torch.nn.Linear]:
        """A vector for each piece of our vocabulary, and the map from there to the teacher's states.

        Principal components of the piece's state alone, half of each component's spread evened out, at a root mean
        square of 1; noise keeps pieces apart that the teacher does not tell.
        """
        rows, cpu = [[piece.replace("▁", "") or "."] for piece in pieces], torch.device("cpu")
        states = torch.cat([self.states(rows[i : i + 512], cpu)[:, 0] for i in range(0, len(rows), 512)])
        mean = states.mean(0)
        _, spread, directions = torch.linalg.svd(states - mean, full_matrices=False)
        root, directions = spread[:width].sqrt(), directions[:width]
        vectors = (states - mean) @ directions.mT / root
        size = vectors.pow(2).mean(-1, keepdim=True).sqrt()
        back = torch.nn.Linear(width, self.width)
        back.weight.data, back.bias.data = directions.mT * root * size.mean(), mean
        return (vectors / size + 0.3 * torch.randn_like(vectors)) / 1.09**0.5, back


def word_index(inputs: object, rows: int) -> torch.Tensor:
    """For each piece the word it belongs to; -1 for none."""
    return torch.tensor([[-1 if word is None else word for word in inputs.word_ids(row)] for row in range(rows)])


def word_means(states: torch.Tensor, index: torch.Tensor, words: int) -> torch.Tensor:
    """Mean over each word's pieces; zero where a word has none."""
    member = torch.nn.functional.one_hot(index + 1, words + 1)[..., 1:].to(states.dtype)
    return member.mT @ states / member.sum(1).clamp(min=1).unsqueeze(-1)


class Pretext(NamedTuple):
    """Rows of a sentence objective: words, which of them were changed, and the answer."""

    words: list[list[str]]
    changed: list[list[bool]]
    answers: list[str]


def pretext(lines: list[str], rng: random.Random, rows: int, *, pairs: bool) -> Pretext:
    """Rows of one of the two sentence objectives."""
    found = Pretext([], [], [])
    stream = sentences(lines, rng)
    for _ in range(rows):
        first, second = next(stream)
        true = rng.random() < 0.5
        same = [False] * len(first)
        if pairs:
            other = rewritten(first, rng)
            changed = [False] * len(other)
            if not true and rng.random() < 0.25:
                other, changed = second, [True] * len(second)
            elif not true:
                other, changed = altered(first, second if rng.random() < 0.5 else next(stream)[0], rng)
            words = ["sentence1:", *first, "sentence2:", *other]
            flags = [False, *same, False, *changed]
        else:
            sentence, changed = (first, same) if true else damaged(first, rng)
            words, flags = ["sentence:", *sentence], [False, *changed]
        found.words.append(words)
        found.changed.append(flags)
        found.answers.append("1" if true else "0")
    return found


def pad(rows: list[list], value: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)


class Batches:
    """step -> batch, a pure function of the seed and the step."""

    def __init__(
        self, options: argparse.Namespace, lines: list[str], stream: np.ndarray, tokenizer: T5Tokenizer
    ) -> None:
        self.lines, self.stream, self.tokenizer = lines, stream, tokenizer
        self.batch, self.seed = options.batch, options.seed
        self.first_sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        self.training_end = len(stream) - HELD_OUT_WINDOWS * WINDOW
        self.labelled = read_mixture(options.mixture) if options.mixture else []
        have = {"taught": bool(options.teacher), "mixture": bool(options.mixture)}
        self.kinds = [kind for kind in SHARES if have.get(kind, True)]
        self.half = options.steps // 2

    def __call__(self, step: int) -> dict:
        rng = np.random.default_rng([self.seed, step])
        chance = random.Random(self.seed * 10**9 + step)
        shares = [(SHARES if step < self.half else LATER_SHARES)[kind] for kind in self.kinds]
        (kind,) = chance.choices([*self.kinds, "spans"], [*shares, 1 - sum(shares)])
        match kind:
            case "pairs" | "single":
                return self.pretext(chance, pairs=kind == "pairs")
            case "taught":
                return self.taught(chance)
            case "mixture":
                start = chance.randrange(max(1, len(self.labelled) - LIKE_LENGTH))
                rows = chance.sample(self.labelled[start : start + LIKE_LENGTH], 2 * self.batch)
                return self.answers([words for words, _ in rows], [answer for _, answer in rows])
        starts = rng.integers(0, self.training_end - WINDOW, self.batch)
        return self.spans(starts, rng, doubled=kind == "doubled")

    def spans(self, starts: np.ndarray, rng: np.random.Generator, *, doubled: bool) -> dict:
        windows = [self.stream[start : start + WINDOW] for start in starts]
        windows = [with_copy(window, rng) for window in windows] if doubled else windows
        rows = [corrupt(window, rng, self.first_sentinel) for window in windows]
        source = pad([row[0] for row in rows], 0)
        return {
            "input_ids": source,
            "attention_mask": (source != 0).long(),
            "labels": pad([row[1] for row in rows], -100),
        }

    def words(self, rows: list[list[str]]) -> dict:
        source = self.tokenizer(rows, is_split_into_words=True, padding=True, return_tensors="pt")
        return {**source, "words": word_index(source, len(rows))}

    def answers(self, rows: list[list[str]], answers: list[str]) -> dict:
        return {**self.words(rows), "labels": pad(self.tokenizer(answers).input_ids, -100)}

    def pretext(self, chance: random.Random, *, pairs: bool) -> dict:
        rows = pretext(self.lines, chance, 2 * self.batch, pairs=pairs)
        flags = pad([[float(flag) for flag in changed] for changed in rows.changed], -1.0)
        return {**self.answers(rows.words, rows.answers), "changed": flags}

    def taught(self, chance: random.Random) -> dict:
        stream = sentences(self.lines, chance)
        rows = [next(stream)[0] for _ in range(2 * self.batch)]
        return {**self.words([["sentence:", *row] for row in rows]), "taught": rows}

    def held_out(self) -> Iterator[dict]:
        rng = np.random.default_rng(0)
        starts = self.training_end + WINDOW * np.arange(HELD_OUT_WINDOWS - 1)
        for index in range(0, len(starts), self.batch):
            yield self.spans(starts[index : index + self.batch], rng, doubled=False)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, constant, then linear to zero."""
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
    """Puts model and optimizer where they were; returns the log, which lies in the same file so that they agree."""
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


def export(folder: Path, model: T5ForConditionalGeneration, tokenizer: T5Tokenizer) -> None:
    """The backbone in the Hub's own layout, half precision."""
    half = T5ForConditionalGeneration(model.config)
    half.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("heads.")})
    half.half().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


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
    """The tokenizer and the stream of batches; both are kept in the output folder."""
    lines = read_lines(options.corpus, options.exclude)
    print(f"{len(lines):,} paragraphs", flush=True)
    if not (options.output / "model" / "tokenizer.json").exists():
        train_tokenizer(lines, options.pieces).save_pretrained(options.output / "model")
    tokenizer = T5Tokenizer.from_pretrained(options.output / "model")
    stream = encode(lines, tokenizer, options.output / "stream.npy")
    return tokenizer, Batches(options, lines, stream, tokenizer)


def build(options: argparse.Namespace, tokenizer: T5Tokenizer, teacher: Teacher | None) -> T5ForConditionalGeneration:
    """The network, v1.0 layout, with the heads that are thrown away at the end."""
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
    torch.manual_seed(options.seed)
    model = T5ForConditionalGeneration(config)
    heads = {"detector": torch.nn.Linear(config.d_model, 1)}
    if teacher is not None:
        pieces = tokenizer.convert_ids_to_tokens(range(3, len(tokenizer) - SENTINELS))
        vectors, heads["pupil"] = teacher.word_vectors(pieces, config.d_model)
        model.shared.weight.data[3 : 3 + len(pieces)] = vectors
    match_words(model)
    model.add_module("heads", torch.nn.ModuleDict(heads))
    return model


@torch.no_grad()
def match_words(model: T5ForConditionalGeneration) -> None:
    """Let half the heads of the encoder's first two layers attend to other places where the same word stands.

    Queries are the keys, scaled so that a word meets itself with a logit of about 6; the bias at distance 0 takes that
    back. Comparing two sentences needs such heads, and from random weights they take long to form.
    """
    heads, width = model.config.num_heads // 2, model.config.d_kv
    for block in model.encoder.block[:2]:
        attention = block.layer[0].SelfAttention
        keys = attention.k.weight[: heads * width]
        attention.q.weight[: heads * width] = keys * (6 / (model.config.d_model * width * keys.pow(2).mean()))
    model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight[0, :heads] -= 6


def losses(model: T5ForConditionalGeneration, teacher: Teacher | None, batch: dict) -> dict[str, torch.Tensor]:
    """The losses of a batch by name; their sum is trained on."""
    words, changed, taught = (batch.pop(key, None) for key in ("words", "changed", "taught"))
    if taught is not None:
        states = model.encoder(**batch).last_hidden_state
        return {"taught": TAUGHT_WEIGHT * taught_loss(model.heads["pupil"](states), words - 1, teacher, taught)}
    out = model(**batch)
    if words is None:
        return {"spans": out.loss}
    if changed is None:
        return {"mixture": ANSWER_WEIGHT * out.loss}
    states = word_means(out.encoder_last_hidden_state, words, changed.shape[1])
    known = changed >= 0
    found = model.heads["detector"](states).squeeze(-1)[known]
    detection = F.binary_cross_entropy_with_logits(found, changed[known])
    return {"pretext": ANSWER_WEIGHT * out.loss, "detection": ANSWER_WEIGHT * detection}


def taught_loss(states: torch.Tensor, index: torch.Tensor, teacher: Teacher, rows: list[list[str]]) -> torch.Tensor:
    """1 - cosine of our states and the teacher's, for each word and for the mean of each sentence."""
    target = teacher.states(rows, states.device)
    found = word_means(states, index.clamp(min=-1), target.shape[1])
    known = torch.tensor([[word < len(row) for word in range(target.shape[1])] for row in rows], device=states.device)
    each = 1 - F.cosine_similarity(found[known], target[known])
    size = known.sum(1, keepdim=True)
    whole = 1 - F.cosine_similarity(found.sum(1) / size, target.sum(1) / size)
    return each.mean() + whole.mean()


def plain(value: object) -> object:
    """A command-line value as JSON; of files the name alone."""
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
        """One step more."""
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

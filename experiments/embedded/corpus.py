"""The text that pre-training reads: paragraphs, the tokenizer made from them, labelled pairs."""

import csv
import json
import lzma
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import T5Tokenizer

SENTINELS = 100
NLI = {"entailment": "0", "neutral": "1", "contradiction": "2"}
MIXTURE = ("glue/MNLI/dev_matched.jsonl", "nli/snli-dev.jsonl", "nli/anli-test.jsonl")


def read_lines(corpus: list[Path], excluded: list[Path]) -> list[str]:
    """Return the paragraphs of the corpus, in order, without those in a passage of an excluded data set."""
    passages = "\n".join(json.loads(row)["passage"] for path in excluded for row in path.open(encoding="utf-8"))
    lines = []
    for path in corpus:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            lines += [line.strip() for line in file if len(line) > 40]
    return [line for line in lines if line[:200] not in passages] if passages else lines


def train_tokenizer(lines: list[str], pieces: int) -> T5Tokenizer:
    """Return a unigram model in T5's layout: pad 0, eos 1, unk 2, pieces, then the sentinels in reverse."""
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
    """Return all paragraphs as one stream of token ids, each ended by eos; kept in `file`."""
    if not file.exists():
        chunks = []
        for start in range(0, len(lines), 20_000):
            ids = tokenizer(lines[start : start + 20_000], truncation=False, verbose=False).input_ids
            chunks += [np.array(row, dtype=np.uint16) for row in ids]
            print(f"encoded {start + len(ids):,} of {len(lines):,} paragraphs", flush=True)
        np.save(file, np.concatenate(chunks))
    return np.load(file, mmap_mode="r")


def read_mixture(folder: Path) -> list[tuple[list[str], str]]:
    """Return labelled pairs as (source words, answer), the shortest first."""
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

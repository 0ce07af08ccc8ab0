"""Short training runs on toy tasks."""

import json
from pathlib import Path

import torch

from conftest import make_tiny
from hyperadapters import METHODS, Training, attach, fit
from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.data import Data, Text
from hyperadapters.training.encoded import Encoded


class Digits:
    """The smallest tokenizer: token i + 10 is the digit i."""

    pad_token_id = 0
    eos_token_id = 1

    def __call__(self, texts, verbose=True):
        rows = [[*(10 + int(c) for c in text), 1] for text in texts]
        return type("Encoding", (), {"input_ids": rows})

    def batch_decode(self, rows, skip_special_tokens=True):
        return ["".join(str(t - 10) for t in row if 10 <= t < 20) for row in rows.tolist()]


def toy(rows=24) -> Data:
    """Are the tokens large?"""
    generator = torch.Generator().manual_seed(0)
    answers = ["01"[bit] for bit in torch.randint(0, 2, (rows,), generator=generator)]
    low = {"0": 20, "1": 55}
    sources = [
        torch.randint(low[a], low[a] + 35, (4 + i,), generator=generator).tolist() for i, a in enumerate(answers)
    ]
    encoded = [Encoded([*s, 1], [10 + int(a), 1]) for s, a in zip(sources, answers, strict=True)]
    form = TaskFormat("toy", ("x",), Labels(("0", "1")))
    splits = {"train": encoded, "validation": encoded[:8], "test": encoded[8:]}
    classes = [int(answer) for answer in answers]
    references = {"train": classes, "validation": classes[:8], "test": classes[8:]}
    return Data(form, (accuracy,), Digits(), Text(), splits, references)


def fitted(training: Training, method="houlsby", **options):
    torch.manual_seed(training.seed)
    delta = attach(make_tiny(), METHODS[method])
    return delta, fit(delta, toy(), training, quiet=True, **options)


def same(one, other, **tolerance):
    for key, tensor in one.trained().items():
        torch.testing.assert_close(other.trained()[key], tensor, **tolerance)


EXACT = {"rtol": 0, "atol": 0}


SHORT = Training(lr=3e-3, epochs=4, batch_size=5, warmup_steps=2)


def rows_file(path: Path, rows: int) -> Path:
    with path.open("w") as file:
        for i in range(rows):
            text = f"this farmer sees {'those' if i % 2 else 'that'} {'kings' if i % 3 else 'king'} {i}"
            file.write(json.dumps({"text": text, "label": "yes" if i % 2 else "no"}) + "\n")
    return path

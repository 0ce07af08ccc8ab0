"""Toy tasks for every kind of backbone."""

import torch

from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.data import Data, Text
from hyperadapters.training.encoded import Encoded

BINARY = TaskFormat("toy", ("x",), Labels(("0", "1")))


class Digits:
    """The smallest tokenizer: token i + 10 is the digit i; a space is nothing."""

    pad_token_id = 0
    eos_token_id = 1

    def __call__(self, texts, verbose=True, add_special_tokens=True):
        end = [1] if add_special_tokens else []
        rows = [[*(10 + int(c) for c in text if c.isdigit()), *end] for text in texts]
        return type("Encoding", (), {"input_ids": rows})

    def batch_decode(self, rows, skip_special_tokens=True):
        return ["".join(str(t - 10) for t in row if 10 <= t < 20) for row in rows.tolist()]


def toy(kind: str, rows: int = 48) -> Data:
    """Are the tokens large?"""
    generator = torch.Generator().manual_seed(0)
    answers = ["01"[bit] for bit in torch.randint(0, 2, (rows,), generator=generator)]
    low = {"0": 20, "1": 55}
    sources = [
        torch.randint(low[a], low[a] + 35, (4 + i % 7,), generator=generator).tolist() for i, a in enumerate(answers)
    ]
    targets = [[int(a)] if kind == "encoder" else [10 + int(a), 1] for a in answers]
    encoded = [Encoded(source, target) for source, target in zip(sources, targets, strict=True)]
    references = [int(a) for a in answers]
    return Data(
        BINARY,
        (accuracy,),
        Digits(),
        Text(),
        {"train": encoded, "validation": encoded[:16]},
        {"train": references, "validation": references[:16]},
        kind=kind,
    )

"""How a Delta is trained and how its answers are obtained, as frozen dataclasses."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from hyperadapters._utils import InputError, settings
from hyperadapters.backbones import Precision


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a Delta is trained: AdamW, linear warm-up and decay, the best evaluation kept (Compacter, appendix A)."""

    lr: float
    """Peak learning rate."""
    epochs: int = 3
    """Passes over the training rows."""
    steps: int | None = None
    """Updates, however many passes over the rows they take; None: as many as `epochs` give."""
    batch_size: int = 32
    """Rows a step, over all processes and accumulated parts."""
    accumulation: int = 1
    """Parts in which a batch is computed, to save memory; the result is the same."""
    warmup_steps: int = 0
    """Steps of linear warm-up; the rate then falls linearly to 0."""
    weight_decay: float = 0.0
    """AdamW's decay."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Precision = "fp32"
    """`bf16` computes the backbone under autocast; the Delta stays in float32."""
    backbone_precision: Precision = "fp32"
    """The type that the backbone's frozen weights are held in; `bf16` takes half the memory and computes in it, in
    training and afterwards."""
    adapter_precision: Precision = "fp32"
    """The type that the Delta is held, trained and saved in."""
    gradient_checkpointing: bool = False
    """Keep each layer's input alone and compute the rest again in the backward pass: less memory, more time."""
    evaluate_steps: int | None = None
    """Evaluate every so many steps; None: after every epoch, or after every tenth of `steps`."""
    patience: int | None = None
    """Stop after so many evaluations without a better one; None: never."""
    checkpoint_seconds: float = 60.0
    """Write a checkpoint at least so often, besides after every evaluation."""
    seed: int = 42
    """Of initialisation, order and dropout."""
    fast_dropout: bool = True
    """On a CPU, draw the backbone's dropout masks from cheap random numbers; False: as PyTorch does."""
    compile: bool | Literal["auto", "graphs"] = "auto"
    """Train through torch.compile, with lengths padded to buckets so that few shapes are compiled. `auto`: on CUDA,
    those lengths that a run of one task on one device meets often enough; `graphs`: with CUDA graphs too."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense, all in one error."""
        rates = ("lr", "max_grad_norm")
        counts = ("epochs", "steps", "batch_size", "accumulation", "evaluate_steps", "patience")
        positive = (*rates, *counts)
        bad = [f"training.{n}={getattr(self, n)}: more than 0" for n in positive if _below(getattr(self, n), 1e-300)]
        least = ("warmup_steps", "weight_decay", "checkpoint_seconds", "seed")
        bad += [f"training.{n}={getattr(self, n)}: 0 or more" for n in least if _below(getattr(self, n), 0)]
        finite = ("lr", "weight_decay")
        bad += [f"training.{n}=inf: a finite number" for n in finite if getattr(self, n) == math.inf]
        bad += [f"training.seed={self.seed}: less than 2**63"] if self.seed >= 2**63 else []
        if bad:
            raise InputError("\n  ".join(bad))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON. What came later is left out where it is not set: the run is the one it was without it."""
        return {key: value for key, value in settings.dump(self).items() if (key, value) not in LATER.items()}


LATER = {
    "steps": None,
    "compile": "auto",
    "backbone_precision": "fp32",
    "adapter_precision": "fp32",
    "gradient_checkpointing": False,
}
"""Settings of training that came after the first files were written, as those files mean them."""


def _below(value: float | None, limit: float) -> bool:
    return value is not None and not value >= limit


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How answers are obtained."""

    decode: Literal["auto", "score", "generate"] = "auto"
    """`score`: the likeliest label string, always valid; `generate`: greedy decoding, as in the papers;
    `auto`: score where the answers are labels, else generate."""
    batch_size: int = 128
    """Rows evaluated together."""
    beams: int = 1
    """Beams of generation; 1 is greedy."""

    def __post_init__(self) -> None:
        """Refuse what no evaluation can be done with."""
        for name in ("batch_size", "beams"):
            if getattr(self, name) < 1:
                raise InputError(f"evaluation.{name}={getattr(self, name)}: 1 or more.")

"""Settings of training and evaluation, as frozen dataclasses."""

import math
from dataclasses import dataclass
from typing import Literal

from hyperadapters._utils import InputError, listed, settings
from hyperadapters.backbones import Precision


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a Delta is trained: AdamW, linear warm-up and decay, the best evaluation kept (Compacter, arXiv:2106.04647v2,
    appendix A).
    """

    lr: float
    """Peak learning rate."""
    epochs: int = 3
    """Passes over the training rows, unless `steps` is given."""
    steps: int | None = None
    """Updates in all, however many passes over the rows they take; None: as many as `epochs` give."""
    min_steps: int = 1
    """Updates at least, where `epochs` give fewer: so few rows suffice. Above 1, evaluations are as with `steps`."""
    batch_size: int = 32
    """Rows of one step, over all processes and accumulated parts."""
    accumulation: int = 1
    """Parts in which a batch is computed, to save memory; the result is the same."""
    warmup_steps: int = 0
    """Steps of linear warm-up; the rate then falls linearly to 0."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread evenly over the vocabulary, or over an encoder's classes
    (HyperFormer: 0.1)."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` multiplies the loss of a row by n / (k · n_c), for n training rows of its task, k classes among them
    and n_c rows of its class: all classes then count alike."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm, over all trained tensors."""
    precision: Precision = "fp32"
    """`bf16` computes the backbone under autocast; the Delta stays in float32."""
    backbone_precision: Precision = "fp32"
    """The type of the backbone's frozen weights; `bf16` takes half the memory and computes in it, in training and
    afterwards."""
    adapter_precision: Precision = "fp32"
    """The type in which the Delta's tensors are kept, trained and saved."""
    gradient_checkpointing: bool = False
    """Keep only each layer's input and compute the rest again in the backward pass: less memory, more time."""
    evaluate_steps: int | None = None
    """Steps between evaluations; None: evaluate after every epoch or, where `steps` or `min_steps` is given, ten times,
    or as often as takes no longer than the training (`Schedule`)."""
    patience: int | None = None
    """Stop after this many evaluations without a better one; None: never. Those at which every row gets the same answer
    do not count: learning has not begun."""
    checkpoint_seconds: float = 60.0
    """Seconds after which a checkpoint is written, besides that of every evaluation."""
    seed: int = 42
    """Seed of initialisation, order and dropout."""
    reuse: Literal["none", "fp32", "bf16"] = "none"
    """Compute what lies below the lowest trained module once for each row, keep it in this type, and skip those layers
    in every later step and evaluation (`training.reuse`). They are then without dropout."""
    fast_dropout: bool = True
    """On a CPU, draw the backbone's dropout masks from cheap random numbers; False: as PyTorch does."""
    compile: bool | Literal["auto", "graphs"] = "auto"
    """Train through torch.compile, with lengths padded to buckets so that few shapes are compiled. `auto`: on CUDA,
    the lengths that a run of one task on one device meets often enough; `graphs`: with CUDA graphs too."""

    def __post_init__(self) -> None:
        """Raise InputError if values are of a wrong type, or numbers out of range, with all of them in one error."""
        settings.check(self, "training")
        rates = ("lr", "max_grad_norm")
        counts = ("epochs", "steps", "min_steps", "batch_size", "accumulation", "evaluate_steps", "patience")
        positive = (*rates, *counts)
        bad = [
            f"training.{n}={getattr(self, n)}: must be more than 0"
            for n in positive
            if _below(getattr(self, n), 1e-300)
        ]
        least = ("warmup_steps", "weight_decay", "checkpoint_seconds", "seed")
        bad += [f"training.{n}={getattr(self, n)}: must be 0 or more" for n in least if _below(getattr(self, n), 0)]
        finite = ("lr", "weight_decay")
        bad += [f"training.{n}=inf: must be a finite number" for n in finite if getattr(self, n) == math.inf]
        wrong = not 0 <= self.label_smoothing < 1
        bad += [f"training.label_smoothing={self.label_smoothing}: must be 0 or more, and below 1"] if wrong else []
        bad += [f"training.seed={self.seed}: must be less than 2**63"] if self.seed >= 2**63 else []
        if bad:
            raise InputError(listed(bad))


def _below(value: float | None, limit: float) -> bool:
    return value is not None and not value >= limit


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How answers are obtained."""

    decode: Literal["auto", "score", "generate"] = "auto"
    """`score`: the likeliest label string, always valid; `generate`: greedy decoding, as in the papers;
    `auto`: score where the answers are labels, else generate."""
    metric: str = ""
    """The metric that chooses the best weights: one of the task's, another one for its kind of answers, or
    `module:function` of your own; empty: the mean of the task's metrics."""
    batch_size: int = 128
    """Rows evaluated together at most; on a CPU fewer where that saves padding."""
    beams: int = 1
    """Beams of generation; 1 is greedy."""
    generation_config: Literal["neutral", "backbone"] = "neutral"
    """`backbone`: the settings that the backbone was published with hold in generation too (a least length, no repeated
    n-grams, sampling …), but for the length of an answer, how it begins and ends, and `beams` above 1; `neutral`: none
    of them does."""

    def __post_init__(self) -> None:
        """Raise InputError if a value is of a wrong type, or a number is out of range."""
        settings.check(self, "evaluation")
        for name in ("batch_size", "beams"):
            if getattr(self, name) < 1:
                raise InputError(f"evaluation.{name}={getattr(self, name)}: must be 1 or more.")

"""A backbone under torch.compile that meets few shapes: batches are padded up to buckets of length."""

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo import lookup_backend
from torch._dynamo.exc import TorchDynamoException
from torch._inductor import config as inductor

from hyperadapters._utils import InputError

SHORTEST = 16
"""The first bucket, in tokens."""

SHAPES = 64
"""More than all buckets of a run; torch's own limit of 8 would leave the rest uncompiled."""


class Output(NamedTuple):
    """What a loss needs of a pass: logits, (rows, …)."""

    logits: Tensor


def bucket(length: int) -> int:
    """The least of 16, 24, 32, 48, 64, 96, 128, … that holds so many tokens: at most half as many again."""
    size = SHORTEST
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


class CompiledModel(nn.Module):
    """Calls a backbone through torch.compile, a graph for every bucket, and counts the compilations.

    Tokens are added on the right, where the mask leaves them out, or causality does; rows up to `rows`. The logits of
    both are cut off, so a loss sees what the backbone alone would give.

    Args:
        backbone: what is called.
        rows: of the largest batch.
        pad: the token that lengths are filled up with.
        buckets: those that are compiled; batches of others go to the backbone as they are. Where compiling fails, all
            do, with a warning. None: all buckets are, and a failure is an error.
        graphs: replay each bucket's kernels as a CUDA graph.
    """

    backend = "inductor"

    def __init__(
        self,
        backbone: nn.Module,
        rows: int,
        pad: int,
        *,
        buckets: Collection[int] | None = None,
        graphs: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.rows, self.pad, self.buckets, self.graphs = backbone, rows, pad, buckets, graphs
        self.compilations = 0
        self.model = torch.compile(backbone, backend=self.counted, dynamic=False)

    def counted(self, graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        """The backend: counts, and hands on."""
        with inductor.patch({"triton.cudagraphs": self.graphs}):
            compiled: Callable[..., Any] = lookup_backend(self.backend)(graph, list(inputs))
        self.compilations += 1
        return compiled

    def forward(self, **batch: Any) -> Output:
        """The logits of a batch.

        Raises:
            InputError: it cannot be compiled, though every bucket should be.
        """
        if self.buckets is not None and bucket(batch["input_ids"].shape[1]) not in self.buckets:
            return Output(self.backbone(**batch).logits)
        try:
            return self.in_bucket(**batch)
        except TorchDynamoException as error:
            why = " ".join(str(error).strip().partition("\n\n")[0].split())
            if self.buckets is None:
                raise InputError(f"torch.compile failed ({why}): train without it, training.compile=false.") from error
            warnings.warn(f"torch.compile failed ({why}): training goes on without it.", stacklevel=2)
            self.buckets = ()
            return Output(self.backbone(**batch).logits)

    def in_bucket(
        self, *, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor | None = None, **rest: Any
    ) -> Output:
        """The logits of a batch that is padded up to its bucket."""
        rows, length = input_ids.shape
        batch = {"input_ids": self.grown(input_ids, self.pad), "attention_mask": self.grown(attention_mask, 0)}
        if "token_type_ids" in rest:
            batch["token_type_ids"] = self.grown(rest.pop("token_type_ids"), 0)
        decoder = rest.pop("decoder_input_ids", None)
        if decoder is not None:
            length = decoder.shape[1]
            batch["decoder_input_ids"] = self.grown(decoder, self.pad)
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with torch._dynamo.config.patch(recompile_limit=SHAPES):
            logits: Tensor = self.model(**batch, **rest).logits[:rows]
        if logits.dim() == 3:
            logits = logits[:, :length] if logits_to_keep is None else logits[:, logits_to_keep]
        return Output(logits)

    def grown(self, tokens: Tensor, value: int) -> Tensor:
        """Tokens up to the bucket; rows up to their number, copies of the first, so that no mask is empty."""
        rows, length = tokens.shape
        if rows < self.rows:
            tokens = torch.cat([tokens, tokens[:1].expand(self.rows - rows, -1)])
        return F.pad(tokens, (0, bucket(length) - length), value=value)

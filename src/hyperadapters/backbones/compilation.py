"""A backbone under torch.compile that is compiled for few shapes: batches are padded to bucket lengths."""

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

_SHORTEST = 16
"""The shortest bucket, in tokens."""

_SHAPES = 64
"""Limit of compiled shapes, more than a run has buckets; torch's default of 8 would leave the rest uncompiled."""


class _Output(NamedTuple):
    """The output of a forward pass: logits, (rows, …)."""

    logits: Tensor


def bucket(length: int) -> int:
    """Return the bucket for a length in tokens: the smallest of 16, 24, 32, 48, 64, 96, 128, … that is not below it.

    A bucket is at most 1.5 times the length, for lengths of 16 and more.

    Args:
        length: number of tokens.
    """
    size = _SHORTEST
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


class CompiledModel(nn.Module):
    """A backbone called through torch.compile, with one graph per bucket; it counts the compilations.

    Batches are padded on the right to their bucket's length, and to `rows` rows. Padding tokens have no influence: the
    attention mask or causality excludes them. The logits of padding are cut off, so a loss is the same as with the
    backbone alone.

    Args:
        backbone: the model that is called.
        rows: number of rows of the largest batch.
        pad: id of the padding token.
        buckets: the buckets to compile, in tokens. Batches of other lengths are passed to the backbone unchanged; so
            are all batches once compiling has failed, after a warning. None: compile every bucket, and raise an error
            if compiling fails.
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
        """Compile a graph with the backend, and count it."""
        with inductor.patch({"triton.cudagraphs": self.graphs}):
            compiled: Callable[..., Any] = lookup_backend(self.backend)(graph, list(inputs))
        self.compilations += 1
        return compiled

    def forward(self, **batch: Any) -> _Output:
        """Compute the logits of a batch, given by keyword as the backbone takes it.

        Raises:
            InputError: compiling failed, and `buckets` is None.
        """
        if self.buckets is not None and bucket(batch["input_ids"].shape[1]) not in self.buckets:
            return _Output(self.backbone(**batch).logits)
        try:
            return self.in_bucket(**batch)
        except TorchDynamoException as error:
            why = " ".join(str(error).strip().partition("\n\n")[0].split())
            if self.buckets is None:
                raise InputError(f"torch.compile failed ({why}). Train without it: training.compile=false.") from error
            warnings.warn(f"torch.compile failed ({why}): training continues without it.", stacklevel=2)
            self.buckets = ()
            return _Output(self.backbone(**batch).logits)

    def in_bucket(
        self, *, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor | None = None, **rest: Any
    ) -> _Output:
        """Pad a batch to its bucket, and compute the logits of its own rows and tokens."""
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
        with torch._dynamo.config.patch(recompile_limit=_SHAPES):
            logits: Tensor = self.model(**batch, **rest).logits[:rows]
        if logits.dim() == 3:
            logits = logits[:, :length] if logits_to_keep is None else logits[:, logits_to_keep]
        return _Output(logits)

    def grown(self, tokens: Tensor, value: int) -> Tensor:
        """Pad tokens on the right to the bucket's length, and append copies of the first row.

        Appended rows are copies so that no row's attention mask is empty.
        """
        rows, length = tokens.shape
        if rows < self.rows:
            tokens = torch.cat([tokens, tokens[:1].expand(self.rows - rows, -1)])
        return F.pad(tokens, (0, bucket(length) - length), value=value)

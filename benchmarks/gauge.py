"""What one training step costs, of whichever library made the model: operations, saved bytes, time, peak memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from rounds import now
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PretrainedConfig, T5ForConditionalGeneration

from hyperadapters._utils import PeakMemory, saved_tensors

Variant = Callable[[], AbstractContextManager[nn.Module]]
"""Puts a model in the state to be measured, and takes it back."""
Batch = dict[str, torch.Tensor]


class Operations(TorchDispatchMode):
    """Counts aten operations that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        view = func._schema.name == "aten::_unsafe_view" or any(
            returned.alias_info is not None and not returned.alias_info.is_write for returned in func._schema.returns
        )
        self.count += not view
        return func(*args, **(kwargs or {}))


class Gauge(Protocol):
    """Measures steps of one model, wherever it lives."""

    def counts(self) -> dict[str, int]:
        """Operations forward and backward, saved bytes, and the peak's bytes over what was there before the step."""

    def seconds(self) -> float:
        """Processor time of one step: forward and backward."""


class Here:
    """A gauge of a model in this process; of compiled ones, neither operations nor saved bytes are counted.

    Hooks on saved tensors would have them compiled once more.
    """

    def __init__(self, variant: Variant, batch: Batch, *, compiled: bool = False) -> None:
        self.variant, self.batch, self.compiled = variant, batch, compiled
        self.device = batch["input_ids"].device

    def counts(self) -> dict[str, int]:
        with self.variant() as model:
            found = {} if self.compiled else self.operations(model) | self.saved(model)
            model.zero_grad()
            there = torch.cuda.memory_allocated() if self.device.type == "cuda" else 0
            peak = PeakMemory(self.device)
            model(**self.batch).loss.backward()
            model.zero_grad()
            return {**found, "peak_bytes": peak.read() - there}

    def saved(self, model: nn.Module) -> dict[str, int]:
        """Bytes that autograd keeps for the backward pass."""
        with saved_tensors(model) as saved:
            model(**self.batch)
        return {"saved_bytes": sum(saved.values())}

    def operations(self, model: nn.Module) -> dict[str, int]:
        """Aten operations forward and backward."""
        with Operations() as forward:
            loss = model(**self.batch).loss
        with Operations() as backward:
            loss.backward()
        return {"forward": forward.count, "backward": backward.count}

    def seconds(self) -> float:
        """On a CPU the process's own time; on a GPU, which works on its own, what passes until it is done."""
        with self.variant() as model:
            start = now(self.device)
            model(**self.batch).loss.backward()
            spent = now(self.device) - start
            model.zero_grad()
            return spent


def fresh_t5(config: PretrainedConfig, device: str, precision: str) -> T5ForConditionalGeneration:
    """Return a frozen T5 of these sizes with random weights, made where it is to be measured."""
    with torch.device(device):
        backbone = T5ForConditionalGeneration(config)
    backbone.config.decoder_start_token_id = 0
    return backbone.eval().requires_grad_(False).to(getattr(torch, precision))


def make_batch(rows: int, source: int, target: int, device: str = "cpu") -> Batch:
    """Random tokens; the last row is half padding."""
    ids = torch.randint(3, 32_000, (rows, source))
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.randint(3, 32_000, (rows, target)),
    }
    batch["attention_mask"][-1, source // 2 :] = 0
    return {name: tensor.to(device) for name, tensor in batch.items()}


class FromEmbeddings(nn.Module):
    """The floor of a compiled model, whose graph no hook may cut: it is given embeddings that take gradients."""

    def __init__(self, model: nn.Module, backend: str = "inductor") -> None:
        super().__init__()
        self.model = torch.compile(model, backend=backend)
        self.words, self.shifted = model.get_input_embeddings(), model._shift_right

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> Any:
        source, target = self.words(input_ids), self.words(self.shifted(labels))
        return self.model(
            inputs_embeds=source.requires_grad_(True),
            attention_mask=attention_mask,
            decoder_inputs_embeds=target.requires_grad_(True),
            labels=labels,
        )


def leaf(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    """A forward hook: gradients are taken from here on."""
    return output.requires_grad_(True)


def gradients_from_embeddings(model: nn.Module) -> list[Any]:
    """Hooks that let gradients reach the embeddings' output and stop there: the floor."""
    words = model.get_input_embeddings().weight
    found = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.weight is words]
    return [module.register_forward_hook(leaf) for module in found]

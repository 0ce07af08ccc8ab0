"""Adapters without a non-linearity written as LoRA weights, in the form that the peft library reads."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperadapters._utils import InputError, expand_path, write_tensors, write_text
from hyperadapters.backbones import value_at, value_of
from hyperadapters.delta import CONFIG, TENSORS, Delta, LinearChange, OwnedTensors, is_transposed, linear_changes

_PREFIX = "base_model.model."
"""What peft puts before the paths of a backbone's modules."""

_TASK_TYPES = {"encoder-decoder": "SEQ_2_SEQ_LM", "decoder": "CAUSAL_LM"}
"""What peft calls the task of a backbone of some kinds."""


def export_lora(delta: Delta, folder: str | Path) -> Path:
    """Write a Delta whose adapters have no non-linearity as LoRA weights, which `peft.PeftModel.from_pretrained` opens.

    An adapter behind a linear layer W is the LoRA with A = D·W and B = U; its biases are the bias of B. Norms and a
    head that train are written whole, as peft's `modules_to_save`.

    Args:
        delta: a Delta of one task; its backbone gives the W.
        folder: made if it does not exist; files of these names in it are replaced.

    Returns:
        The folder.

    Raises:
        InputError: the Delta does more than linear layers do (as `Delta.merge`), or trains a tied output layer.
    """
    folder = expand_path(folder)
    changes, whole = linear_changes(delta), _whole_modules(delta)
    whole |= _rest_of_modules(delta, whole)
    tensors: dict[str, Tensor] = {}
    has_bias = any(bool(change.bias.abs().max() > 0) for change in changes)
    for change in changes:
        a, b, bias = _lora_of(delta, change)
        tensors |= {f"{change.path}.lora_A.weight": a, f"{change.path}.lora_B.weight": b}
        if has_bias:
            tensors[f"{change.path}.lora_B.bias"] = bias
    named = {_PREFIX + name: tensor.float() for name, tensor in (tensors | whole).items()}
    config = _lora_config(delta, changes, whole, has_bias=has_bias)
    write_tensors(folder / TENSORS, named)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return folder


@torch.no_grad()
def _lora_of(delta: Delta, change: LinearChange) -> tuple[Tensor, Tensor, Tensor]:
    """Return A, B and the bias of the LoRA that does to a linear layer what the adapter behind it does."""
    layer = delta.backbone.get_submodule(change.path)
    weight = value_of(layer, "weight").double()
    own = weight.T if is_transposed(layer) else weight
    down, up, bias = (tensor.to(own.device) for tensor in change[1:])
    if layer.bias is not None:
        bias = bias + (value_of(layer, "bias").double() @ down) @ up
    return down.T @ own, up.T, bias


@torch.no_grad()
def _whole_modules(delta: Delta) -> dict[str, Tensor]:
    """Return the norms and the head that a Delta trains, by their paths in the backbone.

    Raises:
        InputError: it trains an output layer that is tied to the embeddings.
    """
    found: dict[str, Tensor] = {}
    for part in delta.parts.values():
        if isinstance(part, OwnedTensors):
            if any(len(paths) > 1 for paths in part.tensors):
                raise InputError(
                    f"the Delta {delta.name!r} trains an output layer that is tied to the embeddings, for which LoRA "
                    "weights have no place. Use `delta.merge`, or train with output_layer=False."
                )
            found |= part.of_only_adapter()
    return found


def _lora_config(
    delta: Delta, changes: list[LinearChange], whole: Mapping[str, Tensor], *, has_bias: bool
) -> dict[str, Any]:
    """Return what peft's `adapter_config.json` says of these weights.

    Args:
        delta: where they are from.
        changes: of the linear layers.
        whole: tensors of norms and heads, by their paths.
        has_bias: whether B has a bias.
    """
    backbone, rank = delta.backbone, changes[0].down.shape[-1]
    return {
        "peft_type": "LORA",
        "task_type": _task_type(delta),
        "base_model_name_or_path": backbone.config._name_or_path,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "lora_bias": has_bias,
        "bias": "none",
        "fan_in_fan_out": is_transposed(backbone.get_submodule(changes[0].path)),
        "target_modules": [change.path for change in changes],
        "modules_to_save": sorted(_saved_modules(delta, whole)) or None,
    }


def _saved_modules(delta: Delta, whole: Iterable[str]) -> set[str]:
    """Return the modules that peft is to replace as a whole: those of these tensors, and the head's outermost."""
    head = {path for path in whole if path in delta.structure.head}
    return {path.partition(".")[0] if path in head else path.rpartition(".")[0] for path in whole}


def _rest_of_modules(delta: Delta, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the modules that peft is to replace which the Delta does not train: the backbone's own."""
    backbone = delta.backbone
    paths = [
        f"{path}.{name}"
        for path in _saved_modules(delta, whole)
        for name, _ in backbone.get_submodule(path).named_parameters()
    ]
    return {path: value_at(backbone, path) for path in paths if path not in whole}


def _task_type(delta: Delta) -> str | None:
    """Return what peft calls the backbone's task; None where it has no name for it."""
    if "head" not in delta.parts:
        return _TASK_TYPES.get(delta.structure.kind)
    name = type(delta.backbone).__name__
    kinds = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), None)

"""Backbones with quantised linear layers, their heads apart."""

from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch
from families import Family
from transformers import BitsAndBytesConfig

from hyperadapters.backbones.fingerprints import disable_bnb_cpu_packing
from hyperadapters.backbones.structure import read_structure


def heads(backbone: torch.nn.Module) -> set[str]:
    """The modules that are left as they are: an adapter trains its own copy of a head."""
    return {path.rpartition(".")[0] for path in read_structure(backbone).head} | {"lm_head"}


def by_torchao(family: Family, config: str, **options: Any) -> Any:
    """Every linear layer in one of torchao's types."""
    from torchao import quantization

    backbone = family.make()
    apart, linear = heads(backbone), torch.nn.Linear
    how = getattr(quantization, config)(**options)
    quantization.quantize_(backbone, how, lambda module, path: isinstance(module, linear) and path not in apart)
    return backbone


def wide(family: Family) -> Any:
    """The family's model with layers that hold whole blocks of 64 numbers."""
    sizes = {"d_model": 64, "hidden_size": 64, "d_ff": 128, "intermediate_size": 128, "d_kv": 16}
    return family.make(**{key: size for key, size in sizes.items() if key in family.sizes})


def by_bitsandbytes(family: Family, **options: Any) -> Any:
    """Loaded through transformers with bitsandbytes' linear layers."""
    backbone = wide(family)
    config = BitsAndBytesConfig(llm_int8_skip_modules=sorted(heads(backbone)), **options)
    with TemporaryDirectory() as folder:
        backbone.save_pretrained(folder)
        return type(backbone).from_pretrained(folder, quantization_config=config, device_map="cpu").eval()


QUANTIZERS: dict[str, tuple[str, Callable[[Family], Any]]] = {
    "torchao int8": ("torchao", partial(by_torchao, config="Int8WeightOnlyConfig")),
    "torchao int4": ("torchao", partial(by_torchao, config="IntxWeightOnlyConfig", weight_dtype=torch.int4)),
    "bitsandbytes int8": ("bitsandbytes", partial(by_bitsandbytes, load_in_8bit=True)),
    "bitsandbytes nf4": (
        "bitsandbytes",
        partial(by_bitsandbytes, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
    ),
}
"""How -> the package it needs, and a family's model."""


def integers(backbone: torch.nn.Module) -> list[torch.Tensor]:
    """Every quantised tensor's integers."""
    disable_bnb_cpu_packing(backbone)
    held = [getattr(tensor, "qdata", tensor) for tensor in backbone.parameters()]
    return [tensor.clone() for tensor in held if not tensor.is_floating_point()]

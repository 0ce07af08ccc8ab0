"""A backbone's fingerprint: tells whether an adapter was trained on it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from hyperadapters.backbones.offloading import value_at
from hyperadapters.backbones.weights import own_parameters

SAMPLE = 65_536
"""Numbers of each tensor that a fingerprint looks at."""


@dataclass(frozen=True)
class Fingerprint:
    """Tells one backbone from another: its architecture and a hash over its weights."""

    architecture: dict[str, Any]
    weights: str

    def differences(self, other: "Fingerprint") -> list[str]:
        """In words, what another backbone has differently."""
        keys = [*self.architecture, *(key for key in other.architecture if key not in self.architecture)]
        differing = [
            f"{key} is {other.architecture.get(key)}, not {self.architecture.get(key)}"
            for key in keys
            if self.architecture.get(key) != other.architecture.get(key)
        ]
        if not differing and "" not in (self.weights, other.weights) and self.weights != other.weights:
            differing.append(f"the weights are others (hash {other.weights[:12]}, not {self.weights[:12]})")
        return differing


ARCHITECTURE = (
    r"model_type|d_model|d_kv|d_ff|dim|hidden_dim|head_dim|n_embd|n_inner|ffn_dim|.*hidden_size|.*intermediate_size|"
    r"(n|num|encoder|decoder)_.*(layers?|heads?|ffn_dim)"
)
"""The fields of configurations, whatever a family calls them, that say how large a model is."""


def architecture_of(config: Any) -> dict[str, Any]:
    """What kind of model this is and how large, from its configuration."""
    return {key: value for key, value in config.to_dict().items() if re.fullmatch(ARCHITECTURE, key)}


def unwrap_quantized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, quantised ones as the tensors that they are made of."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if is_traceable_wrapper_subclass(tensor):
            inner, _ = tensor.__tensor_flatten__()
            found |= unwrap_quantized({f"{name}.{part}": getattr(tensor, part) for part in inner})
        else:
            found[name] = tensor
    return found


def disable_bnb_cpu_packing(backbone: nn.Module) -> None:
    """Leave bitsandbytes' 4-bit weights as they were loaded.

    On a CPU with bfloat16 instructions a pass without gradients packs them anew for a product that has no backward:
    training after it would lose its gradients, and the weights would look like others. Reading a module's state is
    bitsandbytes' own way back.
    """
    for module in backbone.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.state_dict()
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def fingerprint(backbone: nn.Module, tensors: dict[str, Tensor] | None = None) -> Fingerprint:
    """The fingerprint of a backbone; `tensors` stand for its parameters where those have been written.

    The hash covers up to 65,536 evenly spaced numbers of every tensor, rounded to bfloat16, so that it is the same
    for a backbone held in float32 or bfloat16; a quantised backbone is another one. It is empty for a backbone
    without weights (meta device).
    """
    disable_bnb_cpu_packing(backbone)
    architecture, digest = architecture_of(backbone.config), hashlib.sha256()
    for path in own_parameters(backbone) if tensors is None else tensors:
        value = value_at(backbone, path) if tensors is None else tensors[path]  # one at a time: they may lie on disk
        if value.is_meta:
            return Fingerprint(architecture, "")
        for name, tensor in unwrap_quantized({path: value}).items():
            step = max(1, tensor.numel() // SAMPLE)
            sample = tensor.detach().flatten()[::step].to(torch.bfloat16).cpu()
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.view(torch.int16).numpy().tobytes())
    return Fingerprint(architecture, digest.hexdigest())

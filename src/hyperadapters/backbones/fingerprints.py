"""The fingerprint of a backbone, by which loading checks that an adapter was trained on it."""

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

_SAMPLE = 65_536
"""A fingerprint hashes at least this many numbers of each tensor, or all of a smaller one."""


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a backbone: its architecture and a hash of its weights."""

    architecture: dict[str, Any]
    """The fields of its configuration that give its family and its sizes."""
    weights: str
    """SHA-256 of sampled weights, in hexadecimal; empty for a backbone without weights."""

    def differences(self, other: "Fingerprint") -> list[str]:
        """Return, in words, what is different in another backbone; empty if nothing is.

        Hashes are compared only if the architectures agree and both backbones have weights.
        """
        keys = [*self.architecture, *(key for key in other.architecture if key not in self.architecture)]
        differing = [
            f"{key} is {other.architecture.get(key)}, not {self.architecture.get(key)}"
            for key in keys
            if self.architecture.get(key) != other.architecture.get(key)
        ]
        if any(difference.startswith("vocab_size ") for difference in differing):
            differing.append("a vocabulary is resized (resize_token_embeddings) after loading, not before")
        if not differing and "" not in (self.weights, other.weights) and self.weights != other.weights:
            differing.append(f"the weights are others (hash {other.weights[:12]}, not {self.weights[:12]})")
        return differing


_ARCHITECTURE = (
    r"model_type|vocab_size|d_model|d_kv|d_ff|dim|hidden_dim|head_dim|n_embd|n_inner|ffn_dim|.*hidden_size|.*intermediate_size|"
    r"(n|num|encoder|decoder)_.*(layers?|heads?|ffn_dim)"
)
"""Names, as a regular expression, under which the families' configurations state the family and the sizes."""


def _architecture_of(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration that give a model's family and sizes."""
    return {key: value for key, value in config.to_dict().items() if re.fullmatch(_ARCHITECTURE, key)}


def _unwrap_quantized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by name, with each quantised tensor replaced by the plain tensors that it consists of."""
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if is_traceable_wrapper_subclass(tensor):
            inner, _ = tensor.__tensor_flatten__()
            plain |= _unwrap_quantized({f"{name}.{part}": getattr(tensor, part) for part in inner})
        else:
            plain[name] = tensor
    return plain


def disable_bnb_cpu_packing(backbone: nn.Module) -> None:
    """Keep bitsandbytes' 4-bit weights in the layout that they were loaded in, and restore it if it was changed.

    On a CPU with bfloat16 instructions, bitsandbytes repacks these weights in a pass without gradients, for a matrix
    product that has no backward pass. Later training would lose its gradients, and the fingerprint would differ.
    Reading the module's state dict makes bitsandbytes restore the original layout.

    Args:
        backbone: a model; one without 4-bit weights is not changed.
    """
    for module in backbone.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.state_dict()
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def fingerprint(backbone: nn.Module, tensors: dict[str, Tensor] | None = None) -> Fingerprint:
    """Return the fingerprint of a backbone.

    The hash covers at least 65,536 evenly spaced numbers of every tensor (all of a smaller one), rounded to bfloat16,
    so that it is the same for a backbone stored in float32 or in bfloat16. It is different for a quantised backbone,
    and empty for one without weights (meta device).

    Args:
        backbone: a model of the transformers library.
        tensors: its original parameters by path, if a Delta has overwritten them; None: the backbone's own.
    """
    disable_bnb_cpu_packing(backbone)
    architecture, digest = _architecture_of(backbone.config), hashlib.sha256()
    for path in own_parameters(backbone) if tensors is None else tensors:
        value = value_at(backbone, path) if tensors is None else tensors[path]  # one at a time: they may be on disk
        if value.is_meta:
            return Fingerprint(architecture, "")
        for name, tensor in _unwrap_quantized({path: value}).items():
            step = max(1, tensor.numel() // _SAMPLE)
            sample = tensor.detach().flatten()[::step].to(torch.bfloat16).cpu()
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.view(torch.int16).numpy().tobytes())
    return Fingerprint(architecture, digest.hexdigest())

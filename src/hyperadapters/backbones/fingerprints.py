"""The fingerprint of a backbone, by which loading checks that an adapter was trained on it."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from hyperadapters.backbones.offloading import value_at
from hyperadapters.backbones.sharding import whole_tensor
from hyperadapters.backbones.weights import _head_parameters, _is_pooler, own_parameters

_SAMPLE = 65_536
"""A fingerprint hashes at least this many numbers of each tensor, or all of a smaller one."""


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a backbone: its architecture and a hash of its weights."""

    architecture: dict[str, Any]
    """The fields of its configuration that give its family and its sizes."""
    weights: str
    """64 hexadecimal digits of SHA-256 sums over sampled weights; empty for a backbone without weights. 32 are of the
    values and the layer that each belongs to, 16 of the parameters' names, 16 of which value has which name."""
    pooler: str = ""
    """A hash of the pooler that a task head reads; empty where no head reads one. Many checkpoints lack the pooler, and
    transformers then draws one at random at each loading, which no model without a head computes with."""

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
        if not differing and "" not in (self.weights, other.weights) and not _are_alike(self.weights, other.weights):
            differing.append(f"the weights are others (hash {other.weights[:12]}, not {self.weights[:12]})")
        if not differing and "" not in (self.pooler, other.pooler) and self.pooler != other.pooler:
            differing.append(
                "the pooler, which the task head reads, is another: transformers draws one at random at each loading "
                "where a checkpoint has none. ha.load_backbone draws the same every time; of a model that you loaded "
                "otherwise, keep the one that you trained on: with delta.disabled(): backbone.save_pretrained(folder)"
            )
        return differing


_VALUES, _NAMES, _PLACES = slice(0, 32), slice(32, 48), slice(48, 64)
"""The digits of `Fingerprint.weights` that tell values by layer, names, and which value has which name."""


def _are_alike(one: str, other: str) -> bool:
    """Return whether two hashes are of the same weights.

    A release of transformers may rename parameters: names are not compared, and where they are others neither is which
    value has which. Where the names are the same, so must be what each of them holds.
    """
    renamed = one[_NAMES] != other[_NAMES]
    return one[_VALUES] == other[_VALUES] and (renamed or one[_PLACES] == other[_PLACES])


_ARCHITECTURE = (
    r"model_type|vocab_size|d_model|d_kv|d_ff|dim|hidden_dim|head_dim|n_embd|n_inner|ffn_dim|"
    r".*hidden_size|.*intermediate_size|"
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
    and empty for one without weights (meta device). Neither the order in which a model registers its parameters nor
    their names decide whether two hashes are of the same weights. A pooler is hashed by itself, and only where a task
    head reads it.

    Args:
        backbone: a model of the transformers library.
        tensors: its original parameters by path, if a Delta has overwritten them; None: the backbone's own.
    """
    disable_bnb_cpu_packing(backbone)
    architecture, digests = _architecture_of(backbone.config), dict[str, str]()
    originals: Mapping[str, Tensor] = own_parameters(backbone) if tensors is None else tensors
    for path, original in originals.items():
        offloaded = original.is_meta and tensors is None
        value = whole_tensor(value_at(backbone, path) if offloaded else original.detach())  # one at a time, from disk
        if value.is_meta:
            return Fingerprint(architecture, "")
        for name, tensor in _unwrap_quantized({path: value}).items():
            step = max(1, tensor.numel() // _SAMPLE)
            sample = tensor.detach().flatten()[::step].to(torch.bfloat16).cpu()
            shape = f"{tuple(tensor.shape)}".encode()
            digests[name] = hashlib.sha256(shape + sample.view(torch.int16).numpy().tobytes()).hexdigest()
    poolers = {name: digest for name, digest in digests.items() if _is_pooler(name)}
    read = bool(poolers) and bool(_head_parameters(backbone))
    others = {name: digest for name, digest in digests.items() if name not in poolers}
    return Fingerprint(architecture, _combined(others), _hash_of(poolers.values()) if read else "")


def _combined(digests: Mapping[str, str]) -> str:
    """Return `Fingerprint.weights`.

    Args:
        digests: the hash of each tensor's shape and values, by the tensor's path.
    """
    values = _hash_of(f"{_layer_of(path)} {digest}" for path, digest in digests.items())
    places = _hash_of(f"{path} {digest}" for path, digest in digests.items())
    return f"{values[:32]}{_hash_of(digests)[:16]}{places[:16]}"


def _hash_of(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _layer_of(path: str) -> str:
    """Return the number of the layer that a parameter belongs to, the first number in its path; empty without one."""
    return next((part for part in path.split(".") if part.isdigit()), "")

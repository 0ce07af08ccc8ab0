"""The tensors of adapters as AdapterHub's `adapters` library names and shapes them, and as ours are.

It has modules for every site, where ours has one tensor for all sites, with an axis of adapters and one of sites in
front. Linear layers hold (out, in), ours (in, out).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import Position, Site
from hyperadapters.methods import Compacter, PHMAdapter, SiteMethod

_LEVELS = {
    **dict.fromkeys(("bert", "bert-generation", "deberta", "deberta-v2", "electra", "roberta", "xlm-roberta"), 1),
    **dict.fromkeys(("t5", "mt5"), 2),
    **dict.fromkeys(("bart", "distilbert", "gpt2", "llama", "mbart", "mistral", "plbart"), 0),
}
"""By type of model, where the library keeps the adapters of a sub-layer: in the module so many levels above its last
linear layer; 0: in the layer, under names of their own."""

_IN_LAYER: dict[Position, str] = {"attention": "attention_adapters", "feed_forward": "output_adapters"}
"""The names of the modules in a layer that hold adapters."""


class _Entry(NamedTuple):
    """One tensor of ours and what it is called in the library."""

    ours: str
    """In the part of the Delta."""
    theirs: str
    """Below the name of the adapter."""
    transposed: bool = False
    shared: bool = False
    """Whether all sites have it in common."""


def _check_family(backbone: nn.Module) -> None:
    """Raise InputError unless it is known where the library keeps the adapters of this family."""
    kind = getattr(backbone.config, "model_type", "")
    if kind not in _LEVELS:
        raise InputError(
            f"{type(backbone).__name__} (model_type {kind!r}): where AdapterHub's library keeps its adapters is known "
            f"of {', '.join(sorted(_LEVELS))}."
        )


def _module_of(backbone: nn.Module, site: Site) -> str:
    """Return the path of the module in which the library keeps the adapters of a site."""
    level = _LEVELS[backbone.config.model_type]  # type: ignore[union-attr, index]
    if level:
        return site.linear.rsplit(".", level)[0]
    layer = re.match(rf".*?\.{site.layer}(?=\.)", site.linear)
    assert layer is not None
    return f"{layer[0]}.{_IN_LAYER[site.position]}"


def _entries(method: SiteMethod) -> list[_Entry]:
    """Return the tensors of adapters of a method; low-rank ones are written as dense."""
    found = [*_projections(method)]
    if method.post_norm:
        found += [_Entry("scale", "adapter_norm_after.weight"), _Entry("shift", "adapter_norm_after.bias")]
    return found


def _projections(method: SiteMethod) -> list[_Entry]:
    """Return the tensors of the projections and their biases."""
    if not isinstance(method, Compacter | PHMAdapter):
        return [
            _Entry("matrices.down", "adapter_down.0.weight", transposed=True),
            _Entry("down_bias", "adapter_down.0.bias"),
            _Entry("matrices.up", "adapter_up.weight", transposed=True),
            _Entry("up_bias", "adapter_up.bias"),
        ]
    found = []
    for ours, theirs in (("down", "adapter_down.0"), ("up", "adapter_up")):
        found.append(_Entry(f"{ours}_bias", f"{theirs}.b"))
        if isinstance(method, PHMAdapter):
            found.append(_Entry(f"matrices.{ours}_fast", f"{theirs}.W"))
            found.append(_Entry(f"matrices.{ours}_slow", f"{theirs}.phm_rule"))
            continue
        found += [_Entry(f"matrices.{ours}_{side}", f"{theirs}.W_{side}") for side in ("left", "right")]
        if not method.shared_slow:
            found += _slow_entries(method, f"matrices.{ours}_slow", f"{theirs}.", shared=False)
    if isinstance(method, Compacter) and method.shared_slow:
        found += _slow_entries(method, "matrices.slow", "", shared=True)
    return found


def _slow_entries(method: Compacter, ours: str, theirs: str, *, shared: bool) -> list[_Entry]:
    """Return the tensors of slow weights."""
    if method.factorized_slow:
        return [_Entry(f"{ours}.{side}", f"{theirs}phm_rule_{side}", shared=shared) for side in ("left", "right")]
    return [_Entry(f"{ours}.weight", f"{theirs}phm_rule", shared=shared)]


_LAST = ("up_bias", "matrices.up", "matrices.up_right", "matrices.up_fast")
"""The tensors that a trained scaling is multiplied into."""


def _read_tensors(
    backbone: nn.Module,
    method: SiteMethod,
    sites: Sequence[Site],
    name: str,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    problems: list[str],
) -> dict[str, Tensor]:
    """Return an adapter's tensors by our names.

    Args:
        backbone: the model.
        method: what the adapter's config says, in our words.
        sites: of the adapter.
        name: the adapter's, in the library.
        found: tensors of the file.
        wanted: tensors like those that the part of the Delta should have, by name in the part.
        problems: tensors that are missing, of another shape or left over are added here.
    """
    left = _without_prefix(backbone, found)
    modules = [f"{_module_of(backbone, site)}.adapters.{name}" for site in sites]

    def take(key: str, like: Tensor, *, transposed: bool) -> Tensor:
        tensor = left.pop(key, None)
        shape = tuple(like.shape[::-1]) if transposed else tuple(like.shape)
        if tensor is None:
            problems.append(f"{key}: missing")
            return torch.empty(0)
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            problems.append(f"{key}: {tensor.dtype} of shape {[*tensor.shape]}, expected {[*shape]}")
            return torch.empty(0)
        return (tensor.T if transposed else tensor).float()

    scalings = [left.pop(f"{module}.scaling", torch.ones(())).float() for module in modules]
    values = {}
    for ours, theirs, transposed, shared in _entries(method):
        like = wanted[ours][0, 0]
        if shared:
            values[ours] = take(f"{_base_of(backbone)}shared_parameters.{name}.{theirs}", like, transposed=False)[None]
            continue
        each = [take(f"{module}.{theirs}", like, transposed=transposed) for module in modules]
        if ours in _LAST:
            each = [tensor * scaling for tensor, scaling in zip(each, scalings, strict=True)]
        if not problems:  # else some are not there, and nothing is made of the others
            values[ours] = torch.stack(each)
    problems += [f"{key}: has no counterpart" for key in left]
    return {ours: value.unsqueeze(0) for ours, value in values.items()}


def _base_of(backbone: nn.Module) -> str:
    """Return what stands in front of the paths of the model without its head, with the dot; it may be empty."""
    base: Any = getattr(backbone, "base_model", backbone)
    found = next((path for path, module in backbone.named_modules() if module is base), "")
    return f"{found}." if found else ""


def _without_prefix(backbone: nn.Module, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by their paths in this backbone.

    A model with a head has a prefix that one without lacks, and the library's own models have another one.
    """
    own = {path for path, _ in backbone.named_modules() if path}
    base = _base_of(backbone)

    def known(key: str) -> bool:
        module, _, _ = key.partition(".adapters.")
        layer, _, last = module.rpartition(".")
        return (layer if last in _IN_LAYER.values() else module) in own

    renamed = {}
    for key, tensor in found.items():
        bare = key.partition(".")[2]
        shared = next((f"{base}{each}" for each in (key, bare) if each.startswith("shared_parameters.")), "")
        renamed[shared or next((each for each in (key, base + key, bare, base + bare) if known(each)), key)] = tensor
    return renamed


def _write_tensors(
    backbone: nn.Module, method: SiteMethod, sites: Sequence[Site], name: str, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return an adapter's tensors by the library's names.

    Args:
        backbone: the model.
        method: of the Delta.
        sites: of its adapters.
        name: of the adapter.
        values: tensors of the part of the Delta, by name in the part.
    """
    written: dict[str, Tensor] = {}
    for ours, theirs, transposed, shared in _entries(method):
        value = values[ours][0]
        if shared:
            written[f"{_base_of(backbone)}shared_parameters.{name}.{theirs}"] = value[0]
            continue
        for site, tensor in zip(sites, value, strict=True):
            key = f"{_module_of(backbone, site)}.adapters.{name}.{theirs}"
            written[key] = tensor.T if transposed else tensor
    return {key: tensor.detach().float().contiguous() for key, tensor in written.items()}

"""The tensors of adapters in checkpoints of Compacter's published code, as ours are."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperadapters._utils import few_names
from hyperadapters.backbones import ModelStructure, Site
from hyperadapters.delta import build_parts
from hyperadapters.methods import LowRankAdapter, SiteMethod
from hyperadapters.storage.adapterhub_tensors import _entries

_SLOW = ("phm_rule", "phm_rule_left", "phm_rule_right")


class _Found(NamedTuple):
    """What a checkpoint holds."""

    adapters: dict[str, dict[str, Tensor]]
    """By the path of the sub-layer, the tensors of its adapter by their names there; a norm's among them."""
    slow: dict[str, Tensor]
    """Slow weights that all adapters share."""
    own: dict[str, Tensor]
    """All others: the backbone's."""


def _module_of(site: Site) -> str:
    """Return the path of a T5's sub-layer."""
    return site.linear.rsplit(".", 2)[0]


def _renamed(theirs: str) -> str:
    """Return what Compacter's code calls a tensor that AdapterHub's library, which took its layers, calls `theirs`."""
    for old, new in (("adapter_down.0.", "down_sampler."), ("adapter_up.", "up_sampler.")):
        theirs = theirs.replace(old, new)
    return theirs


def _part_values(
    found: _Found, method: SiteMethod, structure: ModelStructure, problems: list[str]
) -> dict[str, Tensor]:
    """Return the adapters' tensors by our names; what is missing or left over is added to the problems."""
    left = {module: dict(tensors) for module, tensors in found.adapters.items()}
    for tensors in left.values():
        for key in [key for key in tensors if found.slow and key.rpartition(".")[2] in _SLOW]:
            del tensors[key]  # a copy of what all share
    values: dict[str, Tensor] = {}
    for ours, theirs, transposed, shared in _entries_of(method):
        shown = theirs.replace("\\", "")
        if shared and theirs not in found.slow:
            problems.append(f"{theirs}: missing")
        elif shared:
            values[ours] = found.slow[theirs][None, None]
        if shared:
            continue
        each = []
        for module in map(_module_of, method.sites(structure)):
            matching = [name for name in left[module] if re.fullmatch(theirs, name)]
            if matching:
                tensor = left[module].pop(matching[0])
                each.append(tensor.T if transposed else tensor)
            else:
                problems.append(f"{module}.adapter_controller.{shown}: missing")
        shapes = {tuple(tensor.shape) for tensor in each}
        if len(shapes) == 1:
            values[ours] = torch.stack(each)[None]
        elif shapes:
            problems.append(f"{shown}: of different shapes: {few_names(map(str, shapes))}")
    problems += [f"{module}.adapter_controller.{key}: has no counterpart" for module in left for key in left[module]]
    return values


def _check_shapes(
    values: Mapping[str, Tensor],
    backbone: nn.Module,
    method: SiteMethod,
    structure: ModelStructure,
    problems: list[str],
) -> None:
    """Add to the problems the tensors that have not the shape that the method gives them on this backbone."""
    method.check(structure)
    with torch.device("meta"):
        wanted = build_parts(backbone, method, structure, None)["adapters"].held()
    problems += [
        f"adapters.{name}: shape {[*values[name].shape[2:]]} in the checkpoint, expected {[*tensor.shape[2:]]}"
        for name, tensor in wanted.items()
        if values[name].shape != tensor.shape
    ]


def _entries_of(method: SiteMethod) -> list[tuple[str, str, bool, bool]]:
    """Return our name of every tensor, a pattern of theirs, whether it is transposed, and whether all share it."""
    if isinstance(method, LowRankAdapter):
        pairs = [(side, f"{side}_sampler") for side in ("down", "up")]
        return [
            entry
            for side, sampler in pairs
            for entry in (
                (f"{side}_bias", rf"{sampler}\.b", False, False),
                (f"matrices.{side}_left", rf"{sampler}\.W_left", False, False),
                (f"matrices.{side}_right", rf"{sampler}\.W_right", False, False),
            )
        ] + _norm_entries(method)
    found = [entry for entry in _entries(method) if entry.ours not in ("scale", "shift")]
    named = [(e.ours, e.theirs if e.shared else re.escape(_renamed(e.theirs)), e.transposed, e.shared) for e in found]
    return named + _norm_entries(method)


def _norm_entries(method: SiteMethod) -> list[tuple[str, str, bool, bool]]:
    """Return the tensors of the norm after the up-projection."""
    if not method.post_norm:
        return []
    return [("scale", r"post_\w+\.weight", False, False), ("shift", r"post_\w+\.bias", False, False)]

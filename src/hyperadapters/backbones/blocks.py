"""The layers of a backbone's stacks, and what a pass computes above and below one of them."""

import re
from collections.abc import Iterable

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones.kinds import Stack
from hyperadapters.backbones.modules import is_inside
from hyperadapters.backbones.sites import Site, _outermost_list
from hyperadapters.backbones.structure import ModelStructure

_BEFORE_LAYERS = re.compile(r"embed", re.IGNORECASE)
"""Names of norms outside of all layers that a pass computes before the first of them."""

_FOR_EVERY_LAYER = {"deberta": "encoder.LayerNorm", "deberta-v2": "encoder.LayerNorm"}
"""By family, the norm of something that every layer reads: of relative positions."""


def blocks_of(backbone: nn.Module, structure: ModelStructure) -> dict[Stack, tuple[str, ...]]:
    """Return the paths of each stack's layers, in the order in which a pass computes them.

    Args:
        backbone: a model of the transformers library.
        structure: of the backbone.

    Raises:
        InputError: sites were named by hand, by paths without the number of a layer.
    """
    found: dict[Stack, tuple[str, ...]] = {}
    for stack, entry in structure.entries.items():
        heads = dict.fromkeys(_outermost_list(site.module, entry) for site in structure.sites if site.stack == stack)
        if len(heads) != 1 or not isinstance(backbone.get_submodule(next(iter(heads))), nn.ModuleList):
            raise InputError(
                f"the layers of the {stack} are not the elements of one list ({', '.join(heads) or 'none'}). "
                "Use norms=True or norms=False, and training.reuse=false."
            )
        (head,) = heads
        found[stack] = tuple(f"{head}.{name}" for name, _ in backbone.get_submodule(head).named_children())
    return found


def norms_above(backbone: nn.Module, structure: ModelStructure, sites: Iterable[Site]) -> tuple[str, ...]:
    """Return the paths of the norms that a pass computes in the lowest layer of these sites, or later.

    Those are, of each stack with one of the sites, the norms from its lowest such layer on; and all of a decoder
    without sites above an encoder with some.

    Args:
        backbone: a model of the transformers library.
        structure: of the backbone.
        sites: at which adapters sit.

    Raises:
        InputError: the layers of a stack are not known.
    """
    blocks, sites = blocks_of(backbone, structure), tuple(sites)
    lowest: dict[Stack, int] = {}
    for stack, paths in blocks.items():
        own = [place for site in sites if site.stack == stack for place in _places_in(paths, site.module)]
        if own or (lowest and not own):  # a stack above another one with sites
            lowest[stack] = min(own, default=0)
    family = getattr(backbone.config, "model_type", "")
    return tuple(
        path
        for path in structure.norms
        for stack in lowest
        if is_inside(path, structure.entries[stack])
        and not path.endswith(_FOR_EVERY_LAYER.get(family, "\n"))
        and _is_from(path, structure.entries[stack], blocks[stack], lowest[stack])
    )


def _places_in(blocks: tuple[str, ...], path: str) -> list[int]:
    """Return the number of the layer that a module lies in, in a list; an empty one if it lies in none."""
    return [number for number, block in enumerate(blocks) if is_inside(path, block)]


def _is_from(path: str, entry: str, blocks: tuple[str, ...], lowest: int) -> bool:
    """Return whether a pass computes a norm in the layer `lowest`, or later."""
    places = _places_in(blocks, path)
    if places:
        return places[0] >= lowest
    return not _BEFORE_LAYERS.search(path.removeprefix(entry))

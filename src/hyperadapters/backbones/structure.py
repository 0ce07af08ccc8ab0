"""The structure of a backbone: where adapters sit, its norms, output layer and head, found from its module tree.

What structure tells: a *block* is the smallest element of a `ModuleList` that holds an attention and, outside of it, a
feed-forward. Each of the two ends in its last linear layer that is `d_model` wide: that is where its output leaves,
before dropout, residual and any norm that follows (Houlsby et al., arXiv:1902.00751v2, figure 2; Compacter,
arXiv:2106.04647v2, §4.1). The first attention of a block is its self-attention; further ones attend to an encoder.
"""

from dataclasses import dataclass

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones.kinds import BackboneKind, Stack, kind_of
from hyperadapters.backbones.modules import base_path, d_model_of, is_inside, is_norm, is_quantized, own_modules
from hyperadapters.backbones.offloading import is_offloaded
from hyperadapters.backbones.sites import Layout, Site, entry_points, found_sites, named_sites
from hyperadapters.backbones.weights import head_parameters, output_modules, own_parameters


@dataclass(frozen=True)
class ModelStructure:
    """What a method needs to know of a backbone."""

    kind: BackboneKind
    d_model: int
    sites: tuple[Site, ...]
    norms: tuple[str, ...]
    """Paths of every layer norm, those of embeddings and the final ones included; a head's own are the head's."""
    stacks: tuple[Stack, ...]
    entries: dict[Stack, str]
    """The module with which each stack's pass begins, by its path; all norms and sites lie inside one of them."""
    output: tuple[str, ...]
    """Paths of the modules that hold the output layer's weight: with tied embeddings there are several."""
    head: tuple[str, ...]
    """Paths of the parameters of a classification or regression head, of which every Delta has its own."""
    parameters: int
    """Of the backbone without a head, tied ones once."""
    tensors: int
    """Number of the backbone's parameter tensors, without a head's, tied ones once."""
    quantized: tuple[str, ...]
    """Paths of the parameters that are held in few bits: no method may train or write them."""
    offloaded: tuple[str, ...]
    """Paths of the parameters that are held in host memory or on disk between passes: no method may write them."""
    layout: Layout | None = None
    """Set where the sites were named by hand."""


def read_structure(backbone: nn.Module, layout: Layout | None = None) -> ModelStructure:
    """Find the sites and norms of a backbone.

    Args:
        backbone: a transformer of the transformers library.
        layout: the sites named by hand, where structure does not tell.

    Raises:
        InputError: it is no model of transformers, or no sites are found: shows the block, the candidates in it, and
            how to name them.
    """
    if not hasattr(backbone, "config"):
        raise InputError(
            f"{type(backbone).__name__} has no config, so it is no model of the transformers library. Make it a "
            "subclass of PreTrainedModel whose config has a hidden_size: its sites are then found, or named by hand."
        )
    base = base_path(backbone)
    entries = entry_points(backbone, base)
    sites = named_sites(backbone, entries, layout) if layout else found_sites(backbone, entries)
    return ModelStructure(
        kind=kind_of(backbone.config),
        d_model=d_model_of(backbone),
        sites=sites,
        norms=tuple(path for path, module in own_modules(backbone) if is_inside(path, base) and is_norm(module)),
        stacks=tuple(entries),
        entries=entries,
        output=output_modules(backbone),
        head=head_parameters(backbone),
        parameters=sum(tensor.numel() for tensor in own_parameters(backbone).values()),
        tensors=len(own_parameters(backbone)),
        quantized=tuple(name for name, tensor in own_parameters(backbone).items() if is_quantized(tensor)),
        offloaded=tuple(name for name in own_parameters(backbone) if is_offloaded(backbone, name)),
        layout=layout,
    )

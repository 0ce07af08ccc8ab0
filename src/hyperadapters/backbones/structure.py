"""The structure of a backbone: its adapter sites, norms, output layer and head, found in its module tree.

How sites are found: a *block* is the smallest element of a `ModuleList` that holds an attention and, outside of it, a
feed-forward. The site of each of the two sub-layers is the output of its last linear layer that is `d_model` wide: in
sub-layers that begin with their norm before the dropout (Compacter, arXiv:2106.04647v2, §4.1, published code), in those
that end with it after the dropout (Houlsby et al., arXiv:1902.00751v2, figure 2, published code). The first attention
of a block is its self-attention; further ones are cross-attention.
"""

from dataclasses import dataclass

from torch import nn

from hyperadapters._utils import InputError, few_names
from hyperadapters.backbones.kinds import BackboneKind, Stack, kind_of
from hyperadapters.backbones.modules import (
    _base_path,
    _d_model_of,
    _is_norm,
    _wrapped_by_peft,
    is_inside,
    is_quantized,
    own_modules,
)
from hyperadapters.backbones.offloading import _is_offloaded
from hyperadapters.backbones.pooling import Pooling, _check_pooling
from hyperadapters.backbones.sites import Layout, Site, _entry_points, _found_sites, _named_sites
from hyperadapters.backbones.weights import _head_parameters, _is_pooler, _output_modules, own_parameters


@dataclass(frozen=True)
class ModelStructure:
    """Everything that a method needs to know about a backbone."""

    kind: BackboneKind
    """Encoder-decoder, encoder or decoder."""
    d_model: int
    """Width of the residual stream."""
    sites: tuple[Site, ...]
    """Every point where an adapter may sit, stack by stack and layer by layer."""
    norms: tuple[str, ...]
    """Paths of every layer norm, those of the embeddings and the final ones included, but not those of a task head."""
    stacks: tuple[Stack, ...]
    """The stacks that the backbone has."""
    entries: dict[Stack, str]
    """Path of the module that each stack's forward pass begins with; all norms and sites lie inside one of them."""
    output: tuple[str, ...]
    """Paths of the modules that hold the output layer's weight: several if it is tied to the embeddings."""
    head: tuple[str, ...]
    """Paths of the parameters of a classification or regression head, which every Delta replaces by its own."""
    parameters: int
    """Number of the backbone's parameters, without a task head's, tied ones once."""
    tensors: int
    """Number of the backbone's parameter tensors, without a task head's, tied ones once."""
    quantized: tuple[str, ...]
    """Paths of quantised parameters, which no method can train or write."""
    offloaded: tuple[str, ...]
    """Paths of parameters that are offloaded to host memory or disk between passes, which no method can write."""
    layout: Layout | None = None
    """The layout, if the sites were named by hand."""
    pooling: Pooling = "model"
    """What the task head of an encoder reads."""
    unread: tuple[str, ...] = ()
    """Paths of the backbone's parameters that no pass computes with: those of a pooler that the head reads past."""


def read_structure(backbone: nn.Module, layout: Layout | None = None, pooling: Pooling = "model") -> ModelStructure:
    """Find the adapter sites, norms, output layer and head of a backbone.

    Args:
        backbone: a model of the transformers library.
        layout: names the sites by hand, for a backbone in whose modules they are not found.
        pooling: what the Delta's head is to read, as for `ha.attach`.

    Raises:
        InputError: the model is not of transformers, PEFT has wrapped modules of it, it has no head that can read this,
            or its sites were not found. The error then shows the block, the candidates in it, and how to name the
            sites.
    """
    if not hasattr(backbone, "config"):
        raise InputError(
            f"{type(backbone).__name__} has no config, so it is no model of the transformers library. Make it a "
            "subclass of PreTrainedModel whose config has a hidden_size: its sites are then found, or named by hand."
        )
    _check_pooling(backbone, pooling)
    if wrapped := _wrapped_by_peft(backbone):
        raise InputError(
            f"PEFT stands around {len(wrapped)} modules of this backbone ({few_names(sorted(wrapped))}); adapters "
            "there would read something else once it is merged or unloaded. Before you attach a Delta, call "
            "model.merge_and_unload() or model.unload()."
        )
    base = _base_path(backbone)
    entries = _entry_points(backbone, base)
    sites = _named_sites(backbone, entries, layout) if layout else _found_sites(backbone, entries)
    own = own_parameters(backbone)
    return ModelStructure(
        kind=kind_of(backbone.config),
        d_model=_d_model_of(backbone),
        sites=sites,
        norms=tuple(path for path, module in own_modules(backbone) if is_inside(path, base) and _is_norm(module)),
        stacks=tuple(entries),
        entries=entries,
        output=_output_modules(backbone),
        head=_head_parameters(backbone),
        parameters=sum(tensor.numel() for tensor in own.values()),
        tensors=len(own),
        quantized=tuple(name for name, tensor in own.items() if is_quantized(tensor)),
        offloaded=tuple(name for name, tensor in own.items() if tensor.is_meta and _is_offloaded(backbone, name)),
        layout=layout,
        pooling=pooling,
        unread=() if pooling == "model" else tuple(filter(_is_pooler, own)),
    )

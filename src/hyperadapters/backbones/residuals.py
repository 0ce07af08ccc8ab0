"""Where the residual stream can be read that the output of a sub-layer is added to."""

from typing import NamedTuple

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones.dropouts import _RESIDUALS
from hyperadapters.backbones.modules import _is_norm
from hyperadapters.backbones.sites import Site


class Residual(NamedTuple):
    """The residual stream x beside a sub-layer whose output is y."""

    module: str
    """Path of a module that is called with x."""
    argument: int
    """Which of its arguments x is."""
    norm: str
    """Path of the norm that is applied to y + x; empty if none is."""


def residual_of(backbone: nn.Module, site: Site) -> Residual:
    """Return where the residual stream can be read that the output of a site's sub-layer is added to.

    Args:
        backbone: a model of the transformers library.
        site: one of its sites.

    Raises:
        InputError: it is not known for this family.
    """
    parent, _, _ = site.linear.rpartition(".")
    if site.module != site.linear and site.module.rpartition(".")[0] == parent:
        norms = [name for name, child in backbone.get_submodule(parent).named_children() if _is_norm(child)]
        if len(norms) == 1:  # BERT: one module holds linear layer, dropout and norm, and gets y's source and x
            return Residual(parent, 1, f"{parent}.{norms[0]}")
    kind = getattr(backbone.config, "model_type", "")
    for end, (module, norm) in _RESIDUALS.get(kind, {}).items():
        if site.linear.endswith(f".{end}"):
            block = site.linear.removesuffix(f".{end}")
            return Residual(_joined(block, module), 0, _joined(block, norm) if norm else "")
    raise InputError(
        f"{type(backbone).__name__} (model_type {kind!r}): where the residual stream beside {site.linear} can be read "
        f"is not known. Adapters that read it work on BERT and its kin, {', '.join(_RESIDUALS)}; elsewhere use "
        "placement='in_line'."
    )


def _joined(block: str, name: str) -> str:
    """Return the path of a module inside a block, or of the block itself."""
    return f"{block}.{name}" if name else block

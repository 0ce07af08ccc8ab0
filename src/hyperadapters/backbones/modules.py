"""Modules of a backbone by path, and what one of them is."""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

CONTAINER = "hyperadapters"
"""The submodule of a backbone under which its Deltas live."""


def own_modules(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The backbone's own modules by path, without those of attached Deltas."""
    for path, module in backbone.named_modules():
        if not is_inside(path, CONTAINER):
            yield path, module


def is_inside(path: str, root: str) -> bool:
    """Whether a path is that of `root` or of something within it."""
    return not root or path == root or path.startswith(f"{root}.")


def path_of(backbone: nn.Module, wanted: nn.Module) -> str:
    """The path of a module in the backbone."""
    found: str = next(path for path, module in backbone.named_modules() if module is wanted)
    return found


def numberless(path: str) -> str:
    """A path with `#` for its numbers."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path)


def base_path(backbone: nn.Module) -> str:
    """The path of the model proper, without language-model or classification head; empty where it is all of it."""
    return path_of(backbone, getattr(backbone, "base_model", backbone))


def d_model_of(backbone: nn.Module) -> int:
    """The width of the residual stream."""
    config: Any = backbone.config
    width: int = config.get_text_config().hidden_size
    return width


def out_width(module: nn.Module) -> int | None:
    """The width of a linear layer's output; None for anything else. Quantised layers keep the attribute.

    The output projection of `torch.nn.MultiheadAttention` is none: it is never called, only its weight is read.
    """
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return None
    width = getattr(module, "out_features", getattr(module, "nf", None))
    return width if isinstance(width, int) and not list(module.children()) else None


def is_quantized(tensor: Tensor) -> bool:
    """Whether a tensor holds its numbers in few bits: as integers (bitsandbytes) or as a tensor subclass (torchao)."""
    return is_traceable_wrapper_subclass(tensor) or not tensor.is_floating_point()


POSITIONS = ("position_embeddings", "embed_positions", "wpe")
"""What transformers calls tables of absolute positions."""


def positions_of(backbone: nn.Module) -> int | None:
    """How many tokens a backbone has positions for; None where they are relative or computed, so any number will do."""
    tables = [
        module
        for path, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and path.rpartition(".")[2] in POSITIONS
    ]
    reserved = [getattr(m, "offset", 0) or (0 if m.padding_idx is None else m.padding_idx + 1) for m in tables]
    return min((m.num_embeddings - taken for m, taken in zip(tables, reserved, strict=True)), default=None)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a layer norm (or RMS norm) with parameters."""
    return type(module).__name__.lower().endswith("norm") and bool(vectors(module))


def vectors(module: nn.Module) -> list[str]:
    """Names of a module's own one-dimensional parameters: the weight and, where there is one, the bias of a norm."""
    return [name for name, tensor in module.named_parameters(recurse=False) if tensor.dim() == 1]

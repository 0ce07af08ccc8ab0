"""Finding modules of a backbone by path, and recognising what they are."""

import re
import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

CONTAINER = "hyperadapters"
"""The name of the backbone's submodule that holds its Deltas."""


def own_modules(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the backbone's own modules with their paths, without those of attached Deltas.

    Args:
        backbone: a model of the transformers library.
    """
    for path, module in backbone.named_modules():
        if not is_inside(path, CONTAINER):
            yield path, module


def _inside_wrapper(module: nn.Module) -> str:
    """Return under which name a layer of PEFT holds the module that it has replaced; empty if it is no such layer."""
    tuners, others = sys.modules.get("peft.tuners.tuners_utils"), sys.modules.get("peft.utils.other")
    if tuners is not None and isinstance(module, tuners.BaseTunerLayer):
        name = "base_layer"
    elif others is not None and isinstance(module, others.AuxiliaryTrainingWrapper):
        name = "original_module"
    else:
        return ""
    return name if name in module._modules else ""


def _wrapped_by_peft(backbone: nn.Module) -> dict[str, str]:
    """Return the paths of PEFT's layers in a backbone, those inside of others first, and of what each has replaced.

    Args:
        backbone: a model of the transformers library.
    """
    found = {path: _inside_wrapper(module) for path, module in own_modules(backbone)}
    paths = sorted((path for path, name in found.items() if name), key=len, reverse=True)
    return {path: f"{path}.{found[path]}" for path in paths}


def module_at(backbone: nn.Module, path: str) -> nn.Module:
    """Return the module that is at a path, or was there before PEFT has put a layer of its own around it.

    Args:
        backbone: a model of the transformers library.
        path: of the module when the Delta was attached.
    """
    module = backbone
    for name in filter(None, path.split(".")):
        module = module.get_submodule(name)
        while inside := _inside_wrapper(module):
            module = module.get_submodule(inside)
    return module


def is_inside(path: str, root: str) -> bool:
    """Return whether a path is `root` or lies below it; every path lies below the empty root.

    Args:
        path: of a module or parameter.
        root: path of a module; empty for the whole model.
    """
    return not root or path == root or path.startswith(f"{root}.")


def _path_of(backbone: nn.Module, wanted: nn.Module) -> str:
    """Return the path of a module in the backbone."""
    found: str = next(path for path, module in backbone.named_modules() if module is wanted)
    return found


def _numberless(path: str) -> str:
    """Return a path with `#` in place of its numbers."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path)


def _base_path(backbone: nn.Module) -> str:
    """Return the path of the model without its language-model or classification head; empty if it has no head."""
    return _path_of(backbone, getattr(backbone, "base_model", backbone))


def _d_model_of(backbone: nn.Module) -> int:
    """Return the width of the residual stream."""
    config: Any = backbone.config
    width: int = config.get_text_config().hidden_size
    return width


def out_width(module: nn.Module) -> int | None:
    """Return the output width of a linear layer, quantised or not; None for any other module.

    The output projection of `torch.nn.MultiheadAttention` does not count as a linear layer: it is never called, so a
    hook on it would not run; only its weight is read.

    Args:
        module: any module.
    """
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return None
    width = getattr(module, "out_features", getattr(module, "nf", None))
    return width if isinstance(width, int) and not list(module.children()) else None


def is_quantized(tensor: Tensor) -> bool:
    """Return whether a tensor is quantised: stored as integers (bitsandbytes) or as a tensor subclass (torchao).

    Args:
        tensor: a parameter.
    """
    return is_traceable_wrapper_subclass(tensor) or not tensor.is_floating_point()


_POSITIONS = ("position_embeddings", "embed_positions", "wpe")
"""Attribute names that transformers gives to tables of absolute position embeddings."""


def positions_of(backbone: nn.Module) -> int | None:
    """Return how many tokens a backbone has positions for; None if positions are relative or computed (no limit).

    Args:
        backbone: a model of the transformers library.
    """
    tables = [
        module
        for path, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and path.rpartition(".")[2] in _POSITIONS
    ]
    reserved = [getattr(m, "offset", 0) or (0 if m.padding_idx is None else m.padding_idx + 1) for m in tables]
    return min((m.num_embeddings - taken for m, taken in zip(tables, reserved, strict=True)), default=None)


def _is_norm(module: nn.Module) -> bool:
    """Return whether a module is a layer norm (or RMS norm) with parameters."""
    return type(module).__name__.lower().endswith("norm") and bool(vectors(module))


def vectors(module: nn.Module) -> list[str]:
    """Return the names of a module's own one-dimensional parameters: of a norm, its weight and its bias if any.

    Args:
        module: any module.
    """
    return [name for name, tensor in module.named_parameters(recurse=False) if tensor.dim() == 1]

"""Where a backbone's tensors are: on one device, on several, or offloaded to host memory or disk.

transformers spreads a large model over devices with accelerate (`device_map`). An offloaded parameter is a tensor
without storage (meta device) between passes; accelerate's hook loads it around its module's `forward` only.
"""

import torch
from torch import Tensor, nn


def has_offloaded_parameters(module: nn.Module) -> bool:
    """Return whether a module's parameters are offloaded, so that accelerate loads them for each of its passes.

    Args:
        module: any module.
    """
    if not hasattr(module, "_hf_hook"):
        return False
    from accelerate.utils import has_offloaded_params  # noqa: PLC0415 (slow to import, and loaded where there is a hook)

    return bool(has_offloaded_params(module))


def value_of(module: nn.Module, attribute: str) -> Tensor:
    """Return the values of one of a module's own parameters, fetched if it is offloaded.

    Args:
        module: the module that owns the parameter.
        attribute: the parameter's name in the module.
    """
    parameter = module._parameters[attribute]
    assert parameter is not None
    if parameter.is_meta and has_offloaded_parameters(module):
        fetched: Tensor = module._hf_hook.weights_map[attribute]  # type: ignore[union-attr, index]
        return fetched
    return parameter.detach()


def value_at(backbone: nn.Module, path: str) -> Tensor:
    """Return the values of the parameter at this path in the backbone, fetched if it is offloaded.

    Args:
        backbone: a model of the transformers library.
        path: of the parameter, such as "shared.weight".
    """
    module, _, attribute = path.rpartition(".")
    return value_of(backbone.get_submodule(module), attribute)


def _is_offloaded(backbone: nn.Module, path: str) -> bool:
    """Return whether a parameter without values is kept in host memory or on disk between passes."""
    return has_offloaded_parameters(backbone.get_submodule(path.rpartition(".")[0]))


def device_of(backbone: nn.Module) -> torch.device:
    """Return the device on which a forward pass begins: that of the first parameter, or where accelerate loads it.

    Args:
        backbone: a model of the transformers library.
    """
    path, first = next(iter(backbone.named_parameters()))
    module = backbone.get_submodule(path.rpartition(".")[0])
    if first.is_meta and has_offloaded_parameters(module):
        return torch.device(module._hf_hook.execution_device)  # type: ignore[union-attr, arg-type]
    return first.device

"""Where a backbone's tensors are: on one device, on several, or out of the way in host memory or on disk.

transformers spreads a large model with accelerate (`device_map`). What does not fit on a device is a tensor without
storage (meta) between passes, and is brought in by a hook around its module's `forward` alone.
"""

import torch
from torch import Tensor, nn


def has_offloaded_parameters(module: nn.Module) -> bool:
    """Whether accelerate brings a module's parameters in for each of its passes."""
    if not hasattr(module, "_hf_hook"):
        return False
    from accelerate.utils import has_offloaded_params  # noqa: PLC0415 (slow to import, and loaded where there is a hook)

    return bool(has_offloaded_params(module))


def value_of(module: nn.Module, attribute: str) -> Tensor:
    """The values of one of a module's own parameters, fetched if it is offloaded."""
    parameter = module._parameters[attribute]
    assert parameter is not None
    if parameter.is_meta and has_offloaded_parameters(module):
        fetched: Tensor = module._hf_hook.weights_map[attribute]  # type: ignore[union-attr, index]
        return fetched
    return parameter.detach()


def value_at(backbone: nn.Module, path: str) -> Tensor:
    """`value_of` by the parameter's path in the backbone."""
    module, _, attribute = path.rpartition(".")
    return value_of(backbone.get_submodule(module), attribute)


def is_offloaded(backbone: nn.Module, path: str) -> bool:
    """Whether a parameter is held in host memory or on disk between passes."""
    module = backbone.get_submodule(path.rpartition(".")[0])
    return backbone.get_parameter(path).is_meta and has_offloaded_parameters(module)


def device_of(backbone: nn.Module) -> torch.device:
    """Where a pass through the backbone begins: its first parameter's device, or the one that it is brought to."""
    path, first = next(iter(backbone.named_parameters()))
    module = backbone.get_submodule(path.rpartition(".")[0])
    if first.is_meta and has_offloaded_parameters(module):
        return torch.device(module._hf_hook.execution_device)  # type: ignore[union-attr, arg-type]
    return first.device

"""Adapters without a non-linearity as a change of the linear layers before them, and merged into these.

A site gets y = W x + b, the output of a linear layer, and computes y + U·(D·y + b_D) + b_U. Where the activation is the
identity that is (W + U·D·W) x + b + U·(D·b + b_D) + b_U: the same layer with other weights, and a LoRA with A = D·W and
B = U. Dropout between the two does nothing outside training.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError, few_names, listed
from hyperadapters.backbones import Backbone, is_quantized, is_sharded
from hyperadapters.delta.adapters_at_sites import AdaptersAtSites
from hyperadapters.delta.container import attached
from hyperadapters.delta.head import _Head, _Logits
from hyperadapters.delta.named_classes import _state_names
from hyperadapters.delta.owned_tensors import OwnedTensors
from hyperadapters.layers import SINGLE_ADAPTER

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


class LinearChange(NamedTuple):
    """What an adapter without a non-linearity adds to the output y of a linear layer: y·down·up + bias."""

    path: str
    """Of the linear layer in the backbone."""
    down: Float[Tensor, "d_model bottleneck"]
    up: Float[Tensor, "bottleneck d_model"]
    bias: Float[Tensor, " d_model"]
    """Both biases of the adapter together. All three in float64."""


def _is_linear(module: nn.Module) -> bool:
    """Return whether a module computes W x + b with a weight that can be changed.

    Args:
        module: any module.
    """
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415 (slow to import)

    weight = module._parameters.get("weight")
    return type(module) in (nn.Linear, Conv1D) and weight is not None and not is_quantized(weight)


def is_transposed(module: nn.Module) -> bool:
    """Return whether a linear layer holds its weight as (in, out): `Conv1D` of GPT-2 does, `nn.Linear` does not.

    Args:
        module: a linear layer.
    """
    return not isinstance(module, nn.Linear)


@torch.no_grad()
def linear_changes(delta: "Delta") -> list[LinearChange]:
    """Return what a Delta's adapters add to the outputs of the linear layers before them.

    Args:
        delta: a Delta of one task.

    Raises:
        InputError: some of what the Delta does is no such change; the error names all of it.
    """
    problems = _not_linear(delta)
    if problems:
        raise InputError(
            f"the Delta {delta.name!r} ({type(delta.method).__name__}) does more than linear layers do:\n  "
            + listed(problems)
        )
    delta._settle()
    changes = []
    for part in delta.parts.values():
        if isinstance(part, AdaptersAtSites):
            together = part.weights(SINGLE_ADAPTER)[:4]
            down, down_bias, up, up_bias = (tensor[0].detach().double() for tensor in together)  # type: ignore[index]
            bias = torch.einsum("sk,skd->sd", down_bias, up) + up_bias
            paths = [site.linear for site in part.sites]
            changes += [LinearChange(*site) for site in zip(paths, down, up, bias, strict=True)]
    return changes


def _not_linear(delta: "Delta") -> list[str]:
    """Return what a Delta does that no linear layer does."""
    problems = []
    if len(delta.tasks) > 1 or delta.slots:
        problems.append("it holds several tasks: make one of them a Delta of its own first (`Delta.bake`)")
    if delta.structure.pooling != "model":
        problems.append(
            f"its head reads what the model's own head does not (pooling={delta.structure.pooling}): train with "
            "pooling=model (text.pooling=model)"
        )
    adapters = [part for part in delta.parts.values() if isinstance(part, AdaptersAtSites)]
    other = [name for name, part in delta.parts.items() if not isinstance(part, AdaptersAtSites | OwnedTensors)]
    if other:
        problems.append(f"it has other parts than adapters, norms and heads: {few_names(other)}")
    if not adapters:
        problems.append("it has no adapters behind linear layers")
    for part in adapters:
        problems += part.not_linear()
        places = {site.linear: delta.backbone.get_submodule(site.linear) for site in part.sites}
        unlike = [f"{path} ({type(module).__name__})" for path, module in places.items() if not _is_linear(module)]
        if unlike:
            problems.append(f"adapters stand behind what is no linear layer with a plain weight: {few_names(unlike)}")
    return problems


def _merge(delta: "Delta", *, add_biases: bool) -> Backbone:
    """Write a Delta into its backbone and detach it; return the backbone. Arguments and errors as `Delta.merge`."""
    changes = linear_changes(delta)
    backbone = delta.backbone
    _check_mergeable(delta, changes, add_biases)
    delta.rest()
    with torch.no_grad():
        owned = [part for part in delta.parts.values() if isinstance(part, OwnedTensors)]
        values = {path: value for part in owned for path, value in part.of_only_adapter().items()}
        for change in changes:
            _change_layer(backbone.get_submodule(change.path), change)
        for path, value in values.items():
            _write_parameter(backbone, path, value)
        for part in owned:
            if isinstance(part, _Head):
                if part.outputs != backbone.config.num_labels:
                    _Logits(backbone, part.outputs)
                _state_names(backbone, part.outputs, delta.about)
    return delta.detach()


def _check_mergeable(delta: "Delta", changes: list[LinearChange], add_biases: bool) -> None:
    """Raise InputError if the backbone's tensors cannot be written, or layers without a bias would need one."""
    backbone, structure, problems = delta.backbone, delta.structure, list[str]()
    others = [other.name for other in attached(backbone) if other is not delta]
    if others:
        problems.append(f"other Deltas are attached, which were made for the backbone as it is: {few_names(others)}")
    if delta not in attached(backbone):
        problems.append("it is detached: call its `use` first")
    for state, paths in (("quantised", structure.quantized), ("offloaded", structure.offloaded)):
        if paths:
            problems.append(f"{len(paths)} tensors of the backbone are {state} ({paths[0]} …)")
    if is_sharded(backbone):
        problems.append("the backbone is spread over processes")
    bare = [c.path for c in changes if backbone.get_submodule(c.path).bias is None and c.bias.abs().max() > 0]
    if bare and not add_biases:
        problems.append(
            f"{len(bare)} linear layers have no bias ({bare[0]} …), and the adapters' biases need one there, which "
            "`from_pretrained` would not read back. Give add_biases=True for a model that stays in memory, or write "
            "LoRA weights (hyperadapters convert --to lora)"
        )
    if problems:
        raise InputError(f"the Delta {delta.name!r} cannot be merged:\n  " + listed(problems))


def _change_layer(layer: nn.Module, change: LinearChange) -> None:
    """Make a linear layer compute what it and the adapter behind it computed."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    own = weight.double().T if is_transposed(layer) else weight.double()
    down, up, shift = (tensor.to(weight.device) for tensor in change[1:])
    changed = own + up.T @ (down.T @ own)
    weight.copy_(changed.T if is_transposed(layer) else changed)
    if isinstance(layer.bias, Tensor):
        bias = layer.bias.double()
        layer.bias.copy_(bias + (bias @ down) @ up + shift)
    elif shift.abs().max() > 0:
        layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad)


def _write_parameter(backbone: nn.Module, path: str, value: Tensor) -> None:
    """Write a parameter of the backbone; one of another shape, such as a head's last layer, is replaced."""
    parameter = backbone.get_parameter(path)
    if parameter.shape == value.shape:
        parameter.copy_(value)
        return
    module, _, attribute = path.rpartition(".")
    owner = backbone.get_submodule(module)
    fresh = value.detach().to(parameter.device, parameter.dtype, copy=True)
    setattr(owner, attribute, nn.Parameter(fresh, requires_grad=parameter.requires_grad))
    if isinstance(owner, nn.Linear):
        owner.out_features = len(value)

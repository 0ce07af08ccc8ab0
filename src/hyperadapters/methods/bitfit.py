"""BitFit: biases alone (Ben Zaken et al., arXiv:2106.10199v1; on T5 as in Compacter, arXiv:2106.04647v2, §4.2)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, out_width, own_modules, value_of
from hyperadapters.delta import ByRow, Handle, Method, ParameterKind, Part, by_rows, for_batch, only, repeated, shadow
from hyperadapters.layers import AdapterIndex, selected


class Biases(Part):
    """The Delta's own bias for each of some modules, zero where the backbone has none: at first nothing changes.

    A module with a bias computes with the Delta's in its place. To the output of one without, the Delta's is added
    as an operation of its own: handing it to the matrix product may choose another kernel, and with it other bits.
    """

    def __init__(self, backbone: nn.Module, paths: Sequence[str], adapters: int = 1) -> None:
        super().__init__()
        self.paths = tuple(paths)
        starts = [first_bias(backbone.get_submodule(path)) for path in paths]
        self.widths = [start.numel() for start in starts]
        self.bias = nn.Parameter(repeated(torch.cat(starts), adapters))

    def kind(self, tensor: str) -> ParameterKind:
        """All are biases."""
        return "bias"

    def generate(self, rows: AdapterIndex) -> list[Tensor | ByRow]:
        """The biases of the adapters that the rows use, module by module."""
        return by_rows(torch.split(only(selected(self.bias, rows.present), rows), self.widths, dim=-1), rows)

    def install(self, backbone: nn.Module, generated: Callable[[], Sequence[Tensor | ByRow]]) -> list[Handle]:
        """In place of the biases that there are, after the modules that have none."""
        handles: list[Handle] = []
        for index, path in enumerate(self.paths):
            module = backbone.get_submodule(path)
            if has_bias(module):
                handles += shadow(module, "bias", generated, index)
            else:
                handles.append(module.register_forward_hook(partial(self.add, generated, index)))
        return handles

    @staticmethod
    def add(
        generated: Callable[[], Sequence[Tensor | ByRow]],
        index: int,
        module: nn.Module,
        args: tuple[Any, ...],
        output: Float[Tensor, "*tokens width"],
    ) -> Float[Tensor, "*tokens width"]:
        """The hook after a module without a bias.

        Raises:
            InputError: the module gives several things, of which none is known to be its product.
        """
        if not isinstance(output, Tensor):
            raise InputError(f"BitFit: a {type(module).__name__} gives more than one tensor. Use another method.")
        return output + for_batch(generated()[index], output)


def has_bias(module: nn.Module) -> bool:
    """Whether a module has a bias of its own, a vector."""
    bias = module._parameters.get("bias")
    return bias is not None and bias.dim() == 1


def first_bias(module: nn.Module) -> Float[Tensor, " width"]:
    """A copy of a module's bias, or zeros as wide as its output."""
    if has_bias(module):
        bias = value_of(module, "bias")
        return torch.empty(bias.shape).copy_(bias)
    weight: Tensor = module.weight  # type: ignore[assignment]
    return torch.zeros(out_width(module) or weight.shape[0])


def bias_paths(backbone: nn.Module, structure: ModelStructure) -> list[str]:
    """Modules with a bias, and those that get one: linear layers and the norms inside layers.

    The final norm of a stack gets none, as in Compacter's published code; a task head is the Delta's already.
    """
    inner_norms = {path for path in structure.norms if re.search(r"\.\d+\.", path)}
    heads = {path.rpartition(".")[0] for path in structure.head}
    return [
        path
        for path, module in own_modules(backbone)
        if path not in heads and (has_bias(module) or isinstance(module, nn.Linear) or path in inner_norms)
    ]


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Every bias trains; linear layers and norms that have none get one of zeros (arXiv:2106.10199v1)."""

    learning_rate: ClassVar[float] = 3e-4
    many_tasks: ClassVar[bool] = True

    @property
    def separable(self) -> bool:
        """Every task has all of it for itself."""
        return True

    def check(self, structure: ModelStructure) -> None:
        """Every backbone will do."""

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part: the biases."""
        return {"biases": Biases(backbone, bias_paths(backbone, structure), tasks)}


PRESETS: dict[str, Method] = {"bitfit": BitFit()}

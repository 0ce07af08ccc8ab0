"""BitFit: training biases only (Ben Zaken et al., arXiv:2106.10199v1; on T5 as in Compacter, arXiv:2106.04647v2, §4.2).

A T5 has no biases: it gets new ones, which start at zero.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind, ModelStructure, module_at, out_width, own_modules, value_of
from hyperadapters.delta import (
    ByRow,
    Handle,
    Method,
    ParameterKind,
    Part,
    Place,
    Vocabulary,
    by_rows,
    for_batch,
    only,
    repeated,
    shadow,
)
from hyperadapters.layers import AdapterIndex, selected
from hyperadapters.methods.output_layer import _check_output_layer, _output_layer


class _Biases(Part):
    """The Delta's own bias for each of several modules; it starts as a copy, or at zero if the module has none.

    A module with a bias computes with the Delta's instead of its own. For a module without one, a hook adds the Delta's
    bias to the output. It is not passed to the matrix product, because PyTorch might then choose another kernel, whose
    result is not bit for bit the same.

    Args:
        backbone: the model.
        paths: the modules that get a bias.
        adapters: length of the adapter axis, one entry per task.
    """

    def __init__(self, backbone: nn.Module, paths: Sequence[str], adapters: int = 1) -> None:
        super().__init__()
        self.paths = tuple(paths)
        starts = [_first_bias(backbone.get_submodule(path)) for path in paths]
        self.widths = [start.numel() for start in starts]
        self.bias = nn.Parameter(repeated(torch.cat(starts), adapters))
        self._vocabulary = Vocabulary(backbone, paths)

    def kind(self, tensor: str) -> ParameterKind:
        """Return "bias" for every tensor."""
        return "bias"

    def generate(self, rows: AdapterIndex) -> list[Tensor | ByRow]:
        """Return the biases of the adapters that the rows use, in the order of the modules.

        Raises:
            InputError: the vocabulary was resized.
        """
        self._vocabulary.check()
        return by_rows(torch.split(only(selected(self.bias, rows.present), rows), self.widths, dim=-1), rows)

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Shadow the biases of modules that have one, and register a hook on modules that have none."""
        handles: list[Handle] = []
        for index, path in enumerate(self.paths):
            module = module_at(backbone, path)
            if _has_bias(module):
                handles += shadow(module, "bias", place(index))
            else:
                handles.append(module.register_forward_hook(partial(self.add, place(index))))
        return handles

    @staticmethod
    def add(
        bias: Callable[[], Tensor | ByRow],
        module: nn.Module,
        args: tuple[Any, ...],
        output: Float[Tensor, "*tokens width"],
    ) -> Float[Tensor, "*tokens width"]:
        """Add the Delta's bias to the output of a module without a bias (a forward hook).

        Raises:
            InputError: the module returns more than one tensor, so that it is not known where the bias belongs.
        """
        if not isinstance(output, Tensor):
            raise InputError(
                f"BitFit: {type(module).__name__} returns more than one tensor, so it is not known which of them gets "
                "the bias. Use another method."
            )
        return output + for_batch(bias(), output)


def _has_bias(module: nn.Module) -> bool:
    """Return whether a module has a bias that is a vector."""
    bias = module._parameters.get("bias")
    return bias is not None and bias.dim() == 1


def _first_bias(module: nn.Module) -> Float[Tensor, " width"]:
    """Return a copy of a module's bias, or zeros as wide as its output."""
    if _has_bias(module):
        bias = value_of(module, "bias")
        return torch.empty(bias.shape).copy_(bias)
    weight: Tensor = module.weight  # type: ignore[assignment]
    return torch.zeros(out_width(module) or weight.shape[0])


def _bias_paths(backbone: nn.Module, structure: ModelStructure) -> list[str]:
    """Return the paths of the modules with a bias, and of those that get one: linear layers and norms inside layers.

    The final norm of a stack gets none, as in Compacter's published code. A task head is left out because the Delta
    owns all of it already, and so is a pooler that the head reads past.
    """
    inner_norms = {path for path in structure.norms if re.search(r"\.\d+\.", path)}
    others = {path.rpartition(".")[0] for path in (*structure.head, *structure.unread)}
    return [
        path
        for path, module in own_modules(backbone)
        if path not in others and (_has_bias(module) or isinstance(module, nn.Linear) or path in inner_norms)
    ]


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """BitFit: every bias trains, and linear layers and norms without a bias get one (arXiv:2106.10199v1).

    On T5, which has no biases, it is BitFit as in Compacter (arXiv:2106.04647v2, §4.2). New biases start at zero, so
    the model is unchanged at first.
    """

    learning_rate: ClassVar[float] = 3e-4
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 5e-3}
    many_tasks: ClassVar[bool] = True

    output_layer: bool = False
    """Train the output layer too (Compacter, Table 7). If it is tied to the embeddings, they train with it."""

    @property
    def separable(self) -> bool:
        """Whether tasks share no tensor: they do not, unless the output layer trains."""
        return not self.output_layer

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if an output layer is to train but there is none."""
        if self.output_layer:
            _check_output_layer(self, structure)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the biases and, if it trains, the output layer.

        Raises:
            InputError: the output layer is to train for several tasks.
        """
        parts: dict[str, Part] = {"biases": _Biases(backbone, _bias_paths(backbone, structure), tasks)}
        return parts | (_output_layer(self, backbone, structure, tasks) if self.output_layer else {})


PRESETS: dict[str, Method] = {"bitfit": BitFit()}

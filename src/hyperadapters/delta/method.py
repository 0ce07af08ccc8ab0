"""What a method is: a frozen dataclass that, given a backbone, builds the parts of a Delta."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from torch import nn

from hyperadapters._utils import InputError, settings
from hyperadapters.backbones import BackboneKind, ModelStructure

if TYPE_CHECKING:
    from hyperadapters.delta.part import Part


_SMALL_WIDTHS: dict[BackboneKind, int] = {"encoder": 384, "encoder-decoder": 144}
"""Widths of MiniLM-L6 and of the T5 inside the package, on which `Method.small_rates` were chosen."""

_LARGE_WIDTH = 768
"""The width of T5-base, for which the papers chose `Method.learning_rate`."""


class Method(ABC):
    """A way to adapt a backbone: the base class of all methods, each a frozen dataclass of its hyperparameters."""

    many_tasks: ClassVar[bool] = False
    """Whether one Delta can hold several tasks, with each row of a batch using its own."""
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {}
    """The learning rates to start from on small backbones, by their kind: an encoder 384 wide, an encoder-decoder 144
    wide; chosen on validation sets (experiments/own_rates.py). A kind that is not there: as on large ones."""

    large_rates: ClassVar[Mapping[BackboneKind, float]] = {}
    """The learning rates to start from on backbones as wide as T5-base and wider, of kinds that want another one than
    `learning_rate`."""

    entry_rates: ClassVar[Mapping[BackboneKind, float]] = {}
    """The learning rates to start from where what one task has for itself trains alone (`Delta.train_only`), by kind of
    backbone; a kind that is not there: as where everything trains."""

    def __post_init__(self) -> None:
        """Raise InputError if a field holds what it cannot, such as a misspelt choice."""
        settings.check(self, "method")

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """The learning rate to start from: Compacter's choice for T5-base on GLUE (arXiv:2106.04647v2, appendix A)."""

    def suggested_rate(self, kind: BackboneKind, d_model: int, *, entry_only: bool = False) -> float:
        """Return the learning rate to start from on a backbone: the wider it is, the lower.

        `large_rates`, or else `learning_rate`, hold from T5-base's width on, `small_rates` down from the width on which
        they were chosen; in between, the rate is a power of the width that meets both. A decoder, of which no small one
        was measured, has the rates of an encoder-decoder.

        Args:
            kind: of the backbone.
            d_model: its width.
            entry_only: whether only what one task has for itself trains: `entry_rates` are of any width.

        Raises:
            InputError: there is no such kind, or no such width.
        """
        if kind not in get_args(BackboneKind) or d_model < 1:
            kinds = ", ".join(get_args(BackboneKind))
            raise InputError(f"kind={kind!r}, d_model={d_model}: one of {kinds} is needed, and a width of 1 or more.")
        like: BackboneKind = "encoder" if kind == "encoder" else "encoder-decoder"
        if entry_only and like in self.entry_rates:
            return self.entry_rates[like]
        large = self.large_rates.get(like, self.learning_rate)
        small, narrow = self.small_rates.get(like, large), _SMALL_WIDTHS[like]
        share = (math.log(d_model) - math.log(narrow)) / (math.log(_LARGE_WIDTH) - math.log(narrow))
        rate = small * (large / small) ** min(1.0, max(0.0, share))
        return float(f"{rate:.2g}")

    @property
    def separable(self) -> bool:
        """Whether the tasks of one Delta share no tensor, so that adapters trained separately can be pooled."""
        return False

    @property
    def shared_head(self) -> bool:
        """Whether the tasks of one Delta share one task head, rather than having one each."""
        return False

    @property
    def extra_tokens(self) -> int:
        """The number of positions that the method takes in addition to a text's tokens."""
        return 0

    @property
    def label(self) -> str:
        """The method's name in texts and in names of runs, if it has no preset."""
        return type(self).__name__

    def changed(self, changes: Mapping[str, Any]) -> "Method":
        """Return a copy with some fields changed.

        Args:
            changes: new values by field name; they may be text, as given on the command line.

        Raises:
            InputError: a field is unknown or a value has a wrong type; the error lists all such problems.
        """
        return settings.updated(self, changes, "method")

    def plain(self) -> "Method":
        """Return the method for a single task that `Delta.bake` turns one of this method's tasks into.

        Raises:
            InputError: no task has weights of its own.
        """
        return self

    @abstractmethod
    def check(self, structure: ModelStructure) -> None:
        """Raise InputError, saying which values would work, if the method's fields do not fit the backbone.

        Args:
            structure: of the backbone.
        """

    @abstractmethod
    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> "dict[str, Part]":
        """Build the parts of a new Delta, initialised as the method's paper says. The backbone is not changed.

        Args:
            backbone: the model to adapt.
            structure: of the backbone.
            tasks: length of the adapter axis; 1 unless `many_tasks`.

        Returns:
            The parts by name; the names begin the keys of saved tensors.

        Raises:
            InputError: the method cannot be built on this backbone, or not for this number of tasks.
        """


def method_to_json(method: Method) -> dict[str, Any]:
    """Return a method's type and all its fields as plain JSON.

    Args:
        method: any method.
    """
    return {"type": type(method).__name__, **settings.dump(method)}


def check_writable(method: Method, structure: ModelStructure) -> None:
    """Raise InputError if the backbone has quantised or offloaded tensors, for a method that changes every tensor.

    Args:
        method: the method, for the error.
        structure: of the backbone.
    """
    for state, paths in (("quantised", structure.quantized), ("offloaded", structure.offloaded)):
        if paths:
            raise InputError(
                f"{type(method).__name__} moves every tensor of the backbone, but {len(paths)} are {state} "
                f"({paths[0]} …). Use an adapter method, or a backbone that is not {state}."
            )

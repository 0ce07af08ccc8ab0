"""What a method is: a frozen dataclass that, given a backbone, builds the parts of a Delta."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from hyperadapters._utils import InputError, settings
from hyperadapters.backbones import EMBEDDED, ModelStructure

if TYPE_CHECKING:
    from hyperadapters.delta.part import Part


class Method(ABC):
    """A way to adapt a backbone. Concrete methods are frozen dataclasses of their own knobs."""

    many_tasks: ClassVar[bool] = False
    """Whether one Delta can hold several tasks, each row of a batch using its own."""
    embedded_rate: ClassVar[float | None] = None
    """The learning rate to start from on the T5 inside the package, found by validation on demo tasks
    (docs/embedded.md); None: the same as elsewhere."""

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """The rate to start from: what Compacter (arXiv:2106.04647v2, appendix A) chose for it on GLUE at T5-base."""

    def suggested_rate(self, backbone: str) -> float:
        """Return the learning rate to start from on a backbone.

        Args:
            backbone: its name, as `load_backbone` takes it.
        """
        return self.embedded_rate or self.learning_rate if backbone == EMBEDDED else self.learning_rate

    @property
    def separable(self) -> bool:
        """Whether a Delta of many tasks holds what one Delta a task would: then those trained apart can be pooled."""
        return False

    @property
    def extra_tokens(self) -> int:
        """How many positions it takes beside a text's own."""
        return 0

    @property
    def label(self) -> str:
        """What it is called where no preset is of its type, and in the names of runs where none is like it."""
        return type(self).__name__

    def changed(self, changes: Mapping[str, Any]) -> "Method":
        """The same with some fields changed; values may be text, as the command line gives them.

        Raises:
            InputError: unknown fields or values of a wrong type, all of them in one error.
        """
        return settings.updated(self, changes, "method")

    def plain(self) -> "Method":
        """The method of one task alone that `Delta.bake` turns this one's tasks into."""
        return self

    @abstractmethod
    def check(self, structure: ModelStructure) -> None:
        """Raise InputError, naming what would do, if the method's fields do not fit the backbone."""

    @abstractmethod
    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> "dict[str, Part]":
        """The parts of a fresh Delta for so many tasks, initialised as the paper says, by name.

        Changes nothing in the backbone. `tasks` is 1 unless `many_tasks`.
        """


def method_to_json(method: Method) -> dict[str, Any]:
    """The whole method as plain JSON."""
    return {"type": type(method).__name__, **settings.dump(method)}


def check_writable(method: Method, structure: ModelStructure) -> None:
    """Raise InputError if a method that moves every tensor of the backbone meets quantised or offloaded ones."""
    for what, found in (("quantised", structure.quantized), ("offloaded", structure.offloaded)):
        if found:
            raise InputError(
                f"{type(method).__name__} moves every tensor of the backbone, but {len(found)} are {what} "
                f"({found[0]} …). Use an adapter method, or a backbone that is not {what}."
            )

"""What the layers of a backbone return in one pass, and what makes the input of the first of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from hyperadapters.backbones.kinds import Stack
from hyperadapters.backbones.watched_passes import _PassRows, _WatchedStacks


class LayerOutput(NamedTuple):
    """What a layer returned in a pass."""

    states: Tensor | None
    """The hidden states; None if what it returned does not begin with them."""
    in_tuple: int
    """How many things it returned in a tuple; 0: no tuple."""
    has_extras: bool
    """Whether there are tensors among the others."""
    needs_gradients: bool
    """Whether a gradient goes back through any of them."""
    calls: int
    """How often the layer was called in the pass."""


class CapturedLayers(_WatchedStacks):
    """A context that keeps what layers return, and the rows of the pass, for one pass at a time.

    Args:
        backbone: a model of the transformers library.
        entries: the path of the module that each stack's pass begins with, the first stack first.
        pad: the token that fills up a decoder's rows, which have no mask.
        layers: paths of the layers of each stack, by their number.
        last: the stack and the layer after which the pass is broken off (`captured_pass`); None: it ends as ever.
    """

    def __init__(
        self,
        backbone: nn.Module,
        entries: Mapping[Stack, str],
        pad: int,
        layers: Mapping[Stack, Mapping[int, str]],
        last: tuple[Stack, int] | None = None,
    ) -> None:
        super().__init__(backbone, entries, pad)
        self._layers, self._last = layers, last
        self.rows: dict[Stack, _PassRows | None] = {}
        """Of the pass, by stack."""
        self.outputs: dict[Stack, dict[int, LayerOutput]] = {stack: {} for stack in layers}
        """What each layer returned, by stack and number."""

    def install(self) -> Iterator[Callable[[], None]]:
        """Note what each layer returns."""
        for stack, layers in self._layers.items():
            for number, path in layers.items():
                layer = self._backbone.get_submodule(path)
                note = partial(self._note, stack, number)
                yield layer.register_forward_hook(note, prepend=True).remove  # before what is added beside it

    def begin(self, stack: Stack, rows: "_PassRows | None") -> None:
        """Forget the pass before."""
        self.rows[stack] = rows
        if stack in self.outputs:
            self.outputs[stack] = {}

    def _note(self, stack: Stack, number: int, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        given = output if isinstance(output, tuple) else (output,)
        tensors = [value for value in given if isinstance(value, Tensor)]
        states = given[0] if given and isinstance(given[0], Tensor) and given[0].dim() == 3 else None
        before = self.outputs[stack].get(number)
        self.outputs[stack][number] = LayerOutput(
            states,
            len(output) if isinstance(output, tuple) else 0,
            any(value is not states for value in tensors),
            any(value.requires_grad for value in tensors),
            1 + (before.calls if before else 0),
        )
        if (stack, number) == self._last:
            raise _BrokenOffError


class _BrokenOffError(Exception):
    """A pass has come to the last layer of which something was wanted."""


def captured_pass(captured: CapturedLayers, compute: Callable[[], object]) -> None:
    """Compute a pass, as far as its last layer that is captured.

    Args:
        captured: is entered, and left again.
        compute: calls the model.
    """
    with captured, suppress(_BrokenOffError):
        compute()


def feed_of(backbone: nn.Module, layer: str, compute: Callable[[], object]) -> str:
    """Return the path of the module whose output is the input of a stack's first layer; empty: it is no module's alone.

    Of several, the one that is called first: all of an encoder's embeddings, say, and not their dropout.

    Args:
        backbone: a model of the transformers library, in evaluation mode.
        layer: the path of the first layer.
        compute: calls the model.
    """
    places = [path for path, _ in backbone.named_modules(remove_duplicate=False)]
    modules = {path: backbone.get_submodule(path) for path in places if path and not f"{layer}.".startswith(f"{path}.")}
    often = Counter(map(id, (backbone.get_submodule(path) for path in places)))
    began: dict[str, int] = {}
    made: dict[str, list[Any]] = {}
    given: list[Any] = []

    def begin(path: str, *_: Any) -> None:
        began.setdefault(path, len(began))

    def end(path: str, module: nn.Module, args: Any, output: Any) -> None:
        made.setdefault(path, []).append(output)

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.append(args[0] if args else kwargs.get("hidden_states"))
        raise _BrokenOffError

    handles = [backbone.get_submodule(layer).register_forward_pre_hook(stop, with_kwargs=True)]
    for path, module in modules.items():
        if often[id(module)] == 1:
            handles.append(module.register_forward_pre_hook(partial(begin, path)))
            handles.append(module.register_forward_hook(partial(end, path)))
    try:
        with suppress(_BrokenOffError):
            compute()
    finally:
        for handle in handles:
            handle.remove()
    alike = [path for path, outputs in made.items() if len(outputs) == 1 and given and outputs[0] is given[0]]
    return min(alike, key=began.__getitem__, default="")

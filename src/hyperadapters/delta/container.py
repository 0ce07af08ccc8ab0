"""The Deltas of a backbone, which are submodules of it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from hyperadapters._utils import InputError, few_names
from hyperadapters.backbones import CONTAINER, disable_bnb_cpu_packing, inner_model
from hyperadapters.delta.saved_backbone import _change_saving, _give_back_saving

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


class _Deltas(nn.ModuleDict):
    """The Deltas of a backbone by key, and which of its parameters required gradients before the first was attached."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self._required = {name: tensor.requires_grad for name, tensor in backbone.named_parameters()}

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Refuse a state dict of other Deltas than those that are attached.

        Trainer and others load without `strict`, so that a Delta of another name would keep the values that it has.

        Raises:
            InputError: it holds a Delta that is not attached, and not all that are.
        """
        there = {key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix)}
        here = {*self._modules}
        if there - here and here - there:
            raise InputError(
                f"what is loaded holds the Delta(s) {few_names(sorted(there))}, and the backbone has "
                f"{few_names(sorted(here))}: attach under the name that was saved, or load with ha.load."
            )
        super()._load_from_state_dict(state, prefix, *rest)

    def give_back(self, backbone: nn.Module) -> None:
        """Let a backbone's parameters require gradients as before."""
        for name, tensor in backbone.named_parameters():
            if self._required.get(name, False):
                tensor.requires_grad_()


def attached(backbone: nn.Module) -> "list[Delta]":
    """Return the Deltas that are attached to a backbone, in the order in which they were attached.

    Args:
        backbone: a model of the transformers library, or of sentence-transformers around one.
    """
    container = getattr(inner_model(backbone), CONTAINER, None)
    found: list[Delta] = list(container.values()) if container is not None else []
    return [delta.join(backbone) for delta in found]


def register(delta: "Delta") -> None:
    """Make a Delta a submodule of its backbone, and freeze the backbone's own parameters until the last is detached.

    Args:
        delta: a Delta that is not attached.
    """
    backbone = delta.backbone
    for other in attached(backbone):
        other.rest()
    if not hasattr(backbone, CONTAINER):
        backbone.add_module(CONTAINER, _Deltas(backbone))
        _change_saving(backbone)
    backbone.requires_grad_(False)
    disable_bnb_cpu_packing(backbone)
    getattr(backbone, CONTAINER)[_key(delta.name)] = delta
    delta.train(backbone.training)


def _unregister(delta: "Delta") -> None:
    """Remove a Delta from its backbone's submodules, if it is one of them."""
    if delta in attached(delta.backbone):
        container = getattr(delta.backbone, CONTAINER)
        del container[_key(delta.name)]
        if not len(container):
            delattr(delta.backbone, CONTAINER)
            _give_back_saving(delta.backbone)
            container.give_back(delta.backbone)


@contextmanager
def at_rest(backbone: nn.Module) -> Iterator[None]:
    """Restore the backbone to what it was before any Delta, inside this context: no Delta is in use.

    Args:
        backbone: a model of the transformers library.
    """
    with ExitStack() as stack:
        for delta in attached(backbone):
            stack.enter_context(delta.disabled())
        yield


def check_name(backbone: nn.Module, name: str) -> None:
    """Raise InputError if a Delta of this backbone cannot have this name.

    Args:
        backbone: a model of the transformers library.
        name: of a new Delta.
    """
    if not name or "." in name:
        raise InputError(f"a Delta cannot be called {name!r}: use a name without dots, such as {'mrpc'!r}.")
    if _key(name) in getattr(backbone, CONTAINER, ()):
        raise InputError(f"the backbone has a Delta {name!r} already: use another name, or detach that one first.")


def _key(name: str) -> str:
    """Return a Delta's key in the container: its name, with a prefix if modules have an attribute such as "train".

    So the names of its parameters hold `.<name>.`, by which TRL tells the parameters of PEFT's adapters.
    """
    return f"delta:{name}" if hasattr(_Deltas(nn.Module()), name) else name

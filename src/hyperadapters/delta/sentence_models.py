"""What a Delta changes of a model of sentence-transformers around its backbone, while it is in use.

Three things there know nothing of adapters. `encode` and `predict` sort sentences by length, so adapters that were
given for sentences (`rows`) must follow them into their batches. `preprocess` and `forward` of the Transformer module
carry them there. And a trainer that resumes builds a second model from the checkpoint's folder, which holds what trains
and no backbone: that model is a copy of this one, with the checkpoint's tensors.

The sentence-transformers library finds methods on classes, so the Transformer module gets a class of the same name,
with three methods more. It has its own again when the Delta is put to rest.
"""

import copy
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hyperadapters._utils import InputError, few_names
from hyperadapters.backbones import device_of
from hyperadapters.delta.frozen_by_others import _warn_if_frozen
from hyperadapters.layers import index_of

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta

_ADAPTERS = "hyperadapters_rows"
"""The key under which the features of a batch hold the number of each row's adapter."""

_DELTA = "_hyperadapters_delta"
"""The attribute of a Transformer module that holds the Delta in use."""

_METHODS = ("encode", "predict")
"""The methods that sort their inputs."""


class _JoinedModel:
    """What a Delta has changed of the model around its backbone, until `remove`.

    Args:
        delta: that is put in use.
        model: the SentenceTransformer, CrossEncoder or relative.
    """

    def __init__(self, delta: "Delta", model: nn.Module) -> None:
        self.model = model
        self.module = next(m for m in model.modules() if vars(m).get("_modules", {}).get("model") is delta.backbone)
        self.usual = type(self.module)
        """The module's own class."""
        self.module.__class__ = _class_for(self.usual, delta)
        object.__setattr__(self.module, _DELTA, delta)
        for name in _METHODS:
            if hasattr(type(model), name):
                vars(model)[name] = partial(_follow_rows, model, name, delta)

    def remove(self) -> None:
        """Give the model its own methods again."""
        self.module.__class__ = self.usual
        vars(self.module).pop(_DELTA, None)
        for name in _METHODS:
            vars(self.model).pop(name, None)


def _follow_rows(model: nn.Module, name: str, delta: "Delta", *arguments: Any, **options: Any) -> Any:
    """Encode or score inputs, each with the adapter that `rows` gives it, in whatever order they are computed.

    Args:
        model: of sentence-transformers.
        name: of its method.
        delta: in use.
        arguments: of the method, the inputs first.
        options: the same, by name.

    Raises:
        InputError: there is not one adapter for each input, or the inputs go to several processes.
    """
    usual: Any = getattr(type(model), name)
    index = delta._rows.chosen()
    if index is None or index.count is None:
        return usual(model, *arguments, **options)
    key = next((key for key in ("inputs", "sentences") if key in options), None)
    inputs = options.pop(key) if key else arguments[0]
    several: Any = model
    items = [inputs] if several.is_singular_input(inputs) else list(inputs)
    if len(items) != index.count:
        raise InputError(
            f"{name} was given {len(items)} inputs, and `rows` {index.count} tasks: give one task for each."
        )
    if options.get("pool") is not None or isinstance(options.get("device"), list):
        raise InputError(
            f"rows of different tasks cannot go to several processes: leave pool and devices out of {name}."
        )
    marked = [_marked(item, number) for item, number in zip(items, index.numbers(), strict=True)]
    return usual(model, marked, *arguments[0 if key else 1 :], **options)


@cache
def _marked_kind(kind: type) -> type:
    return type(f"Marked{kind.__name__}", (kind,), {"adapter": -1})


def _marked(item: Any, adapter: int) -> Any:
    """Return an input that says which adapter it uses.

    Raises:
        InputError: it is neither text nor made of texts.
    """
    kind = next((kind for kind in (str, list, tuple, dict) if isinstance(item, kind)), None)
    if kind is None:
        raise InputError(f"rows of different tasks are for texts; an input is a {type(item).__name__}.")
    found = _marked_kind(kind)(item)
    found.adapter = adapter
    return found


def _plain(item: Any) -> Any:
    """Return an input without what `_marked` added."""
    return type(item).__mro__[1](item) if hasattr(item, "adapter") else item


def _class_for(usual: Any, delta: "Delta | None") -> type[nn.Module]:
    """Return a Transformer module's class with the methods that know of adapters.

    It has the name of the usual one, which is what is saved in `modules.json` and looked for when a trainer resumes.

    Args:
        usual: the class of sentence-transformers.
        delta: what modules of this class that a trainer makes from a checkpoint are copies of; None: a module that is
            being copied, which takes that of its copied state.
    """

    class Transformer(usual):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:  # by its name a copy would be of the usual class
            return _blank, (usual,), self.__dict__

        def __setstate__(self, state: dict[str, Any]) -> None:
            super().__setstate__(state)
            object.__setattr__(self, "__class__", _class_for(usual, vars(self)[_DELTA]))

        def preprocess(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
            adapters = [getattr(item, "adapter", None) for item in inputs]
            features = super().preprocess([_plain(item) for item in inputs], *arguments, **options)
            return features if None in adapters else {**features, _ADAPTERS: adapters}

        def forward(self, features: Any, **options: Any) -> Any:
            adapters, own = features.pop(_ADAPTERS, None), vars(self)[_DELTA]
            _warn_if_frozen(own, self, features)  # the backbone's hook is passed by: its `forward` is called
            if adapters is None:
                return super().forward(features, **options)
            with own.rows(index_of(adapters, device_of(own.backbone))):
                return super().forward(features, **options)

        def _load_config(self, *arguments: Any, **options: Any) -> tuple[Any, bool]:
            assert delta is not None
            return copy.deepcopy(delta.backbone.config), False

        def _load_model(self, place: str, *arguments: Any, **options: Any) -> nn.Module:
            assert delta is not None
            return _copy_with(delta.backbone, Path(place))

    for name in ("__module__", "__name__", "__qualname__"):
        setattr(Transformer, name, getattr(usual, name))
    return Transformer


def _blank(usual: Any) -> Any:
    """Return a Transformer module without state, which a copy is made from."""
    kind = _class_for(usual, None)
    return kind.__new__(kind)


def _copy_with(backbone: nn.Module, folder: Path) -> nn.Module:
    """Return a copy of an attached backbone with the tensors of a checkpoint.

    Args:
        backbone: with the Delta that trains.
        folder: of the checkpoint.

    Raises:
        InputError: the checkpoint holds other tensors than train here.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 (needed for checkpoints only)

    found = {
        name: tensor for path in sorted(folder.glob("model*.safetensors")) for name, tensor in load_file(path).items()
    }
    trains = {name for name, tensor in backbone.named_parameters() if tensor.requires_grad}
    wrong = sorted((found.keys() - backbone.state_dict().keys()) | (trains - found.keys()))
    if wrong:
        raise InputError(
            f"the checkpoint {folder} is of other adapters than are attached ({few_names(wrong)}). Attach what it was "
            "trained with, under the same name."
        )
    copied = copy.deepcopy(backbone)
    copied.load_state_dict(found, strict=False)
    return copied

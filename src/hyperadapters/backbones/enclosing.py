"""Models that hold a model of transformers: SentenceTransformer, CrossEncoder and their relatives."""

from typing import Any

from torch import nn

from hyperadapters._utils import InputError

_INNER = "transformers_model"
"""The property under which models of sentence-transformers give the model of transformers inside them."""


def inner_model(model: nn.Module) -> nn.Module:
    """Return the model of transformers inside a model of sentence-transformers; any other model as it is.

    Args:
        model: a model.

    Raises:
        InputError: it is of sentence-transformers, and holds no model of transformers in PyTorch.
    """
    if not hasattr(type(model), _INNER):
        return model
    inner: Any = getattr(model, _INNER)
    if not isinstance(inner, nn.Module):
        held = "static embeddings" if inner is None else f"a {type(inner).__name__}"
        raise InputError(
            f"this {type(model).__name__} holds no model of transformers in PyTorch, but {held}: there is nothing to "
            'attach to. Load one with a transformer, and with backend="torch".'
        )
    return inner

"""The size of the vocabulary that a Delta's tensors fit."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hyperadapters._utils import InputError


class Vocabulary:
    """The size of a backbone's vocabulary when a Delta was attached whose tensors fit no other.

    Args:
        backbone: the model; one that is none of the transformers library has no output layer.
        paths: of the modules whose tensors the Delta trains: the size matters where the output layer is one of them.
            None: it changes all of the backbone's, so that the size matters in any case.
    """

    def __init__(self, backbone: nn.Module, paths: Iterable[str] | None = None) -> None:
        output = getattr(backbone, "get_output_embeddings", lambda: None)()
        trained = paths is None or any(output is not None and backbone.get_submodule(path) is output for path in paths)
        self._config: Any = backbone.config.get_text_config() if trained else None  # type: ignore[union-attr, operator]
        self._changed = "all of its tensors" if paths is None else "tensors of the output layer"
        self._size = getattr(self._config, "vocab_size", 0)

    def check(self) -> None:
        """Raise InputError if the vocabulary has another size now.

        The Delta's tensors would be too short or too long, or hooks would stand on a layer that was replaced.
        """
        if self._config is None or torch.compiler.is_compiling():
            return
        size = getattr(self._config, "vocab_size", 0)  # images have none
        if size != self._size:
            raise InputError(
                f"the backbone's vocabulary has {size} tokens, but {self._size} when the Delta was "
                f"attached, which changes {self._changed}. Resize first (resize_token_embeddings), then attach; or use "
                "a method that leaves them as they are."
            )

"""Answers that the backbone generates."""

from typing import Any

from jaxtyping import Int
from torch import Tensor, nn


def _generate_tokens(
    backbone: nn.Module, source: dict[str, Tensor], tokenizer: Any, **options: int
) -> Int[Tensor, "batch seq"]:
    """Return what the backbone generates without sampling; `options` are those of transformers' `generate`."""
    tokens: Tensor = backbone.generate(  # type: ignore[operator]
        **source,
        **options,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return tokens


def _tokens_to_texts(tokens: Int[Tensor, "batch seq"], tokenizer: Any) -> list[str]:
    """Return generated tokens as text, without special tokens, stripped."""
    return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]

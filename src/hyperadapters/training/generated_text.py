"""Answers that the backbone generates."""

from typing import Any

from jaxtyping import Int
from torch import Tensor, nn


def _generate_tokens(
    backbone: nn.Module, source: dict[str, Tensor], tokenizer: Any, **options: int | None
) -> Int[Tensor, "batch seq"]:
    """Return the likeliest tokens that the backbone generates.

    The backbone's own `generation_config` has no say: what it asks for (a least length, no repeated n-grams, sampling,
    suppressed tokens) suits what the backbone was published for, not what a Delta was trained to answer.

    Args:
        backbone: an encoder-decoder or a decoder.
        source: what it reads.
        tokenizer: its tokenizer, which says how an answer ends.
        options: those of transformers' `generate`.
    """
    from transformers import GenerationConfig  # noqa: PLC0415 (slow to import)

    settings = GenerationConfig(
        **options,
        do_sample=False,
        bos_token_id=getattr(tokenizer, "bos_token_id", None),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    tokens: Tensor = _with_generation_config(backbone, settings).generate(  # type: ignore[operator]
        **source, generation_config=settings
    )
    return tokens


def _with_generation_config(backbone: nn.Module, settings: Any) -> nn.Module:
    """Return a model that shares all of a backbone but its `generation_config`.

    `generate` fills what is not set from the model's own `generation_config`, and None cannot be set. To exchange that
    of the backbone itself would change what other threads generate.
    """
    twin: nn.Module = object.__new__(type(backbone))
    twin.__dict__.update(vars(backbone))
    twin.__dict__["generation_config"] = settings
    return twin


def _tokens_to_texts(tokens: Int[Tensor, "batch seq"], tokenizer: Any) -> list[str]:
    """Return generated tokens as text, without special tokens, stripped."""
    return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]

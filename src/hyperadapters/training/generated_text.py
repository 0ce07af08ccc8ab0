"""Answers that the backbone generates."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from hyperadapters.training.encoding import Decoding
from hyperadapters.training.row_generation import RowGeneration, _RowSettings


def _generate_answers(
    backbone: nn.Module,
    source: dict[str, Tensor],
    tokenizer: Any,
    decoding: Decoding,
    generated: Sequence[RowGeneration] = (),
    **first: int | None,
) -> Int[Tensor, "batch seq"]:
    """Return the tokens that the backbone generates as an answer to each row.

    Args:
        backbone: an encoder-decoder or a decoder.
        source: what it reads.
        tokenizer: its tokenizer, which says how an answer ends.
        decoding: most tokens, beams, and whether the backbone's own `generation_config` holds.
        generated: settings of each row, where there are no beams; none: those of `decoding`.
        first: how an answer begins, by the names of transformers' `generate`.
    """
    options: dict[str, Any] = {"max_new_tokens": decoding.target_length, **first}
    if generated:
        options["max_new_tokens"] = max(row.most for row in generated)
        options |= {"do_sample": False, "hooks": _RowSettings(generated, [tokenizer.eos_token_id]).hooks()}
    if decoding.generation_config == "neutral":
        return _generate_tokens(backbone, source, tokenizer, num_beams=decoding.beams, **options)
    if decoding.beams > 1:
        options["num_beams"] = decoding.beams
    own = {**backbone.generation_config.to_dict(), **_ONE_ANSWER}  # type: ignore[union-attr, operator]
    return _generate_tokens(backbone, source, tokenizer, **{**own, **options})


_ONE_ANSWER = dict.fromkeys(
    ("max_length", "num_return_sequences", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id")
)
"""What a backbone's own settings do not decide: a row has one answer of `target_length`, whose ends training showed."""


def _generate_tokens(
    backbone: nn.Module, source: dict[str, Tensor], tokenizer: Any, *, hooks: Any = None, **options: Any
) -> Int[Tensor, "batch seq"]:
    """Return the likeliest tokens that the backbone generates.

    Nothing but `options` decides them. What the backbone's own `generation_config` asks for (a least length, no
    repeated n-grams, sampling, suppressed tokens) suits what it was published for, not what a Delta was trained to
    answer.

    Args:
        backbone: an encoder-decoder or a decoder.
        source: what it reads.
        tokenizer: its tokenizer, which says how an answer ends.
        hooks: arguments of `generate` beside its configuration, by name; None: there are none.
        options: those of transformers' `generate`.
    """
    from transformers import GenerationConfig  # noqa: PLC0415 (slow to import)

    ends = {
        "bos_token_id": getattr(tokenizer, "bos_token_id", None),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    settings = GenerationConfig(**{"do_sample": False, **options, **ends})
    tokens: Tensor = _with_generation_config(backbone, settings).generate(  # type: ignore[operator]
        **source, **(hooks or {}), generation_config=settings
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

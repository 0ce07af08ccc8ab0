"""Prompt tuning: trained vectors in front of the input's embeddings (Lester et al., arXiv:2104.08691v2).

On an encoder-decoder the prompt stands in front of the *encoder's* embeddings only, as in Compacter
(arXiv:2106.04647v2, §4.2). On a decoder it stands in front of the decoder's; on an encoder after the first token, whose
position the head reads.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters._utils import InputError, PerThread
from hyperadapters.backbones import (
    BackboneKind,
    ModelStructure,
    cache_in,
    cached_tokens,
    holds_tokens,
    module_at,
    positions_of,
    value_of,
)
from hyperadapters.delta import (
    ByRow,
    Handle,
    Method,
    ParameterKind,
    Part,
    Place,
    by_rows,
    only,
    repeated,
)
from hyperadapters.layers import AdapterIndex, per_row, selected

_PromptInit = Literal["random", "vocabulary"]

_MARK = "hyperadapters_prompt"
"""Attribute of a cache that holds a prompt: the prompt's length. Copies of the cache keep it."""

_BY_TOKEN = {"token_type_ids", "global_attention_mask"}
"""Arguments of a stack with a value per token; they are extended by zeros for the prompt."""


class _PassOfThread(PerThread):
    """The pass that a thread computes."""

    def __init__(self) -> None:
        self.prepended = False
        """Whether the prompt is in the pass's input, and not in its cache."""


class _Prompt(Part):
    """Vectors in front of the first stack's embeddings, before their dropout; masks and positions are extended.

    The hooks are on the stacks, so they also run in `generate`, which calls encoder and decoder separately. The prompt
    takes the first positions, and the text those after it; with relative positions, as in T5, distances between tokens
    of the text do not change. The output of a backbone with a single stack contains the text's positions only, so that
    heads and labels fit. An encoder's first token, which heads read, remains before the prompt.

    Args:
        structure: of the backbone.
        vectors: initial values of the prompt; the width is that of the embeddings.
        adapters: length of the adapter axis, one prompt per task.
    """

    def __init__(self, structure: ModelStructure, vectors: Float[Tensor, "prompt_length width"], adapters: int = 1):
        super().__init__()
        self.entries = tuple(structure.entries.values())
        self.before = 1 if structure.stacks == ("encoder",) else 0
        self.counts_tokens = structure.stacks == ("decoder",)
        """Whether positions that a caller leaves out are counted in the mask. A decoder's padding is on the left, and
        would otherwise stand between prompt and text."""
        self.vectors = nn.Parameter(repeated(vectors, adapters))
        self.pass_of_thread = _PassOfThread()

    def kind(self, tensor: str) -> ParameterKind:
        """Return "prompt" for the vectors."""
        return "prompt"

    def generate(self, rows: AdapterIndex) -> list[Tensor | ByRow]:
        """Return the vectors of the adapters that the rows use."""
        return by_rows([only(selected(self.vectors, rows.present), rows)], rows)

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register a pre-hook on every stack, and a hook after the stack if there is only one."""
        first, *others = (module_at(backbone, entry) for entry in self.entries)
        names = tuple(inspect.signature(first.forward).parameters)
        prepend = partial(self.prepend, place(0), names)
        handles: list[Handle] = [first.register_forward_pre_hook(prepend, with_kwargs=True)]
        handles += [other.register_forward_pre_hook(self.attend, with_kwargs=True) for other in others]
        if not others:
            handles.append(first.register_forward_hook(self.cut, with_kwargs=True))
        return handles

    def prepend(
        self,
        vectors: Callable[[], Tensor | ByRow],
        names: Sequence[str],
        stack: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Replace the tokens by their embeddings, with the prompt inserted (a pre-hook of the first stack).

        A pass that continues from a cache finds the prompt in the cache. `names` are the stack's arguments, in order.

        Raises:
            InputError: the cache has no room for the prompt, was filled without it, or holds other tokens than the
                attention mask says.
        """
        kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
        cache, length = cache_in(kwargs), self.vectors.shape[1]
        _check_room(cache)
        self.pass_of_thread.prepended = not holds_tokens(cache)
        if not self.pass_of_thread.prepended:
            return (), self.continued(kwargs, cache, by_mask="position_ids" in names)
        own = vectors()
        kwargs["attention_mask"] = _extended(kwargs.get("attention_mask"), length)
        positions = kwargs.get("position_ids")
        embeddings, tokens = kwargs.pop("inputs_embeds", None), kwargs.pop("input_ids", None)
        if embeddings is None:
            embeddings = stack.get_input_embeddings()(tokens)  # type: ignore[operator]
        rows = _per_batch(own, len(embeddings)).type_as(embeddings)
        kwargs["inputs_embeds"] = torch.cat([embeddings[:, : self.before], rows, embeddings[:, self.before :]], dim=1)
        if positions is not None:
            new = torch.arange(length, device=positions.device).expand(*positions.shape[:-1], -1)
            kwargs["position_ids"] = torch.cat([new, positions + length], dim=-1)
        elif self.counts_tokens and "position_ids" in names and kwargs["attention_mask"] is not None:
            kwargs["position_ids"] = _positions_in(kwargs["attention_mask"])
        for name in _BY_TOKEN & kwargs.keys():
            if kwargs[name] is not None:
                first, rest = kwargs[name][:, : self.before], kwargs[name][:, self.before :]
                kwargs[name] = torch.cat([first, F.pad(rest, (length, 0))], dim=1)
        if cache is not None:
            _mark(cache, length)
        return (), kwargs

    def continued(self, kwargs: dict[str, Any], cache: Any, *, by_mask: bool) -> dict[str, Any]:
        """Return the arguments of a pass that continues from a cache: mask and positions are moved by the prompt.

        Where positions are missing and `by_mask`, they are counted in the mask, as when the cache was filled.

        Raises:
            InputError: the cache was filled without the prompt, or holds other tokens than the attention mask says.
        """
        length = self.vectors.shape[1]
        if getattr(cache, _MARK, None) != length:
            raise InputError(
                "the cache of earlier tokens was filled without this prompt: fill it with the Delta in use, or start "
                "without a cache."
            )
        tokens = next(kwargs[name] for name in ("input_ids", "inputs_embeds") if kwargs.get(name) is not None)
        positions, cached, new = kwargs.get("position_ids"), cached_tokens(cache), tokens.shape[1]
        if cached is None:
            _check_one_by_one(cache, new)
            return kwargs
        mask = _extended(kwargs.get("attention_mask"), length)
        if mask is not None:
            _check_length(mask.shape[1] - new, cached, length)
        if positions is not None:
            positions = positions + length
            if mask is None and not torch.compiler.is_compiling():  # generate leaves out a mask that masks nothing
                _check_length(int(positions.max()) + 1 - new, cached, length)
        elif self.counts_tokens and by_mask and mask is not None:
            positions = _positions_in(mask)[:, -new:]
        return {**kwargs, "attention_mask": mask, "position_ids": positions}

    def attend(
        self, stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Extend the mask over the first stack's output by the prompt (a pre-hook of the later stack)."""
        mask = _extended(kwargs.get("encoder_attention_mask"), self.vectors.shape[1])
        return args, {**kwargs, "encoder_attention_mask": mask}

    def cut(self, stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Remove the prompt's positions from states and mask, and mark its cache (a hook after the only stack).

        Later hooks of this stack, such as the head's, find as many states as their mask has tokens.
        """
        if self.pass_of_thread.prepended:
            cache = cache_in(
                {str(place): one for place, one in enumerate(output)} if isinstance(output, tuple) else output
            )
            if cache is not None:
                _mark(cache, self.vectors.shape[1])
            output = self.without_prompt(output)
            if kwargs.get("attention_mask") is not None:
                kwargs["attention_mask"] = kwargs["attention_mask"][:, self.vectors.shape[1] :]
        return output

    def without_prompt(self, output: Any) -> Any:
        """Return a stack's output, whose states of the last layer and of all have the tokens' positions alone."""
        states = output[0] if isinstance(output, tuple) else output.last_hidden_state
        positions = states.shape[1]

        def cut(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(cut, value))
            if not isinstance(value, Tensor) or value.dim() != 3 or value.shape[1] != positions:
                return value
            return torch.cat([value[:, : self.before], value[:, self.before + self.vectors.shape[1] :]], dim=1)

        if isinstance(output, tuple):
            return cut(output)
        for name in ("last_hidden_state", "hidden_states"):
            if output.get(name) is not None:
                output[name] = cut(output[name])
        return output


def _per_batch(vectors: Tensor | ByRow, batch: int) -> Float[Tensor, "batch prompt_length width"]:
    """Return the prompt of every row."""
    if isinstance(vectors, ByRow):
        return per_row(vectors.tensor, vectors.rows, batch)
    return vectors.expand(batch, -1, -1)


def _check_room(cache: Any) -> None:
    """Raise InputError for a cache of fixed length, which leaves no room for the prompt."""
    if getattr(cache, "is_compileable", False) and cached_tokens(cache) is not None:
        raise InputError("a prompt needs a cache that grows: generate without cache_implementation.")


def _mark(cache: Any, length: int) -> None:
    """Note in a cache that it holds a prompt.

    Raises:
        InputError: the cache is a plain list of tensors, so that later passes could not tell.
    """
    if isinstance(cache, list | tuple | Tensor):
        raise InputError("a prompt cannot be used with this model's cache: call it with use_cache=False.")
    setattr(cache, _MARK, length)


def _check_one_by_one(cache: Any, new: int) -> None:
    """Raise InputError if a recurrent state, which does not count its tokens, gets several at once.

    `generate` gives the state all tokens, those that it holds included. Assisted generation, which records the states
    to go back to, gives new ones alone.
    """
    if new > 1 and not any(getattr(layer, "record_past", False) for layer in getattr(cache, "layers", ())):
        raise InputError(
            f"a prompt and {new} tokens after a recurrent state of earlier tokens: whether they are all new cannot be "
            "told. Start without a cache, or give the tokens one by one."
        )


def _check_length(said: int, cached: int, length: int) -> None:
    """Raise InputError if the mask or the positions of a pass speak of other earlier tokens than its cache holds.

    Args:
        said: earlier positions, with the prompt's, by the mask or the positions.
        cached: positions in the cache.
        length: of the prompt.
    """
    if said != cached:
        raise InputError(
            f"the cache holds {cached - length} tokens after the prompt, but the mask or the positions speak of "
            f"{said - length} earlier tokens. `generate` takes a cache's {length} positions of the prompt for tokens, "
            "and would skip as many: leave the cache out, or give the model the new tokens yourself."
        )


def _positions_in(mask: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Return each token's position among those that are not masked."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _extended(mask: Int[Tensor, "batch seq"] | None, length: int) -> Int[Tensor, "batch prompt_length+seq"] | None:
    """Return a mask with ones for the prompt in front; None, which masks nothing, remains None.

    Raises:
        InputError: the mask is not of shape (rows, tokens).
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        raise InputError("a prompt needs an attention mask of shape (rows, tokens), or none.")
    return torch.cat([mask.new_ones(len(mask), length), mask], dim=1)


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Method):
    """Prompt tuning: only vectors in front of the input's embeddings train (arXiv:2104.08691v2).

    On an encoder-decoder as in Compacter (arXiv:2106.04647v2, §4.2), in front of the encoder's embeddings only.
    """

    many_tasks: ClassVar[bool] = True
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-2}
    large_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-2}
    """Between the two best on a small encoder (`results/raced-rates.json`); no wide one was searched."""

    prompt_length: int = 100
    """Number of vectors, which is the number of positions that the prompt takes."""
    start: _PromptInit = "random"
    """Initial values. `random`: U(−0.5, 0.5); `vocabulary`: the first rows of the pretrained embeddings."""

    @property
    def learning_rate(self) -> float:
        """The learning rate to start from: Compacter's choices for Prompt Tuning-R and -T."""
        return 3e-2 if self.start == "random" else 3e-1

    @property
    def separable(self) -> bool:
        """Whether tasks share no tensor: they share none."""
        return True

    @property
    def extra_tokens(self) -> int:
        """The number of positions that the prompt takes."""
        return self.prompt_length

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError for a prompt without vectors."""
        if self.prompt_length < 1:
            raise InputError(f"PromptTuning(prompt_length={self.prompt_length}): a prompt has 1 vector or more.")

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the prompt.

        Raises:
            InputError: the backbone does not embed tokens, or the prompt is longer than its vocabulary or positions
                allow.
        """
        positions = positions_of(backbone)
        if positions is not None and self.prompt_length >= positions:
            raise InputError(
                f"PromptTuning(prompt_length={self.prompt_length}): the backbone has positions for {positions} tokens, "
                "the text's included. Use a shorter prompt."
            )
        if not hasattr(backbone.get_submodule(next(iter(structure.entries.values()))), "get_input_embeddings"):
            raise InputError(
                f"PromptTuning: the first stack of {type(backbone).__name__} does not embed its own tokens. Use "
                "another method."
            )
        return {"prompt": _Prompt(structure, self.first_vectors(backbone), tasks)}

    def first_vectors(self, backbone: nn.Module) -> Float[Tensor, "prompt_length width"]:
        """Return the initial values of the prompt, as wide as the embeddings.

        Raises:
            InputError: the backbone does not embed tokens, or the prompt is longer than the vocabulary.
        """
        table = backbone.get_input_embeddings()  # type: ignore[operator]
        if not isinstance(table, nn.Embedding):
            raise InputError(f"PromptTuning: {type(backbone).__name__} embeds no tokens. Use another method.")
        rows = value_of(table, "weight")
        if self.start == "random":
            return torch.rand(self.prompt_length, rows.shape[1]) - 0.5
        if len(rows) < self.prompt_length:
            raise InputError(
                f"PromptTuning(prompt_length={self.prompt_length}, start='vocabulary'): the vocabulary has "
                f"{len(rows)} rows. Use a prompt_length up to that, or start='random'."
            )
        return rows[: self.prompt_length]


PRESETS: dict[str, Method] = {"prompt-r": PromptTuning(), "prompt-t": PromptTuning(start="vocabulary")}

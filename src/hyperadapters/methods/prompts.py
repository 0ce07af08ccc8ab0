"""Prompt tuning: trained vectors in front of the input's embeddings (Lester et al., arXiv:2104.08691v2).

On an encoder-decoder as in Compacter (arXiv:2106.04647v2, §4.2): in front of the *encoder's* embeddings alone.
On a decoder in front of its own; on an encoder after the first token, which its head reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, positions_of, value_of
from hyperadapters.delta import (
    ByRow,
    Handle,
    Method,
    ParameterKind,
    Part,
    by_rows,
    continues_from_cache,
    only,
    repeated,
)
from hyperadapters.layers import AdapterIndex, per_row, selected

PromptInit = Literal["random", "vocabulary"]

BY_TOKEN = {"token_type_ids", "global_attention_mask"}
"""Arguments of a stack that say something of each token; zero says it of the prompt's."""


class Prompt(Part):
    """Vectors before the first stack's embeddings, ahead of their dropout; masks and positions grow with them.

    The hooks sit on the stacks, so they fire in training as in `generate`, which calls encoder and decoder
    separately. The prompt takes the first positions and the text those after it: where positions are relative, as in
    T5, the text's distances to itself stay what they were. A stack alone gives back the text's positions only, so
    heads and labels meet what they expect; an encoder alone keeps its first token, which heads read, before the prompt.
    """

    def __init__(self, structure: ModelStructure, vectors: Float[Tensor, "prompt_length width"], adapters: int = 1):
        super().__init__()
        self.entries = tuple(structure.entries.values())
        self.before = 1 if structure.stacks == ("encoder",) else 0
        self.vectors = nn.Parameter(repeated(vectors, adapters))
        self.prepended = False
        """Whether the pass under way has the prompt in its input, and not in its cache."""

    def kind(self, tensor: str) -> ParameterKind:
        """All of it is the prompt."""
        return "prompt"

    def generate(self, rows: AdapterIndex) -> list[Tensor | ByRow]:
        """The vectors of the adapters that the rows use."""
        return by_rows([only(selected(self.vectors, rows.present), rows)], rows)

    def install(self, backbone: nn.Module, generated: Callable[[], Sequence[Tensor | ByRow]]) -> list[Handle]:
        """A pre-hook on the first stack, and one on the stack that attends to it, or one after it if it is alone."""
        first, *others = (backbone.get_submodule(entry) for entry in self.entries)
        handles: list[Handle] = [first.register_forward_pre_hook(partial(self.prepend, generated), with_kwargs=True)]
        handles += [other.register_forward_pre_hook(self.attend, with_kwargs=True) for other in others]
        if not others:
            handles.append(first.register_forward_hook(self.cut, with_kwargs=True))
        return handles

    def prepend(
        self,
        generated: Callable[[], Sequence[Tensor | ByRow]],
        stack: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[()], dict[str, Any]]:
        """The hook before the first stack: token numbers become embeddings, with the prompt among them.

        A pass that goes on from a cache finds the prompt there.

        Raises:
            InputError: the cache has a fixed length, which leaves no room for the prompt.
        """
        if getattr(kwargs.get("past_key_values"), "is_compileable", False):
            raise InputError("a prompt needs a cache that grows: generate without cache_implementation.")
        kwargs = {**dict(zip(("input_ids", "attention_mask"), args, strict=False)), **kwargs}
        (own,), length = generated(), self.vectors.shape[1]
        kwargs["attention_mask"] = extended(kwargs.get("attention_mask"), length)
        positions = kwargs.get("position_ids")
        self.prepended = not continues_from_cache(kwargs)
        if not self.prepended:
            return (), kwargs if positions is None else {**kwargs, "position_ids": positions + length}
        embeddings, tokens = kwargs.pop("inputs_embeds", None), kwargs.pop("input_ids", None)
        if embeddings is None:
            embeddings = stack.get_input_embeddings()(tokens)  # type: ignore[operator]
        rows = per_batch(own, len(embeddings)).type_as(embeddings)
        kwargs["inputs_embeds"] = torch.cat([embeddings[:, : self.before], rows, embeddings[:, self.before :]], dim=1)
        if positions is not None:
            new = torch.arange(length, device=positions.device).expand(*positions.shape[:-1], -1)
            kwargs["position_ids"] = torch.cat([new, positions + length], dim=-1)
        for name in BY_TOKEN & kwargs.keys():
            if kwargs[name] is not None:
                first, rest = kwargs[name][:, : self.before], kwargs[name][:, self.before :]
                kwargs[name] = torch.cat([first, F.pad(rest, (length, 0))], dim=1)
        return (), kwargs

    def attend(
        self, stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The hook before a later stack: its mask over the first one's output covers the prompt too."""
        mask = extended(kwargs.get("encoder_attention_mask"), self.vectors.shape[1])
        return args, {**kwargs, "encoder_attention_mask": mask}

    def cut(self, stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The hook after a stack alone: the prompt's own positions are left out."""
        if self.prepended:
            states, after = output.last_hidden_state, self.before + self.vectors.shape[1]
            output.last_hidden_state = torch.cat([states[:, : self.before], states[:, after:]], dim=1)
        return output


def per_batch(vectors: Tensor | ByRow, batch: int) -> Float[Tensor, "batch prompt_length width"]:
    """The prompt of every row."""
    if isinstance(vectors, ByRow):
        return per_row(vectors.tensor, vectors.rows, batch)
    return vectors.expand(batch, -1, -1)


def extended(mask: Int[Tensor, "batch seq"] | None, length: int) -> Int[Tensor, "batch prompt_length+seq"] | None:
    """A mask with ones for the prompt in front; none stays none, as nothing is masked then.

    Raises:
        InputError: it says more than which tokens there are.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        raise InputError("a prompt needs an attention mask of rows and tokens, or none.")
    return torch.cat([mask.new_ones(len(mask), length), mask], dim=1)


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Method):
    """Trained vectors before the first stack's embeddings, and nothing else (arXiv:2104.08691v2)."""

    many_tasks: ClassVar[bool] = True

    prompt_length: int = 100
    """Number of vectors."""
    start: PromptInit = "random"
    """`random`: U(−0.5, 0.5); `vocabulary`: the first rows of the pretrained embeddings."""

    @property
    def learning_rate(self) -> float:
        """Compacter's choices for prompt tuning -R and -T."""
        return 3e-2 if self.start == "random" else 3e-1

    @property
    def separable(self) -> bool:
        """Every task has all of it for itself."""
        return True

    @property
    def extra_tokens(self) -> int:
        """The prompt's."""
        return self.prompt_length

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError for a prompt of no vectors."""
        if self.prompt_length < 1:
            raise InputError(f"PromptTuning(prompt_length={self.prompt_length}): a prompt has 1 vector or more.")

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part: the prompt.

        Raises:
            InputError: the backbone embeds no tokens, or its vocabulary or its positions are fewer than the prompt
                takes.
        """
        positions = positions_of(backbone)
        if positions is not None and self.prompt_length >= positions:
            raise InputError(
                f"PromptTuning(prompt_length={self.prompt_length}): the backbone has positions for {positions} tokens, "
                "the text's included. Use a shorter prompt."
            )
        if not hasattr(backbone.get_submodule(next(iter(structure.entries.values()))), "get_input_embeddings"):
            raise InputError(f"PromptTuning: the first stack of {type(backbone).__name__} embeds nothing by itself.")
        return {"prompt": Prompt(structure, self.first_vectors(backbone), tasks)}

    def first_vectors(self, backbone: nn.Module) -> Float[Tensor, "prompt_length width"]:
        """What the prompt starts from, as wide as the embeddings."""
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

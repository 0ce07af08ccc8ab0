"""Prompt tuning: trained vectors in front of the input's embeddings (Lester et al., arXiv:2104.08691v2).

On an encoder-decoder as in Compacter (arXiv:2106.04647v2, §4.2): in front of the *encoder's* embeddings alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters.anatomy import Anatomy
from hyperadapters.errors import InputError
from hyperadapters.methods.method import Method
from hyperadapters.methods.parts import Handle, Kind, Part

Start = Literal["random", "vocabulary"]


class Prompt(Part):
    """Vectors before the first stack's embeddings, ahead of their dropout; masks grow with them.

    The hooks sit on the stacks, so they fire in training as in `generate`, which calls encoder and decoder
    separately. The prompt takes the first positions and the text those after it: where positions are relative, as in
    T5, the text's distances to itself stay what they were.
    """

    def __init__(self, stacks: tuple[str, ...], vectors: Float[Tensor, "prompt_length d_model"], adapters: int = 1):
        super().__init__()
        self.stacks = stacks
        self.vectors = nn.Parameter(vectors.float().expand(adapters, *vectors.shape).clone())

    def kind(self, tensor: str) -> Kind:
        """All of it is the prompt."""
        return "prompt"

    def generate(self) -> Float[Tensor, "prompt_length d_model"]:
        """The first adapter's vectors."""
        return self.vectors[0]

    def install(self, backbone: nn.Module, generated: Callable[[], Tensor]) -> list[Handle]:
        """A pre-hook on the first stack, and on each stack that attends to the first one's output."""
        first, *others = (backbone.get_submodule(stack) for stack in self.stacks)
        return [
            first.register_forward_pre_hook(partial(self.prepend, generated), with_kwargs=True),
            *(other.register_forward_pre_hook(self.attend, with_kwargs=True) for other in others),
        ]

    @staticmethod
    def prepend(
        generated: Callable[[], Tensor], stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """The hook before the first stack: token numbers become embeddings, with the prompt in front."""
        kwargs = {**dict(zip(("input_ids", "attention_mask"), args, strict=False)), **kwargs}
        tokens, embeddings = kwargs.pop("input_ids", None), kwargs.pop("inputs_embeds", None)
        if embeddings is None:
            embeddings = stack.get_input_embeddings()(tokens)  # type: ignore[operator]
        prompt = generated().type_as(embeddings).expand(len(embeddings), -1, -1)
        kwargs["inputs_embeds"] = torch.cat([prompt, embeddings], dim=1)
        kwargs["attention_mask"] = extended(kwargs.get("attention_mask"), prompt.shape[1])
        return (), kwargs

    def attend(
        self, stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The hook before a later stack: its mask over the first one's output covers the prompt too."""
        mask = extended(kwargs.get("encoder_attention_mask"), self.vectors.shape[1])
        return args, {**kwargs, "encoder_attention_mask": mask}


def extended(mask: Int[Tensor, "batch seq"] | None, length: int) -> Int[Tensor, "batch prompt_length+seq"] | None:
    """A mask with ones for the prompt in front; none stays none, as nothing is masked then."""
    return None if mask is None else torch.cat([mask.new_ones(len(mask), length), mask], dim=1)


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Method):
    """Trained vectors before the encoder's embeddings, and nothing else (arXiv:2104.08691v2)."""

    prompt_length: int = 100
    """Number of vectors."""
    start: Start = "random"
    """`random`: U(−0.5, 0.5); `vocabulary`: the first rows of the pretrained embeddings."""

    @property
    def learning_rate(self) -> float:
        """Compacter's choices for prompt tuning -R and -T."""
        return 3e-2 if self.start == "random" else 3e-1

    def check(self, anatomy: Anatomy) -> None:
        """Raise InputError for a prompt of no vectors, or a backbone that is no encoder-decoder."""
        if anatomy.stacks != ("encoder", "decoder"):
            raise InputError(
                f"PromptTuning puts its prompt before an encoder that a decoder attends to; this backbone is one "
                f"{anatomy.stacks[0]} alone. Use another method, such as compacter++ or bitfit."
            )
        if self.prompt_length < 1:
            raise InputError(f"PromptTuning(prompt_length={self.prompt_length}): a prompt has 1 vector or more.")

    def build(self, backbone: nn.Module, anatomy: Anatomy) -> dict[str, Part]:
        """One part: the prompt. Raises InputError if the vocabulary has fewer rows than the prompt takes."""
        return {"prompt": Prompt(tuple(anatomy.entries.values()), self.first_vectors(backbone, anatomy.d_model))}

    def first_vectors(self, backbone: nn.Module, d_model: int) -> Float[Tensor, "prompt_length d_model"]:
        """What the prompt starts from."""
        if self.start == "random":
            return torch.rand(self.prompt_length, d_model) - 0.5
        rows: Tensor = backbone.get_input_embeddings().weight  # type: ignore[operator]
        if len(rows) < self.prompt_length:
            raise InputError(
                f"PromptTuning(prompt_length={self.prompt_length}, start='vocabulary'): the vocabulary has "
                f"{len(rows)} rows. Use a prompt_length up to that, or start='random'."
            )
        return rows[: self.prompt_length].detach()


PRESETS: dict[str, Method] = {"prompt-r": PromptTuning(), "prompt-t": PromptTuning(start="vocabulary")}

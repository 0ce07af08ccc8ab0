"""What the three kinds of backbone do differently with a task: rows to tokens, a batch to a loss, a batch to answers.

An encoder-decoder and a decoder answer in text, an encoder with a class or a number from the Delta's own head. The
tasks, their metrics, the training loop and the commands are the same for all.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from jinja2 import TemplateError
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind
from hyperadapters.tasks import Example, Labels, TaskFormat
from hyperadapters.training.encoded import Cut, Encoded
from hyperadapters.training.tensors import IGNORED, pad_sequences


class Encoding(ABC):
    """One kind of backbone. Concrete kinds have no state."""

    name: ClassVar[BackboneKind]

    def outputs(self, form: TaskFormat) -> int | None:
        """How many outputs the Delta's own head has for a task; None where there is no head."""
        return None

    def length(self, row: Encoded) -> int:
        """By how many tokens a row is long, for grouping rows of like length."""
        return len(row.source)

    def padded_tokens(self, rows: Sequence[Encoded]) -> int:
        """Tokens computed for a batch, with padding."""
        return len(rows) * (max(len(row.source) for row in rows) + max(len(row.target) for row in rows))

    def mode(self, form: TaskFormat, wanted: str) -> str:
        """How answers are obtained, score or generate, where `wanted` is one of these or auto.

        Raises:
            InputError: it cannot be had for this task.
        """
        labels = isinstance(form.target, Labels)
        if wanted == "score" and not labels:
            raise InputError(
                f"evaluation.decode=score needs labels, but the answers of {form.name} are "
                f"{form.target.expected()}. Use generate."
            )
        if wanted == "auto":
            return "score" if labels else "generate"
        return wanted

    @abstractmethod
    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], Cut]:
        """Rows in tokens, and how many were cut."""

    @abstractmethod
    def losses(
        self, model: nn.Module, backbone: nn.Module, rows: Sequence[Encoded], pad: int
    ) -> Float[Tensor, " rows"]:
        """Each row's loss, summed over its targets. `model` is the backbone, perhaps wrapped for several processes."""

    @abstractmethod
    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[TaskFormat],
        tokenizer: Any,
        mode: str,
        target_length: int,
        beams: int,
    ) -> list[str]:
        """The answer to every row: the likeliest of those that its form has, or what is generated."""

    @abstractmethod
    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        """What answering costs: exactly so many tokens greedily for every row, whatever the model would say."""


def labels_of(form: TaskFormat) -> tuple[str, ...]:
    """The label strings of a task that has some."""
    assert isinstance(form.target, Labels)
    return form.target.texts


def label_tokens(
    forms: Sequence[TaskFormat], tokenize: Callable[[list[str]], list[list[int]]]
) -> Int[Tensor, "batch labels seq"]:
    """The label strings of every row in tokens; -100 where padded, and for labels that another row alone has."""
    sets = list(dict.fromkeys(labels_of(form) for form in forms))
    most = max(len(texts) for texts in sets)
    rows = [row for texts in sets for row in (*tokenize(list(texts)), *[[]] * (most - len(texts)))]
    tokens = pad_sequences(rows, IGNORED)
    return tokens.view(len(sets), most, -1)[[sets.index(labels_of(form)) for form in forms]]


MARK = "\u2063answer\u2063"
"""Stands for an answer, to see what a template writes after it."""


def in_template(row: Example, tokenizer: Any) -> Example:
    """A conversation as text, up to where the assistant begins, and its answer with what the template writes after it.

    Raises:
        InputError: the tokenizer has no chat template, or the template refuses the conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "the rows hold messages, but the backbone's tokenizer has no chat template: put a chat_template.jinja into "
            "the backbone's folder, use a backbone made for conversations, or give rows with prompt and response."
        )
    try:
        source = tokenizer.apply_chat_template(list(row.turns), tokenize=False, add_generation_prompt=True)
        if not row.target:
            return row._replace(source=source)
        whole = [*row.turns, {"role": "assistant", "content": MARK}]
        _, _, after = tokenizer.apply_chat_template(whole, tokenize=False).rpartition(MARK)
    except TemplateError as error:
        raise InputError(f"the tokenizer's chat template refuses a conversation: {error}") from error
    return row._replace(source=source, target=f"{row.target}{after}")


def longer(rows: Sequence[Sequence[int]], limit: int) -> int:
    """How many rows have more tokens than the limit."""
    return sum(len(tokens) > limit for tokens in rows)


def clipped(tokens: list[int], limit: int, end: int) -> list[int]:
    """The first `limit` tokens, the last of them the end of the sequence."""
    return tokens if len(tokens) <= limit else [*tokens[: limit - 1], end]


def likeliest(scores: Float[Tensor, "batch labels"], forms: Sequence[TaskFormat]) -> list[str]:
    """The label string with the highest score of each row, among those of its task."""
    counts = torch.tensor([len(labels_of(form)) for form in forms], device=scores.device)
    others = torch.arange(scores.shape[1], device=scores.device) >= counts.unsqueeze(-1)
    best = scores.masked_fill(others, -math.inf).argmax(-1).tolist()
    return [labels_of(form)[i] for i, form in zip(best, forms, strict=True)]


def generated(
    backbone: nn.Module, source: dict[str, Tensor], tokenizer: Any, **options: int
) -> Int[Tensor, "batch seq"]:
    """Tokens by generation without sampling."""
    tokens: Tensor = backbone.generate(  # type: ignore[operator]
        **source,
        **options,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return tokens


def texts(tokens: Int[Tensor, "batch seq"], tokenizer: Any) -> list[str]:
    """Generated tokens as text, without special tokens, stripped."""
    return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]

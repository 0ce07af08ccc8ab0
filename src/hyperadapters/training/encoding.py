"""What the three kinds of backbone do differently with a task: rows to tokens, a batch to a loss, a batch to answers.

An encoder-decoder and a decoder answer in text, an encoder with a class or a number from the Delta's own head. The
tasks, their metrics, the training loop and the commands are the same for all. The three encodings stand in
`encoder_decoder`, `encoder` and `decoder`; what two of them use, in `label_strings`, `generated_text` and
`chat_template`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind, HeadKind
from hyperadapters.tasks import Example, Labels, TaskFormat
from hyperadapters.training.config import Evaluation
from hyperadapters.training.encoded import Encoded, _Cut
from hyperadapters.training.row_generation import RowGeneration


class Decoding(NamedTuple):
    """How the answers to a batch are obtained."""

    mode: str
    """`score`: the likeliest of the task's answers; `generate`: what the backbone generates."""
    target_length: int = 0
    """Most tokens of a generated answer."""
    beams: int = 1
    """Beams of generation; 1 is greedy."""
    generation_config: str = "neutral"
    """As `Evaluation.generation_config`."""


class _Encoding(ABC):
    """A task on one kind of backbone. Concrete encodings have no state."""

    name: ClassVar[BackboneKind]

    def head(self, form: TaskFormat) -> HeadKind:
        """Return what the backbone's task head reads for a task, where there is a head."""
        return "sequence"

    def outputs(self, form: TaskFormat) -> int | None:
        """Return how many outputs the Delta's own head has for a task; None where there is no head."""
        return None

    def length(self, row: Encoded) -> int:
        """Return the length in tokens by which rows are grouped into batches."""
        return len(row.source)

    def padded_tokens(self, rows: Sequence[Encoded]) -> int:
        """Return the number of tokens computed for a batch, with padding."""
        return len(rows) * (max(len(row.source) for row in rows) + max(len(row.target) for row in rows))

    def mode(self, form: TaskFormat, wanted: str) -> str:
        """Return how answers are obtained, score or generate, where `wanted` is one of these or auto.

        Raises:
            InputError: the task's answers cannot be obtained so.
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

    def decoding(self, form: TaskFormat, target_length: int, evaluation: Evaluation) -> Decoding:
        """Return how the answers of a task are obtained; tasks whose decoding is equal can share a batch.

        Raises:
            InputError: the task's answers cannot be obtained as `evaluation.decode` says.
        """
        mode = self.mode(form, evaluation.decode)
        if mode == "score":
            return Decoding(mode)
        return Decoding(mode, target_length, evaluation.beams, evaluation.generation_config)

    @abstractmethod
    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], _Cut]:
        """Return rows in tokens, and how many were cut to the two lengths, which are in tokens."""

    @abstractmethod
    def tokenize_answers(self, answers: Sequence[str], tokenizer: Any) -> list[list[int]]:
        """Return answers in tokens as the backbone learns them; none for an encoder, which writes no text."""

    @abstractmethod
    def inputs(self, backbone: nn.Module, rows: Sequence[Encoded], pad: int) -> dict[str, Any]:
        """Return what the model is called with to learn from rows.

        Args:
            backbone: the backbone.
            rows: of the batch.
            pad: the token that fills up.
        """

    @abstractmethod
    def losses(
        self,
        model: nn.Module,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        pad: int,
        smoothing: float = 0.0,
        outputs: Sequence[int] | None = None,
    ) -> Float[Tensor, " rows"]:
        """Return each row's loss, summed over its targets.

        Args:
            model: the backbone, perhaps wrapped or compiled.
            backbone: the backbone itself.
            rows: of the batch.
            pad: the token that fills up.
            smoothing: of the labels (`Training.label_smoothing`); numbers have none.
            outputs: how many outputs the head of each row's task has, where these differ: the logits behind them are
                padding. None: all have as many. Text has no head and leaves it out.
        """

    @abstractmethod
    def score_labels(
        self, backbone: nn.Module, rows: Sequence[Encoded], forms: Sequence[TaskFormat], tokenizer: Any
    ) -> Float[Tensor, "batch labels"]:
        """Return the score of every label of each row's task, whose softmax over its labels is their probability.

        Args:
            backbone: the backbone.
            rows: of the batch.
            forms: the form of each row's task; columns beyond its labels mean nothing.
            tokenizer: the backbone's.
        """

    @abstractmethod
    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[TaskFormat],
        tokenizer: Any,
        decoding: Decoding,
        generated: Sequence[RowGeneration] = (),
    ) -> list[str]:
        """Return the answer to every row of a batch.

        Args:
            backbone: the backbone.
            rows: of the batch.
            forms: the form of each row's task.
            tokenizer: the backbone's.
            decoding: how the answers are obtained.
            generated: settings of each row, where answers are generated without beams; none: those of `decoding`.
        """

    @abstractmethod
    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        """Compute what answering costs: exactly `tokens` tokens, greedily, for every row, or an encoder's logits."""

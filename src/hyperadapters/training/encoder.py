"""Tasks on encoders: a class or a number from the Delta's own head."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.tasks import Example, Labels, Score, TaskFormat
from hyperadapters.training.encoded import Encoded, _count_longer, _Cut
from hyperadapters.training.encoding import Decoding, _Encoding
from hyperadapters.training.label_strings import _likeliest
from hyperadapters.training.tensors import _on_device, _pad_sequences, _precise, _source_batch


class _Encoder(_Encoding):
    """A classification or regression head, the Delta's own, over one text or a pair (Houlsby et al., §3.1)."""

    name = "encoder"

    def outputs(self, form: TaskFormat) -> int:
        """Return one for each class, or one for a number.

        Raises:
            InputError: the answers are neither classes nor numbers.
        """
        if isinstance(form.target, Labels):
            return len(form.target.texts)
        if isinstance(form.target, Score):
            return 1
        raise InputError(
            f"task {form.name}: the answers are {form.target.expected()}, but an encoder answers with classes or "
            "numbers. Use an encoder-decoder or a decoder as backbone."
        )

    def mode(self, form: TaskFormat, wanted: str) -> str:
        if wanted == "generate":
            raise InputError("evaluation.decode=generate: an encoder generates no text. Use auto or score.")
        return "score"

    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], _Cut]:
        self.outputs(form)
        texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
        found = tokenizer(*texts, verbose=False)
        cut = _Cut(_count_longer(found.input_ids, source_length))
        if cut.sources:  # of a pair, the longer text loses its end first
            found = tokenizer(*texts, verbose=False, truncation=True, max_length=source_length)
        segments = getattr(found, "token_type_ids", None) or [()] * len(rows)
        return [
            Encoded(source, [form.target.decode(row.target) if row.number is None else row.number], segments=ids)
            for source, ids, row in zip(found.input_ids, segments, rows, strict=True)
        ], cut

    def tokenize_answers(self, answers: Sequence[str], tokenizer: Any) -> list[list[int]]:
        return []

    def losses(
        self, model: nn.Module, backbone: nn.Module, rows: Sequence[Encoded], pad: int, smoothing: float = 0.0
    ) -> Float[Tensor, " rows"]:
        logits = _precise(model(**_encoder_batch(rows, pad, backbone)).logits)
        targets = [row.target[0] for row in rows if row.target]
        if not targets:  # a process without a row of its own takes part with a loss of zero
            return 0.0 * logits.sum(-1)
        if logits.shape[1] == 1:
            wanted = torch.tensor(targets, device=logits.device, dtype=logits.dtype)
            return (logits.squeeze(-1) - wanted).square()
        classes = torch.tensor(targets, device=logits.device, dtype=torch.long)
        return F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)

    def score_labels(
        self, backbone: nn.Module, rows: Sequence[Encoded], forms: Sequence[TaskFormat], tokenizer: Any
    ) -> Float[Tensor, "batch labels"]:
        logits: Tensor = backbone(**_encoder_batch(rows, tokenizer.pad_token_id, backbone)).logits
        return logits

    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[TaskFormat],
        tokenizer: Any,
        decoding: Decoding,
    ) -> list[str]:
        logits = self.score_labels(backbone, rows, forms, tokenizer)
        if logits.shape[1] > 1:
            return _likeliest(logits, forms)
        return [_in_range(value, form) for (value,), form in zip(_precise(logits).tolist(), forms, strict=True)]

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        logits: Tensor = backbone(**_encoder_batch(rows, tokenizer.pad_token_id, backbone)).logits
        return logits


def _encoder_batch(rows: Sequence[Encoded], pad: int, backbone: nn.Module) -> dict[str, Tensor]:
    """Return sources as an encoder takes them, with the segments of pairs where it knows segments."""
    batch = _source_batch([row.source for row in rows], pad)
    if rows[0].segments and getattr(backbone.config, "type_vocab_size", 0) > 1:
        batch["token_type_ids"] = _pad_sequences([row.segments for row in rows], 0)
    return _on_device(batch, backbone)


def _in_range(value: float, form: TaskFormat) -> str:
    """Return a number as an answer: within the limits of the task's scores, or the only label where there is one."""
    if isinstance(form.target, Labels):
        return form.target.texts[0]
    assert isinstance(form.target, Score)
    return f"{min(max(value, form.target.low), form.target.high):.6g}"

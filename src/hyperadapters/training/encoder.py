"""Tasks on encoders: a class or a number from the Delta's own head."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import HeadKind
from hyperadapters.tasks import AnswerSpan, Example, Labels, LabelSet, Numeric, TagSequence, TaskFormat
from hyperadapters.training.answer_spans import OUTPUTS, _answer_of, _Best, _best_answer, _encode_spans, _span_losses
from hyperadapters.training.config import Evaluation
from hyperadapters.training.encoded import Encoded, _count_longer, _Cut
from hyperadapters.training.encoding import Decoding, _Encoding
from hyperadapters.training.row_generation import RowGeneration
from hyperadapters.training.tensors import _on_device, _pad_sequences, _precise, _source_batch
from hyperadapters.training.word_tags import _encode_words, _read_tags, _tag_losses


class _Encoder(_Encoding):
    """A classification or regression head, the Delta's own, over one text or a pair (Houlsby et al., §3.1)."""

    name = "encoder"

    def head(self, form: TaskFormat) -> HeadKind:
        return "token" if isinstance(form.target, TagSequence | AnswerSpan) else "sequence"

    def outputs(self, form: TaskFormat) -> int:
        """Return one for each class or label, or one for a number.

        Raises:
            InputError: the answers are neither of them.
        """
        if isinstance(form.target, Labels | LabelSet | TagSequence):
            return len(form.target.texts)
        if isinstance(form.target, Numeric):
            return 1
        if isinstance(form.target, AnswerSpan):
            return OUTPUTS
        raise InputError(
            f"task {form.name}: the answers are {form.target.expected()}, but an encoder answers with classes, "
            "labels, tags, numbers or a part of the text. Use an encoder-decoder or a decoder as backbone."
        )

    def mode(self, form: TaskFormat, wanted: str) -> str:
        if wanted == "generate":
            raise InputError("evaluation.decode=generate: an encoder generates no text. Use auto or score.")
        return "score"

    def decoding(self, form: TaskFormat, target_length: int, evaluation: Evaluation) -> Decoding:
        found = super().decoding(form, target_length, evaluation)
        return found._replace(target_length=target_length) if isinstance(form.target, AnswerSpan) else found

    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], _Cut]:
        self.outputs(form)
        if isinstance(form.target, TagSequence):
            return _encode_words(rows, form, tokenizer, source_length)
        if isinstance(form.target, AnswerSpan):
            return _encode_spans(rows, form, tokenizer, source_length, target_length)
        texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
        found = tokenizer(*texts, verbose=False)
        cut = _Cut(_count_longer(found.input_ids, source_length))
        if cut.sources:  # of a pair, the longer text loses its end first
            found = tokenizer(*texts, verbose=False, truncation=True, max_length=source_length)
        segments = getattr(found, "token_type_ids", None) or [()] * len(rows)
        return [
            Encoded(source, _learned_answer(row, form), segments=ids)
            for source, ids, row in zip(found.input_ids, segments, rows, strict=True)
        ], cut

    def tokenize_answers(self, answers: Sequence[str], tokenizer: Any) -> list[list[int]]:
        return []

    def inputs(self, backbone: nn.Module, rows: Sequence[Encoded], pad: int) -> dict[str, Any]:
        return _encoder_batch(rows, pad, backbone)

    def losses(
        self,
        model: nn.Module,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        pad: int,
        smoothing: float = 0.0,
        outputs: Sequence[int] | None = None,
    ) -> Float[Tensor, " rows"]:
        logits = _precise(model(**self.inputs(backbone, rows, pad)).logits)
        if not any(row.target for row in rows):  # a process without a row of its own: it takes part with a loss of zero
            return 0.0 * logits.flatten(1)[:, 0]
        sizes = outputs or [logits.shape[-1]] * len(rows)
        if any(row.places for row in rows):
            return _tag_losses(logits, rows, sizes, smoothing)
        if rows[0].offsets:
            return _span_losses(logits, rows, smoothing)
        kinds = [(size, len(row.target) > 1) for size, row in zip(sizes, rows, strict=True)]
        found = logits.new_zeros(len(rows))
        for size, several in dict.fromkeys(kinds):
            own = [i for i, kind in enumerate(kinds) if kind == (size, several)]
            targets, used = [rows[i].target for i in own], logits[own, :size]
            if several:
                found[own] = torch.stack([_label_set_loss(*each) for each in zip(used, targets, strict=True)])
            else:
                found[own] = _one_answer_losses(used, [target for (target,) in targets], smoothing)
        return found

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
        generated: Sequence[RowGeneration] = (),
    ) -> list[str]:
        if isinstance(forms[0].target, TagSequence):
            logits = backbone(**_encoder_batch(rows, tokenizer.pad_token_id, backbone)).logits
            return [_read_tags(*each) for each in zip(logits, rows, forms, strict=True)]
        if rows[0].offsets:
            return _answer_from_windows(backbone, rows, forms, tokenizer, decoding.target_length)
        logits = self.score_labels(backbone, rows, forms, tokenizer)
        return [_read_answer(row, form) for row, form in zip(_precise(logits), forms, strict=True)]

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        logits: Tensor = backbone(**_encoder_batch(rows, tokenizer.pad_token_id, backbone)).logits
        return logits


def _encoder_batch(rows: Sequence[Encoded], pad: int, backbone: nn.Module) -> dict[str, Any]:
    """Return sources as an encoder takes them, with the segments of pairs where it knows segments."""
    batch = _source_batch([row.source for row in rows], pad)
    if rows[0].segments and getattr(backbone.config, "type_vocab_size", 0) > 1:
        batch["token_type_ids"] = _pad_sequences([row.segments for row in rows], 0)
    return _on_device(batch, backbone)


def encode_texts(texts: Sequence[str], tokenizer: Any, most: int | None) -> tuple[list[Encoded], int]:
    """Return texts in tokens for `embed_texts`, and how many were cut.

    Args:
        texts: each is one row.
        tokenizer: the backbone's tokenizer.
        most: tokens that the backbone has positions for; None: any number.
    """
    found = tokenizer([*texts], verbose=False, truncation=most is not None, max_length=most)
    cut = 0 if most is None else _count_longer(tokenizer([*texts], verbose=False).input_ids, most)
    segments = getattr(found, "token_type_ids", None) or [()] * len(texts)
    return [Encoded(ids, [], segments=own) for ids, own in zip(found.input_ids, segments, strict=True)], cut


def embed_texts(backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any) -> Float[Tensor, "batch d_model"]:
    """Return the mean of the last states of each text's tokens, divided by its length (arXiv:1908.10084, §3).

    Args:
        backbone: a model without a head.
        rows: texts in tokens.
        tokenizer: its tokenizer.
    """
    batch = _encoder_batch(rows, tokenizer.pad_token_id, backbone)
    states = _precise(backbone(**batch).last_hidden_state)
    mask = batch["attention_mask"].unsqueeze(-1).to(states)
    return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def _learned_answer(row: Example, form: TaskFormat) -> list[Any]:
    """Return what the head learns for a row.

    That is the number of its class; its number as the target learns numbers; or for every label 1 if the row has it,
    else 0.
    """
    if isinstance(form.target, LabelSet):
        own = {*form.target.decode(row.target)}
        return [float(number in own) for number in range(len(form.target.texts))]
    if isinstance(form.target, Numeric) and row.number is not None:
        return [form.target.to_output(row.number)]
    return [form.target.decode(row.target)]


def _one_answer_losses(
    logits: Float[Tensor, "rows outputs"], targets: Sequence[float], smoothing: float
) -> Float[Tensor, " rows"]:
    """Return the cross entropy of rows with one class each, or of a head with one output the squared error."""
    if logits.shape[1] == 1:
        wanted = torch.tensor(targets, device=logits.device, dtype=logits.dtype)
        return (logits.squeeze(-1) - wanted).square()
    classes = torch.tensor(targets, device=logits.device, dtype=torch.long)
    return F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)


def _label_set_loss(logits: Float[Tensor, " outputs"], targets: Sequence[float]) -> Float[Tensor, ""]:
    """Return the binary cross entropy of a row, summed over all labels of its task, which are the first outputs."""
    wanted = torch.tensor(targets, device=logits.device, dtype=logits.dtype)
    return F.binary_cross_entropy_with_logits(logits[: len(targets)], wanted, reduction="sum")


def _answer_from_windows(
    backbone: nn.Module, rows: Sequence[Encoded], forms: Sequence[TaskFormat], tokenizer: Any, target_length: int
) -> list[str]:
    """Return the part of each row's text that answers it.

    The windows of a text are passed one after the other, so that every batch has the rows of the first: adapters and
    task embeddings stand at the places of their rows. A row that has no more windows passes its first again.
    """
    found: list[list[_Best]] = [[] for _ in rows]
    for number in range(1 + max(len(row.windows) for row in rows)):
        batch = [row.windows[number - 1] if 0 < number <= len(row.windows) else row for row in rows]
        logits = backbone(**_encoder_batch(batch, tokenizer.pad_token_id, backbone)).logits
        for own, window, each in zip(found, batch, logits, strict=True):
            own.append(_best_answer(each, window, target_length))
    return [_answer_of(own, form) for own, form in zip(found, forms, strict=True)]


def _read_answer(outputs: Float[Tensor, " outputs"], form: TaskFormat) -> str:
    """Return the answer of a head: the likeliest class, the labels of probability 1/2 or more, or a number."""
    target = form.target
    if isinstance(target, Labels):
        return target.texts[int(outputs[: len(target.texts)].argmax())]
    if isinstance(target, LabelSet):
        return target.joined(
            label for label, output in zip(target.texts, outputs.tolist(), strict=False) if output >= 0
        )
    assert isinstance(target, Numeric)
    return target.from_output(outputs.tolist()[0])

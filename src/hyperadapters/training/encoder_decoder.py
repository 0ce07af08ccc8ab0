"""Tasks on encoder-decoders: text to text."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters.tasks import Example, TaskFormat
from hyperadapters.training.chat_template import _in_template
from hyperadapters.training.encoded import Encoded, _count_longer, _Cut, _truncate
from hyperadapters.training.encoding import Decoding, _Encoding
from hyperadapters.training.generated_text import _generate_tokens, _tokens_to_texts
from hyperadapters.training.label_strings import _label_chunks, _label_tokens, _likeliest
from hyperadapters.training.tensors import (
    _IGNORED,
    _collate,
    _on_device,
    _row_cross_entropy,
    _source_batch,
    _summed_log_probability,
)


class _EncoderDecoder(_Encoding):
    """Text to text: source and target are sequences of their own, each ended by the end-of-sequence token."""

    name = "encoder-decoder"

    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], _Cut]:
        if form.style == "conversation":
            rows = [_in_template(row, tokenizer) for row in rows]
        sources = tokenizer([row.source for row in rows], verbose=False).input_ids
        targets = tokenizer([row.target for row in rows], verbose=False).input_ids
        end = tokenizer.eos_token_id
        cut = _Cut(_count_longer(sources, source_length), _count_longer(targets, target_length))
        return [
            Encoded(_truncate(source, source_length, end), _truncate(target, target_length, end))
            for source, target in zip(sources, targets, strict=True)
        ], cut

    def losses(
        self, model: nn.Module, backbone: nn.Module, rows: Sequence[Encoded], pad: int
    ) -> Float[Tensor, " rows"]:
        batch = _on_device(_collate(rows, pad), backbone)
        labels = batch.pop("labels")
        if labels.shape[1] == 0:  # a process without a row of its own takes part with a loss of zero
            labels = torch.full((len(rows), 1), _IGNORED, device=labels.device)
        shifted = backbone.prepare_decoder_input_ids_from_labels(labels=labels)  # type: ignore[operator]
        return _row_cross_entropy(model(**batch, decoder_input_ids=shifted).logits, labels)

    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[TaskFormat],
        tokenizer: Any,
        decoding: Decoding,
    ) -> list[str]:
        source = _on_device(_source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        if decoding.mode == "score":
            labels = _label_tokens(forms, lambda answers: tokenizer(answers).input_ids)
            return _likeliest(_score_labels(backbone, source, labels), forms)
        limits = {"max_new_tokens": decoding.target_length, "num_beams": decoding.beams}
        return _tokens_to_texts(_generate_tokens(backbone, source, tokenizer, **limits), tokenizer)

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        source = _on_device(_source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        return _generate_tokens(backbone, source, tokenizer, min_new_tokens=tokens, max_new_tokens=tokens)


def _score_labels(
    backbone: nn.Module, source: dict[str, Tensor], labels: Int[Tensor, "#batch labels seq"]
) -> Float[Tensor, "batch labels"]:
    """Return the log-probability of every label string for every row: one pass of the encoder, few of the decoder."""
    from transformers.modeling_outputs import BaseModelOutput  # noqa: PLC0415 (slow to import)

    batch = len(source["input_ids"])
    encoded = backbone.get_encoder()(**source).last_hidden_state  # type: ignore[operator]

    def scores(labels: Int[Tensor, "#batch some seq"]) -> Float[Tensor, "batch some"]:
        count = labels.shape[1]
        targets = labels.to(encoded.device).expand(batch, -1, -1).flatten(0, 1)
        logits = backbone(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.repeat_interleave(count, 0)),
            attention_mask=source["attention_mask"].repeat_interleave(count, 0),
            decoder_input_ids=backbone.prepare_decoder_input_ids_from_labels(labels=targets),  # type: ignore[operator]
        ).logits
        return _summed_log_probability(logits, targets).view(batch, count)

    return torch.cat([scores(chunk) for chunk in _label_chunks(backbone, batch, labels)], dim=1)

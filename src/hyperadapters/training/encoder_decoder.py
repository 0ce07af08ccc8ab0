"""Tasks on encoder-decoders: text to text."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters.tasks import Example, TaskFormat
from hyperadapters.training.chat_template import in_template
from hyperadapters.training.encoded import Cut, Encoded, count_longer, truncate
from hyperadapters.training.encoding import Decoding, Encoding
from hyperadapters.training.generated_text import generate_tokens, tokens_to_texts
from hyperadapters.training.label_strings import label_chunks, label_tokens, likeliest
from hyperadapters.training.tensors import (
    IGNORED,
    collate,
    on_device,
    row_cross_entropy,
    source_batch,
    summed_log_probability,
)


class EncoderDecoder(Encoding):
    """Text to text: source and target are sequences of their own, each ended by the end-of-sequence token."""

    name = "encoder-decoder"

    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], Cut]:
        if form.style == "conversation":
            rows = [in_template(row, tokenizer) for row in rows]
        sources = tokenizer([row.source for row in rows], verbose=False).input_ids
        targets = tokenizer([row.target for row in rows], verbose=False).input_ids
        end = tokenizer.eos_token_id
        cut = Cut(count_longer(sources, source_length), count_longer(targets, target_length))
        return [
            Encoded(truncate(source, source_length, end), truncate(target, target_length, end))
            for source, target in zip(sources, targets, strict=True)
        ], cut

    def losses(
        self, model: nn.Module, backbone: nn.Module, rows: Sequence[Encoded], pad: int
    ) -> Float[Tensor, " rows"]:
        batch = on_device(collate(rows, pad), backbone)
        labels = batch.pop("labels")
        if labels.shape[1] == 0:  # a process without a row of its own takes part with a loss of zero
            labels = torch.full((len(rows), 1), IGNORED, device=labels.device)
        shifted = backbone.prepare_decoder_input_ids_from_labels(labels=labels)  # type: ignore[operator]
        return row_cross_entropy(model(**batch, decoder_input_ids=shifted).logits, labels)

    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[TaskFormat],
        tokenizer: Any,
        decoding: Decoding,
    ) -> list[str]:
        source = on_device(source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        if decoding.mode == "score":
            labels = label_tokens(forms, lambda answers: tokenizer(answers).input_ids)
            return likeliest(score_labels(backbone, source, labels), forms)
        limits = {"max_new_tokens": decoding.target_length, "num_beams": decoding.beams}
        return tokens_to_texts(generate_tokens(backbone, source, tokenizer, **limits), tokenizer)

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        source = on_device(source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        return generate_tokens(backbone, source, tokenizer, min_new_tokens=tokens, max_new_tokens=tokens)


def score_labels(
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
        return summed_log_probability(logits, targets).view(batch, count)

    return torch.cat([scores(chunk) for chunk in label_chunks(backbone, batch, labels)], dim=1)

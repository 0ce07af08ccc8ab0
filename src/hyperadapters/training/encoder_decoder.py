"""Tasks on encoder-decoders: text to text."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.tasks import Example, TaskFormat
from hyperadapters.training.chat_template import _in_template
from hyperadapters.training.encoded import Encoded, _count_longer, _Cut, _truncate, _truncate_start
from hyperadapters.training.encoding import Decoding, _Encoding
from hyperadapters.training.generated_text import _generate_answers, _generate_tokens, _tokens_to_texts
from hyperadapters.training.label_strings import _label_chunks, _label_tokens, _likeliest, _read_labels
from hyperadapters.training.row_generation import RowGeneration
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
        targets = self.tokenize_answers([row.target for row in rows], tokenizer)
        (beginning, ending), (_, target_ending) = _source_frame(tokenizer), _target_frame(tokenizer)
        cut = _Cut(_count_longer(sources, source_length), _count_longer(targets, target_length))
        if form.style == "conversation":  # its end is kept, where the question stands
            sources = [_truncate_start(source, source_length, beginning) for source in sources]
        return [
            Encoded(_truncate(source, source_length, ending), _truncate(target, target_length, target_ending))
            for source, target in zip(sources, targets, strict=True)
        ], cut

    def tokenize_answers(self, answers: Sequence[str], tokenizer: Any) -> list[list[int]]:
        found, end = _as_targets(answers, tokenizer), tokenizer.eos_token_id
        if end is None:
            raise InputError("the backbone's tokenizer has no end-of-sequence token, so its answers would not end.")
        return [tokens if end in tokens else [*tokens, end] for tokens in found]

    def inputs(self, backbone: nn.Module, rows: Sequence[Encoded], pad: int) -> dict[str, Any]:
        return self._inputs_and_labels(backbone, rows, pad)[0]

    def _inputs_and_labels(
        self, backbone: nn.Module, rows: Sequence[Encoded], pad: int
    ) -> tuple[dict[str, Any], Int[Tensor, "batch seq"]]:
        batch = _on_device(_collate(rows, pad), backbone)
        labels = batch.pop("labels")
        if labels.shape[1] == 0:  # a process without a row of its own takes part with a loss of zero
            labels = torch.full((len(rows), 1), _IGNORED, device=labels.device)
        shifted = backbone.prepare_decoder_input_ids_from_labels(labels=labels)  # type: ignore[operator]
        read = shifted.masked_fill(labels == _IGNORED, pad)  # not what stands there: it depends on the longest row
        return {**batch, "decoder_input_ids": read, "use_cache": False}, labels

    def losses(
        self,
        model: nn.Module,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        pad: int,
        smoothing: float = 0.0,
        outputs: Sequence[int] | None = None,
    ) -> Float[Tensor, " rows"]:
        batch, labels = self._inputs_and_labels(backbone, rows, pad)
        return _row_cross_entropy(model(**batch).logits, labels, smoothing)

    def score_labels(
        self, backbone: nn.Module, rows: Sequence[Encoded], forms: Sequence[TaskFormat], tokenizer: Any
    ) -> Float[Tensor, "batch labels"]:
        source = _on_device(_source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        labels = _label_tokens(forms, partial(self.tokenize_answers, tokenizer=tokenizer))
        return _score_labels(backbone, source, labels)

    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[TaskFormat],
        tokenizer: Any,
        decoding: Decoding,
        generated: Sequence[RowGeneration] = (),
    ) -> list[str]:
        if decoding.mode == "score":
            return _likeliest(self.score_labels(backbone, rows, forms, tokenizer), forms)
        source = _on_device(_source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        tokenize = partial(self.tokenize_answers, tokenizer=tokenizer)
        tokens = _generate_answers(
            backbone, source, tokenizer, decoding, generated, **_first_tokens(backbone, tokenizer)
        )
        return _read_labels(_tokens_to_texts(tokens, tokenizer), forms, tokenize, tokenizer)

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        source = _on_device(_source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        first = _first_tokens(backbone, tokenizer)
        return _generate_tokens(backbone, source, tokenizer, min_new_tokens=tokens, max_new_tokens=tokens, **first)


def _as_targets(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Return texts in tokens as a tokenizer writes targets: Marian by another vocabulary, NLLB in another language."""
    if "text_target" in inspect.signature(type(tokenizer).__call__).parameters:
        found: list[list[int]] = tokenizer(text_target=[*texts], verbose=False).input_ids
        return found
    found = tokenizer([*texts], verbose=False).input_ids
    return found


def _source_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens that a tokenizer writes before and after every source, such as its language."""
    return _split_frame(tokenizer([""], verbose=False).input_ids[0], tokenizer.eos_token_id)


def _target_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens before and after every target; the end of sequence is one of those after it."""
    return _split_frame(_as_targets([""], tokenizer)[0], tokenizer.eos_token_id)


def _split_frame(tokens: list[int], end: int) -> tuple[list[int], list[int]]:
    """Return the tokens of an empty text up to the end of sequence, and from there on."""
    place = tokens.index(end) if end in tokens else len(tokens)
    return tokens[:place], tokens[place:] or [end]


def _first_tokens(backbone: nn.Module, tokenizer: Any) -> dict[str, int | None]:
    """Return how generation begins: with what training shows the decoder before every target, such as its language."""
    beginning, ending = _target_frame(tokenizer)
    labels = torch.tensor([[*beginning, *ending]])
    shown = backbone.prepare_decoder_input_ids_from_labels(labels=labels)  # type: ignore[operator]
    forced = beginning[0] if beginning else None
    return {"decoder_start_token_id": int(shown[0, 0]), "forced_bos_token_id": forced}


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

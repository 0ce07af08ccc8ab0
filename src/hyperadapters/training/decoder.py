"""Tasks on causal language models: the answer continues the source."""

import copy
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import cache_argument, cache_in
from hyperadapters.tasks import Example, TaskFormat
from hyperadapters.training.chat_template import _in_template
from hyperadapters.training.encoded import Encoded, _count_longer, _Cut, _truncate
from hyperadapters.training.encoding import Decoding, _Encoding
from hyperadapters.training.generated_text import _generate_answers, _generate_tokens, _tokens_to_texts
from hyperadapters.training.label_strings import _label_chunks, _label_tokens, _likeliest, _read_labels
from hyperadapters.training.row_generation import RowGeneration
from hyperadapters.training.tensors import (
    _IGNORED,
    _on_device,
    _pad_sequences,
    _row_cross_entropy,
    _source_batch,
    _summed_log_probability,
)


class _Decoder(_Encoding):
    """Causal text: the target continues the source, and only the target is learned.

    Batches are padded on the left where something follows (generation, label strings), on the right in training.
    """

    name = "decoder"

    def length(self, row: Encoded) -> int:
        return len(row.source) + len(row.target)

    def padded_tokens(self, rows: Sequence[Encoded]) -> int:
        return len(rows) * max(self.length(row) for row in rows)

    def encode(
        self, rows: Sequence[Example], form: TaskFormat, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], _Cut]:
        end = tokenizer.eos_token_id
        if end is None:
            raise InputError("the backbone's tokenizer has no end-of-sequence token, so its answers would not end.")
        if form.style == "conversation":
            sources, targets = _conversations(rows, tokenizer)
        else:
            found = tokenizer([row.source for row in rows], verbose=False).input_ids
            sources = [_without_end(tokens, end) for tokens in found]
            targets = self.tokenize_answers([row.target for row in rows], tokenizer)
        cut = _Cut(_count_longer(sources, source_length), _count_longer(targets, target_length))
        # of a conversation the end is kept, where the question stands
        kept = slice(-source_length, None) if form.style == "conversation" else slice(source_length)
        return [
            Encoded(source[kept], _truncate(target, target_length, [end]))
            for source, target in zip(sources, targets, strict=True)
        ], cut

    def tokenize_answers(self, answers: Sequence[str], tokenizer: Any) -> list[list[int]]:
        """Return answers in tokens as they continue a source: after a space, and ended."""
        spaced = [f" {answer}" for answer in answers]
        found = tokenizer(spaced, add_special_tokens=False, verbose=False).input_ids
        return [[*tokens, tokenizer.eos_token_id] for tokens in found]

    def inputs(self, backbone: nn.Module, rows: Sequence[Encoded], pad: int) -> dict[str, Any]:
        sequences = [[*row.source, *row.target] for row in rows]
        return {**_on_device(_source_batch(sequences, pad), backbone), "use_cache": False}

    def losses(
        self,
        model: nn.Module,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        pad: int,
        smoothing: float = 0.0,
        outputs: Sequence[int] | None = None,
    ) -> Float[Tensor, " rows"]:
        batch = self.inputs(backbone, rows, pad)
        labels = _pad_sequences([[*[_IGNORED] * len(row.source), *row.target] for row in rows], _IGNORED)
        first = min(len(row.source) for row in rows) - 1  # nothing is learned from logits before this position
        kept = torch.arange(first, labels.shape[1], device=batch["input_ids"].device)
        logits = model(**batch, logits_to_keep=kept).logits
        return _row_cross_entropy(logits[:, :-1], labels[:, first + 1 :].to(logits.device), smoothing)

    def score_labels(
        self, backbone: nn.Module, rows: Sequence[Encoded], forms: Sequence[TaskFormat], tokenizer: Any
    ) -> Float[Tensor, "batch labels"]:
        sources = _source_batch([row.source for row in rows], tokenizer.pad_token_id, side="left")
        labels = _label_tokens(forms, partial(self.tokenize_answers, tokenizer=tokenizer))
        return _score_continuations(backbone, _on_device(sources, backbone), labels)

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
        sources = _source_batch([row.source for row in rows], tokenizer.pad_token_id, side="left")
        source = _on_device(sources, backbone)
        tokenize = partial(self.tokenize_answers, tokenizer=tokenizer)
        tokens = _generate_answers(backbone, source, tokenizer, decoding, generated)
        texts = _tokens_to_texts(tokens[:, source["input_ids"].shape[1] :], tokenizer)
        return _read_labels(texts, forms, tokenize, tokenizer)

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        sources = _source_batch([row.source for row in rows], tokenizer.pad_token_id, side="left")
        return _generate_tokens(
            backbone, _on_device(sources, backbone), tokenizer, min_new_tokens=tokens, max_new_tokens=tokens
        )


def _without_end(tokens: list[int], end: int) -> list[int]:
    """Return a source without the end-of-sequence token that some tokenizers write after it."""
    return tokens[:-1] if tokens and tokens[-1] == end else tokens


def _conversations(rows: Sequence[Example], tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Return conversations and their answers in tokens, as the chat template writes them; answers are ended.

    The template writes special tokens itself.
    """
    written = [_in_template(row, tokenizer) for row in rows]
    sources, answers = (
        tokenizer([getattr(row, side) for row in written], add_special_tokens=False, verbose=False).input_ids
        for side in ("source", "target")
    )
    end = tokenizer.eos_token_id
    return sources, [[*takewhile(lambda token: token != end, answer), end] for answer in answers]


def _score_continuations(
    backbone: nn.Module, source: dict[str, Tensor], labels: Int[Tensor, "#batch labels seq"]
) -> Float[Tensor, "batch labels"]:
    """Return the log-probability of every label string as the continuation of every row, which is computed once.

    `source` is padded on the left. The second pass computes the label strings alone, on the first one's cache.
    """
    mask = source["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    prefix = backbone(**source, position_ids=positions, use_cache=True, logits_to_keep=1)
    steps = torch.arange(1, labels.shape[2], device=mask.device)

    def scores(labels: Int[Tensor, "#batch some seq"], cache: Any) -> Float[Tensor, "batch some"]:
        count = labels.shape[1]
        targets = labels.to(mask.device).expand(len(mask), -1, -1).flatten(0, 1)
        cache.batch_repeat_interleave(count)
        following = backbone(
            input_ids=targets[:, :-1].clamp(min=0),
            attention_mask=torch.cat([mask.repeat_interleave(count, 0), (targets[:, :-1] != _IGNORED).long()], dim=1),
            position_ids=positions[:, -1:].repeat_interleave(count, 0) + steps,
            use_cache=True,
            **{cache_argument(backbone): cache},
        ).logits
        first = prefix.logits[:, -1:].repeat_interleave(count, 0)
        return _summed_log_probability(torch.cat([first, following], dim=1), targets).view(len(mask), count)

    *others, last = _label_chunks(backbone, len(mask), labels)
    cache = cache_in(prefix)
    found = [scores(chunk, copy.deepcopy(cache)) for chunk in others]  # each pass writes to its cache
    return torch.cat([*found, scores(last, cache)], dim=1)

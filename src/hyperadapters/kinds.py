"""What the three kinds of backbone do differently with a task: rows to tokens, a batch to a loss, a batch to answers.

An encoder-decoder and a decoder answer in text, an encoder with a class or a number from the Delta's own head. The
tasks, their metrics, the training loop and the commands are the same for all.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from jinja2 import TemplateError
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from hyperadapters.anatomy import BackboneKind
from hyperadapters.errors import InputError
from hyperadapters.placement import device_of
from hyperadapters.tasks.task import Example, Form, Labels, Score

IGNORED = -100
"""Label of a padded position, as in PyTorch's cross entropy."""


class Encoded(NamedTuple):
    """One example in tokens; for an encoder the target is the number of the class, or the score."""

    source: list[int]
    target: list[int] | list[float]
    task: str = ""
    """Its task's name, where several are trained together."""
    segments: Sequence[int] = ()
    """For an encoder that tells the texts of a pair apart by them: each source token's segment (`token_type_ids`)."""


class Cut(NamedTuple):
    """How many rows were longer than their limits, and lost their end; of a conversation, its beginning."""

    sources: int
    targets: int = 0


class Kind(ABC):
    """One kind of backbone. Concrete kinds have no state."""

    name: ClassVar[BackboneKind]

    def outputs(self, form: Form) -> int | None:
        """How many outputs the Delta's own head has for a task; None where there is no head."""
        return None

    def length(self, row: Encoded) -> int:
        """By how many tokens a row is long, for grouping rows of like length."""
        return len(row.source)

    def padded_tokens(self, rows: Sequence[Encoded]) -> int:
        """Tokens computed for a batch, with padding."""
        return len(rows) * (max(len(row.source) for row in rows) + max(len(row.target) for row in rows))

    def mode(self, form: Form, wanted: str) -> str:
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
        self, rows: Sequence[Example], form: Form, tokenizer: Any, source_length: int, target_length: int
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
        forms: Sequence[Form],
        tokenizer: Any,
        mode: str,
        target_length: int,
        beams: int,
    ) -> list[str]:
        """The answer to every row: the likeliest of those that its form has, or what is generated."""

    @abstractmethod
    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        """What answering costs: exactly so many tokens greedily for every row, whatever the model would say."""


# -- encoder-decoder -------------------------------------------------------------------------------------------------


class EncoderDecoder(Kind):
    """Text to text: source and target are sequences of their own, each ended by the end-of-sequence token."""

    name = "encoder-decoder"

    def encode(
        self, rows: Sequence[Example], form: Form, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], Cut]:
        if form.style == "conversation":
            rows = [in_template(row, tokenizer) for row in rows]
        sources = tokenizer([row.source for row in rows], verbose=False).input_ids
        targets = tokenizer([row.target for row in rows], verbose=False).input_ids
        end = tokenizer.eos_token_id
        cut = Cut(longer(sources, source_length), longer(targets, target_length))
        return [
            Encoded(clipped(source, source_length, end), clipped(target, target_length, end))
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
        forms: Sequence[Form],
        tokenizer: Any,
        mode: str,
        target_length: int,
        beams: int,
    ) -> list[str]:
        source = on_device(source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        if mode == "score":
            labels = label_tokens(forms, lambda answers: tokenizer(answers).input_ids)
            return likeliest(score_labels(backbone, source, labels), forms)
        return texts(generated(backbone, source, tokenizer, max_new_tokens=target_length, num_beams=beams), tokenizer)

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        source = on_device(source_batch([row.source for row in rows], tokenizer.pad_token_id), backbone)
        return generated(backbone, source, tokenizer, min_new_tokens=tokens, max_new_tokens=tokens)


def labels_of(form: Form) -> tuple[str, ...]:
    """The label strings of a task that has some."""
    assert isinstance(form.target, Labels)
    return form.target.texts


def label_tokens(
    forms: Sequence[Form], tokenize: Callable[[list[str]], list[list[int]]]
) -> Int[Tensor, "batch labels seq"]:
    """The label strings of every row in tokens; -100 where padded, and for labels that another row alone has."""
    sets = list(dict.fromkeys(labels_of(form) for form in forms))
    most = max(len(texts) for texts in sets)
    rows = [row for texts in sets for row in (*tokenize(list(texts)), *[[]] * (most - len(texts)))]
    tokens = padded(rows, IGNORED)
    return tokens.view(len(sets), most, -1)[[sets.index(labels_of(form)) for form in forms]]


def score_labels(
    backbone: nn.Module, source: dict[str, Tensor], labels: Int[Tensor, "#batch labels seq"]
) -> Float[Tensor, "batch labels"]:
    """Log-probability of every label string for every row, from one pass of the encoder and few of the decoder."""
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

    return torch.cat([scores(part) for part in parts(backbone, batch, labels)], dim=1)


LOGITS = 2**27
"""How many logits of label strings are made at a time: half a gigabyte in float32."""


def parts(
    backbone: nn.Module, batch: int, labels: Int[Tensor, "#batch labels seq"]
) -> tuple[Int[Tensor, "#batch _ seq"], ...]:
    """Label strings, as many together as memory should hold the logits of for these rows."""
    vocabulary = backbone.config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    return torch.split(labels, max(1, LOGITS // (batch * labels.shape[2] * vocabulary)), dim=1)


# -- encoder ---------------------------------------------------------------------------------------------------------


class Encoder(Kind):
    """A classification or regression head, the Delta's own, over one text or a pair (Houlsby et al., §3.1)."""

    name = "encoder"

    def outputs(self, form: Form) -> int:
        """One for each class, or one for a number.

        Raises:
            InputError: the answers are neither.
        """
        if isinstance(form.target, Labels):
            return len(form.target.texts)
        if isinstance(form.target, Score):
            return 1
        raise InputError(
            f"task {form.name}: the answers are {form.target.expected()}, but an encoder answers with classes or "
            "numbers. Use an encoder-decoder or a decoder as backbone."
        )

    def mode(self, form: Form, wanted: str) -> str:
        if wanted == "generate":
            raise InputError("evaluation.decode=generate: an encoder generates no text. Use auto or score.")
        return "score"

    def encode(
        self, rows: Sequence[Example], form: Form, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], Cut]:
        self.outputs(form)
        texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
        found = tokenizer(*texts, verbose=False)
        cut = Cut(longer(found.input_ids, source_length))
        if cut.sources:  # of a pair, the longer text loses its end first
            found = tokenizer(*texts, verbose=False, truncation=True, max_length=source_length)
        segments = getattr(found, "token_type_ids", None) or [()] * len(rows)
        return [
            Encoded(source, [form.target.decode(row.target)], segments=own)
            for source, own, row in zip(found.input_ids, segments, rows, strict=True)
        ], cut

    def losses(
        self, model: nn.Module, backbone: nn.Module, rows: Sequence[Encoded], pad: int
    ) -> Float[Tensor, " rows"]:
        logits: Tensor = model(**encoder_batch(rows, pad, backbone)).logits.float()
        targets = [row.target[0] for row in rows if row.target]
        if not targets:  # a process without a row of its own takes part with a loss of zero
            return 0.0 * logits.sum(-1)
        if logits.shape[1] == 1:
            wanted = torch.tensor(targets, device=logits.device, dtype=logits.dtype)
            return (logits.squeeze(-1) - wanted).square()
        classes = torch.tensor(targets, device=logits.device, dtype=torch.long)
        return F.cross_entropy(logits, classes, reduction="none")

    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[Form],
        tokenizer: Any,
        mode: str,
        target_length: int,
        beams: int,
    ) -> list[str]:
        logits = backbone(**encoder_batch(rows, tokenizer.pad_token_id, backbone)).logits
        if logits.shape[1] > 1:
            return likeliest(logits, forms)
        return [in_range(value, form) for (value,), form in zip(logits.float().tolist(), forms, strict=True)]

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        logits: Tensor = backbone(**encoder_batch(rows, tokenizer.pad_token_id, backbone)).logits
        return logits


def encoder_batch(rows: Sequence[Encoded], pad: int, backbone: nn.Module) -> dict[str, Tensor]:
    """Sources as an encoder takes them, with the segments of pairs where it knows segments."""
    batch = source_batch([row.source for row in rows], pad)
    if rows[0].segments and getattr(backbone.config, "type_vocab_size", 0) > 1:
        batch["token_type_ids"] = padded([row.segments for row in rows], 0)
    return on_device(batch, backbone)


# -- decoder ---------------------------------------------------------------------------------------------------------


class Decoder(Kind):
    """Causal text: the target continues the source, and only the target is learned.

    Batches are padded on the left where something follows (generation, label strings), on the right in training.
    """

    name = "decoder"

    def length(self, row: Encoded) -> int:
        return len(row.source) + len(row.target)

    def padded_tokens(self, rows: Sequence[Encoded]) -> int:
        return len(rows) * max(self.length(row) for row in rows)

    def encode(
        self, rows: Sequence[Example], form: Form, tokenizer: Any, source_length: int, target_length: int
    ) -> tuple[list[Encoded], Cut]:
        end = tokenizer.eos_token_id
        if end is None:
            raise InputError("the backbone's tokenizer has no end-of-sequence token, so its answers would not end.")
        if form.style == "conversation":
            sources, targets = conversations(rows, tokenizer)
        else:
            found = tokenizer([row.source for row in rows], verbose=False).input_ids
            sources = [unended(tokens, end) for tokens in found]
            targets = continuations([row.target for row in rows], tokenizer)
        cut = Cut(longer(sources, source_length), longer(targets, target_length))
        kept = slice(-source_length, None) if form.style == "conversation" else slice(source_length)
        return [
            Encoded(source[kept], clipped(target, target_length, end))
            for source, target in zip(sources, targets, strict=True)
        ], cut

    def losses(
        self, model: nn.Module, backbone: nn.Module, rows: Sequence[Encoded], pad: int
    ) -> Float[Tensor, " rows"]:
        sequences = [[*row.source, *row.target] for row in rows]
        batch = on_device(source_batch(sequences, pad), backbone)
        labels = padded([[*[IGNORED] * len(row.source), *row.target] for row in rows], IGNORED)
        first = min(len(row.source) for row in rows) - 1  # nothing is learned from logits before this position
        kept = torch.arange(first, labels.shape[1], device=batch["input_ids"].device)
        logits = model(**batch, use_cache=False, logits_to_keep=kept).logits
        return row_cross_entropy(logits[:, :-1], labels[:, first + 1 :].to(logits.device))

    def answer(
        self,
        backbone: nn.Module,
        rows: Sequence[Encoded],
        forms: Sequence[Form],
        tokenizer: Any,
        mode: str,
        target_length: int,
        beams: int,
    ) -> list[str]:
        sources = source_batch([row.source for row in rows], tokenizer.pad_token_id, side="left")
        source = on_device(sources, backbone)
        if mode == "score":
            labels = label_tokens(forms, lambda answers: continuations(answers, tokenizer))
            return likeliest(score_continuations(backbone, source, labels), forms)
        tokens = generated(backbone, source, tokenizer, max_new_tokens=target_length, num_beams=beams)
        return texts(tokens[:, source["input_ids"].shape[1] :], tokenizer)

    def compute_answers(self, backbone: nn.Module, rows: Sequence[Encoded], tokenizer: Any, tokens: int) -> Tensor:
        sources = source_batch([row.source for row in rows], tokenizer.pad_token_id, side="left")
        return generated(
            backbone, on_device(sources, backbone), tokenizer, min_new_tokens=tokens, max_new_tokens=tokens
        )


def unended(tokens: list[int], end: int) -> list[int]:
    """A source without the end-of-sequence token that some tokenizers write after it."""
    return tokens[:-1] if tokens and tokens[-1] == end else tokens


def continuations(answers: list[str], tokenizer: Any) -> list[list[int]]:
    """Answers in tokens as they continue a source: after a space, and ended."""
    found = tokenizer([f" {answer}" for answer in answers], add_special_tokens=False, verbose=False).input_ids
    return [[*tokens, tokenizer.eos_token_id] for tokens in found]


def conversations(rows: Sequence[Example], tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Conversations and their answers in tokens, as the chat template has them; answers are ended.

    The template writes special tokens itself, and cutting takes a conversation's beginning: what is asked stands last.
    """
    written = [in_template(row, tokenizer) for row in rows]
    sources, answers = (
        tokenizer([getattr(row, part) for row in written], add_special_tokens=False, verbose=False).input_ids
        for part in ("source", "target")
    )
    end = tokenizer.eos_token_id
    return sources, [[*takewhile(lambda token: token != end, answer), end] for answer in answers]


def score_continuations(
    backbone: nn.Module, source: dict[str, Tensor], labels: Int[Tensor, "#batch labels seq"]
) -> Float[Tensor, "batch labels"]:
    """Log-probability of every label string as the continuation of every row, which is computed once.

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
            attention_mask=torch.cat([mask.repeat_interleave(count, 0), (targets[:, :-1] != IGNORED).long()], dim=1),
            position_ids=positions[:, -1:].repeat_interleave(count, 0) + steps,
            past_key_values=cache,
            use_cache=True,
        ).logits
        first = prefix.logits[:, -1:].repeat_interleave(count, 0)
        return summed_log_probability(torch.cat([first, following], dim=1), targets).view(len(mask), count)

    *others, last = parts(backbone, len(mask), labels)
    found = [scores(part, copy.deepcopy(prefix.past_key_values)) for part in others]  # each pass writes to its cache
    return torch.cat([*found, scores(last, prefix.past_key_values)], dim=1)


KINDS: dict[BackboneKind, Kind] = {kind.name: kind for kind in (EncoderDecoder(), Encoder(), Decoder())}
"""Every kind by its name."""


# -- conversations ---------------------------------------------------------------------------------------------------

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


# -- batches ---------------------------------------------------------------------------------------------------------


def longer(rows: Sequence[Sequence[int]], limit: int) -> int:
    """How many rows have more tokens than the limit."""
    return sum(len(tokens) > limit for tokens in rows)


def clipped(tokens: list[int], limit: int, end: int) -> list[int]:
    """The first `limit` tokens, the last of them the end of the sequence."""
    return tokens if len(tokens) <= limit else [*tokens[: limit - 1], end]


def padded(
    rows: Sequence[Sequence[int] | Sequence[float]], value: int, side: str = "right"
) -> Int[Tensor, "batch seq"]:
    """Rows as one tensor, filled up with `value`."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)


def source_batch(sources: Sequence[Sequence[Any]], pad: int, side: str = "right") -> dict[str, Int[Tensor, "batch _"]]:
    """`input_ids` and `attention_mask`."""
    mask = [[1] * len(source) for source in sources]
    return {"input_ids": padded(sources, pad, side), "attention_mask": padded(mask, 0, side)}


def collate(rows: Sequence[Encoded], pad: int) -> dict[str, Int[Tensor, "batch _"]]:
    """A text-to-text batch: `input_ids`, `attention_mask`, and `labels` with -100 where padded."""
    return {
        **source_batch([row.source for row in rows], pad),
        "labels": padded([row.target for row in rows], IGNORED),
    }


def on_device(batch: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """A batch where a pass through the backbone begins."""
    device = device_of(backbone)
    return {key: value.to(device) for key, value in batch.items()}


def row_cross_entropy(
    logits: Float[Tensor, "batch seq vocab"], labels: Int[Tensor, "batch seq"]
) -> Float[Tensor, " batch"]:
    """Each row's cross entropy in float32, summed over its labels that are not -100."""
    each = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return each.view(labels.shape).sum(-1)


def summed_log_probability(
    logits: Float[Tensor, "rows seq vocab"], targets: Int[Tensor, "rows seq"]
) -> Float[Tensor, " rows"]:
    """The log-probability of each row's targets, those that are -100 left out."""
    chosen = logits.float().log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return chosen.masked_fill(targets == IGNORED, 0.0).sum(-1)


def likeliest(scores: Float[Tensor, "batch labels"], forms: Sequence[Form]) -> list[str]:
    """The label string with the highest score of each row, among those of its task."""
    counts = torch.tensor([len(labels_of(form)) for form in forms], device=scores.device)
    others = torch.arange(scores.shape[1], device=scores.device) >= counts.unsqueeze(-1)
    best = scores.masked_fill(others, -math.inf).argmax(-1).tolist()
    return [labels_of(form)[i] for i, form in zip(best, forms, strict=True)]


def in_range(value: float, form: Form) -> str:
    """A number as the answer of a task whose answers are numbers, within its limits; or its only label."""
    if isinstance(form.target, Labels):
        return form.target.texts[0]
    assert isinstance(form.target, Score)
    return f"{min(max(value, form.target.low), form.target.high):.6g}"


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

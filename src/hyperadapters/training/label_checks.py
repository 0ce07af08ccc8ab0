"""Checks of what is to be answered, in tokens: labels that look alike to the backbone, targets that it cannot write."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from hyperadapters._utils import InputError, few_names, listed, shortened
from hyperadapters.tasks import Example, Labels, TagSequence, TaskFormat
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encoding import _Encoding


def _check_labels(form: TaskFormat, encoding: _Encoding, tokenizer: Any, target_length: int) -> None:
    """Raise InputError if a backbone that answers in text cannot tell a task's labels apart, or cannot write them.

    Args:
        form: the task's form; answers that are no labels are not checked.
        encoding: of the kind of backbone.
        tokenizer: the backbone's tokenizer.
        target_length: most tokens of an answer.
    """
    if isinstance(form.target, TagSequence) and encoding.name != "encoder":
        raise InputError(
            f"task {form.name}: the answers are a tag for each word, which only an encoder gives (such as BERT or "
            f"ModernBERT); the backbone is of the kind {encoding.name}. Give an encoder as --backbone, or write the "
            "spans as text and use --target."
        )
    if not isinstance(form.target, Labels) or encoding.name == "encoder":
        return
    labels = form.target.texts
    tokens = encoding.tokenize_answers(labels, tokenizer)
    problems = [
        f"{few_names(map(repr, same))}: the tokenizer makes the same tokens of them, {_tokens_in_words(key, tokenizer)}"
        for key, same in _alike(labels, map(tuple, tokens)).items()
    ]
    problems += [
        f"{shortened(label)!r} holds {which}, which the tokenizer takes as a mark of its own"
        for label, which in _special_tokens(labels, tokenizer)
    ]
    if problems:
        raise InputError(
            f"task {form.name}: the backbone cannot tell labels apart. Write them in other words, in all files:\n  "
            f"{listed(problems)}"
        )
    longest = max(map(len, tokens))
    if longest > target_length:
        long = [repr(label) for label, own in zip(labels, tokens, strict=True) if len(own) > target_length]
        raise InputError(
            f"task {form.name}: {len(long):,} label(s) are longer than text.target_length={target_length} tokens and "
            f"would be cut: {few_names(long)}. Use text.target_length={longest}, or shorter labels."
        )


def _alike(labels: Sequence[str], keys: Iterable[Hashable]) -> dict[Any, list[str]]:
    """Return the labels that share a key, by it."""
    groups: dict[Any, list[str]] = defaultdict(list)
    for label, key in zip(labels, keys, strict=True):
        groups[key].append(label)
    return {key: same for key, same in groups.items() if len(same) > 1}


def _tokens_in_words(tokens: Sequence[int], tokenizer: Any) -> str:
    """Return tokens as the tokenizer calls them."""
    return " ".join(map(str, tokenizer.convert_ids_to_tokens([*tokens])))


def _special_tokens(labels: Sequence[str], tokenizer: Any) -> list[tuple[str, str]]:
    """Return the labels that hold one of the tokenizer's special tokens, such as </s>, and the first of these."""
    special = [token for token in tokenizer.all_special_tokens if token != tokenizer.unk_token]
    found = [(label, next((token for token in special if token in label), "")) for label in labels]
    return [(label, token) for label, token in found if token]


def _count_unwritable(rows: Sequence[Example], encoded: Sequence[Encoded], tokenizer: Any, target_length: int) -> int:
    """Return how many targets the tokenizer does not give back as they are written; those that were cut are left out.

    An answer never equals such a target: it holds unknown or special tokens, or white space that the tokenizer drops.

    Args:
        rows: with their targets as text.
        encoded: the same rows in tokens.
        tokenizer: the backbone's tokenizer.
        target_length: most tokens of a target.
    """
    found = tokenizer.batch_decode([own.target for own in encoded], skip_special_tokens=True)
    return sum(
        len(own.target) < target_length and text.strip() != row.target.strip()
        for text, row, own in zip(found, rows, encoded, strict=True)
    )

"""What tasks are read from: frozen states of the backbone over descriptions of them, or over labelled examples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hyperadapters._utils import InputError, few_names
from hyperadapters.backbones import device_of, in_mode
from hyperadapters.delta.added_tasks import _add_task

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta

Said = str | Sequence[str]
"""What says of a task what it is: one text, or several whose states are averaged."""

MOST_EXAMPLES = 16
"""Labelled examples that a task may be read from."""

DESCRIPTIONS = "descriptions"
"""The key of `Delta.about` with the descriptions by task. Examples are rows of data, and are not saved."""

_TEXTS_A_PASS = 32


def _describe(delta: "Delta", said: Mapping[str, Said], tokenizer: Any) -> None:
    """Read tasks of a Delta; arguments and errors are those of `Delta.describe`."""
    if not said:
        raise InputError("nothing is said: give a description for each task, by its name.")
    known = {delta.tasks[delta._rows.number(task)]: _texts(delta, texts) for task, texts in said.items()}
    _tell(delta, known, _read(delta, known, tokenizer))


def _add_described(delta: "Delta", task: str, outputs: int | None, texts: tuple[str, ...], tokenizer: Any) -> None:
    """Add a task of which something is said; arguments and errors are those of `Delta.add_task`."""
    states = _read(delta, {task: texts}, tokenizer)
    _add_task(delta, task, "", outputs)
    _tell(delta, {task: texts}, states)


def _read(delta: "Delta", said: Mapping[str, tuple[str, ...]], tokenizer: Any) -> Sequence[Tensor]:
    """Return the states of what is said of each task, (wordings, d_model); errors as `_states_of`."""
    from hyperadapters.backbones import load_tokenizer  # noqa: PLC0415 (it imports transformers, which takes seconds)

    tokenizer = tokenizer or load_tokenizer(delta.backbone.config._name_or_path)
    every = [text for texts in said.values() for text in texts]
    return torch.split(_states_of(delta, tokenizer, every), [len(texts) for texts in said.values()])


def _tell(delta: "Delta", said: Mapping[str, tuple[str, ...]], states: Sequence[Tensor]) -> None:
    """Give the parts of a Delta the states of its tasks, and remember the descriptions."""
    delta._settle()
    for _, part in delta._named_parts():
        if known := part.known_of_tasks():
            known.set([delta._rows.number(task) for task in said], states)
    delta._generation.forget()
    if delta.trained_task in said:
        delta.train_only(delta.trained_task)
    if _source_of(delta) == "description":
        saved = {**delta.about.get(DESCRIPTIONS, {}), **{task: [*texts] for task, texts in said.items()}}
        delta.about = {**delta.about, DESCRIPTIONS: saved}


def _said(delta: "Delta", like: str, description: Said, examples: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return what is said of a new task as texts, checked before the task is added; empty: nothing.

    Raises:
        InputError: more than one thing is said, or not what the Delta reads.
    """
    given = {"like": like, "description": description, "examples": examples}
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)}: a task starts from one of them. Leave out the others.")
    source = _source_of(delta)
    if names and names[0] != "like" and source != "table" and not names[0].startswith(source):
        raise InputError(f"Delta {delta.name!r} was made to read a task's {source}, not its {names[0]}.")
    if examples:
        return _texts(delta, [write_example((text,), answer) for text, answer in examples])
    return _texts(delta, description) if description else ()


def write_example(texts: Sequence[str], answer: str) -> str:
    """Return a labelled example as the text that a Delta with `task_source="examples"` reads.

    Args:
        texts: the texts of a row, one or a pair.
        answer: its label in words.
    """
    return "\n".join([*texts, answer])


def _source_of(delta: "Delta") -> str:
    """Return where the Delta's method has task embeddings from."""
    return str(getattr(delta.method, "task_source", "table"))


def _texts(delta: "Delta", said: Said) -> tuple[str, ...]:
    """Return what is said of a task as texts.

    Raises:
        InputError: the Delta reads nothing, nothing is said, or there are too many examples.
    """
    source, texts = _source_of(delta), (said,) if isinstance(said, str) else tuple(said)
    if source == "table":
        raise InputError(
            f"Delta {delta.name!r} looks its task embeddings up, so a description tells it nothing. Attach and train "
            "one that reads them: hyperformer++ with task_source='description'."
        )
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{said!r} says nothing of a task: give a text, or several.")
    if source == "examples" and len(texts) > MOST_EXAMPLES:
        raise InputError(f"{len(texts)} examples: a task is read from up to {MOST_EXAMPLES}. Leave some out.")
    return texts


def near_tasks(delta: "Delta", task: str) -> list[str]:
    """Return a Delta's other tasks by the cosine between their states and that of one, the nearest first.

    Args:
        delta: it reads its tasks.
        task: one of its tasks.
    """
    (known,) = (found for _, part in delta._named_parts() if (found := part.known_of_tasks()))
    own = delta._rows.number(task)
    likeness = F.cosine_similarity(known.states - known.centre, known.states[own] - known.centre, dim=-1)
    return [delta.tasks[number] for number in likeness.argsort(descending=True).tolist() if number != own]


@torch.no_grad()
def _states_of(delta: "Delta", tokenizer: Any, texts: Sequence[str]) -> Float[Tensor, "texts d_model"]:
    """Return the mean of the frozen backbone's last states over each text; an encoder-decoder's encoder has them.

    Raises:
        InputError: a text is longer than the backbone reads.
    """
    backbone: Any = delta.backbone
    longest = min(tokenizer.model_max_length, getattr(backbone.config, "max_position_embeddings", 1 << 20) or 1 << 20)
    found = []
    with delta.disabled(), in_mode(backbone, training=False):
        model = backbone.get_encoder() if backbone.config.is_encoder_decoder else backbone.base_model
        for start in range(0, len(texts), _TEXTS_A_PASS):
            batch = [*texts[start : start + _TEXTS_A_PASS]]
            tokens = tokenizer(batch, padding=True, return_tensors="pt").to(device_of(backbone))
            if tokens.input_ids.shape[1] > longest:
                long = few_names([repr(text[:60]) for text in batch if len(tokenizer(text).input_ids) > longest])
                raise InputError(f"the backbone reads {longest} tokens; longer, and to be shortened: {long}.")
            states = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state.float()
            mask = tokens.attention_mask.unsqueeze(-1)
            found.append((states * mask).sum(1) / mask.sum(1))
    return torch.cat(found)

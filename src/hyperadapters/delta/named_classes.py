"""The names of a head's classes, which a backbone's configuration states while a Delta is in use.

The pipelines of transformers for the classification of texts and of tokens show them. They are those of the task that
the Delta says (`about`), or `labels` there, which `ha.attach(outputs=[...])` writes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from hyperadapters._utils import InputError, few_names

_LABELS = "labels"
"""The key of `Delta.about` for the names of a head's classes where no task says them."""

_PROBLEMS = {"label_set": "multi_label_classification", "score": "regression", "number": "regression"}
"""What transformers calls a head's problem, by the type of answers as `TaskFormat.to_json` names it."""


def _check_names(names: Sequence[str]) -> int:
    """Return the number of classes that names stand for.

    Raises:
        InputError: they are one text, fewer than two, or not different texts.
    """
    if isinstance(names, str):
        raise InputError(f"outputs={names!r}: give a list of names, one for each class, or the number of outputs.")
    wrong = [repr(name) for name in names if not isinstance(name, str) or not name.strip()]
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if wrong or twice or len(names) < 2:
        found = [f"{few_names(wrong)} is no name"] * bool(wrong) + [f"{few_names(twice)} stands twice"] * bool(twice)
        raise InputError(
            f"outputs={list(names)!r}: {'; '.join(found or ['fewer than two classes'])}. Give the name of each class "
            "once, or the number of outputs."
        )
    return len(names)


def _names_of_backbone(backbone: nn.Module, outputs: int | None) -> dict[str, list[str]]:
    """Return what a Delta says of its classes where nobody names them: the backbone's names, if it has any of its own.

    Args:
        backbone: with a task head.
        outputs: the number of outputs of the Delta's head.
    """
    named: Mapping[int, str] = getattr(backbone.config, "id2label", None) or {}
    own = [named.get(number, "") for number in range(len(named))]
    usual = all(name == f"LABEL_{number}" for number, name in enumerate(own))
    return {} if usual or len(own) != outputs or not all(own) else {_LABELS: own}


def _target_of(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answers of the task that a Delta says; empty where it says none, or several."""
    task = about.get("task")
    target = task.get("target") if isinstance(task, Mapping) else None
    return target if isinstance(target, Mapping) else {}


def class_names(about: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes that a Delta says; empty where it says none.

    Args:
        about: of the Delta.
    """
    target = _target_of(about)
    texts = target.get("texts") or []
    names = target.get("names") if len(target.get("names") or []) == len(texts) else texts
    return [str(name) for name in names or about.get(_LABELS) or []]


def _state_names(backbone: nn.Module, outputs: int, about: Mapping[str, Any]) -> None:
    """Let a backbone's configuration state the classes; putting the head to rest restores what it said before.

    Args:
        backbone: with a task head.
        outputs: the number of outputs of the Delta's head.
        about: of the Delta.
    """
    config: Any = backbone.config
    names, problem = class_names(about), _PROBLEMS.get(_target_of(about).get("type", ""))
    if len(names) == outputs:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
    if problem is not None:
        config.problem_type = problem

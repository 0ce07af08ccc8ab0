"""Building a Delta's parts, and checking the arguments before anything changes."""

from collections.abc import Mapping, Sequence

from torch import nn

from hyperadapters._utils import InputError, few_names
from hyperadapters.backbones import ModelStructure, StorageDtype, precision_of
from hyperadapters.delta.head import _Head
from hyperadapters.delta.method import Method
from hyperadapters.delta.part import Part

Outputs = int | Mapping[str, int] | None
"""The number of outputs of a Delta's own head, or of each task's by its name; None: as the backbone's head has."""


def build_parts(
    backbone: nn.Module,
    method: Method,
    structure: ModelStructure,
    outputs: Outputs,
    tasks: Sequence[str] = (),
    slots: int = 0,
) -> dict[str, Part]:
    """Build the method's parts and, if the backbone has a task head, the Delta's own head.

    Args:
        backbone: the model to adapt; it is not changed.
        method: builds the parts.
        structure: of the backbone.
        outputs: as for `ha.attach`.
        tasks: names of the tasks; empty for one task without a name.
        slots: length of the adapter axis of a pool, which has no names there; 0: there is no pool.

    Raises:
        InputError: `outputs` is given, but the backbone has no classification head, or is not a size for each task.
    """
    if outputs is not None and not structure.head:
        raise InputError(
            f"outputs={outputs}: {type(backbone).__name__} has no classification head. Leave out `outputs`, or load "
            "the backbone as AutoModelForSequenceClassification."
        )
    adapters = slots or max(1, len(tasks))
    sizes = _head_sizes(outputs, tasks, adapters)
    if method.shared_head and len({*(sizes or ())}) > 1:
        raise InputError(
            f"outputs={outputs}: all tasks of this method share one head, because a task that is read has none of its "
            "own, so they must have as many outputs. Attach a Delta for the tasks of each number."
        )
    parts = method.build(backbone, structure, adapters)
    if structure.head:
        heads = 1 if method.shared_head else adapters
        parts["head"] = _Head(backbone, structure, sizes if sizes is None else sizes[:heads], heads)
    return parts


def _head_sizes(outputs: Outputs, tasks: Sequence[str], adapters: int) -> list[int] | None:
    """Return the number of outputs of each adapter's head; None where the backbone's is copied.

    Raises:
        InputError: a size is less than 1, or there is not one for each task.
    """
    if outputs is None:
        return None
    each = outputs if isinstance(outputs, Mapping) else dict.fromkeys(tasks, outputs)
    wrong = [] if each.keys() == {*tasks} else [f"the tasks are {few_names(tasks)}"]
    sizes = [each.get(task, 1) for task in tasks] if isinstance(outputs, Mapping) else [outputs] * adapters
    wrong += [f"{size} is no number of outputs" for size in dict.fromkeys(sizes) if size < 1]
    if wrong:
        raise InputError(
            f"outputs={outputs}: {'; '.join(wrong)}. Give one number, of classes or 1 for regression, or one for each "
            "task by its name."
        )
    return sizes


def _trains_in_place(parts: Mapping[str, Part]) -> bool:
    """Return whether the parts train the backbone's own tensors."""
    return any(part.in_place for part in parts.values())


def _in_place_dtype(backbone: nn.Module, method: Method, asked: StorageDtype) -> StorageDtype:
    """Return the dtype of tensors that are trained in place, which is the backbone's.

    Raises:
        InputError: `asked` is neither that dtype nor the default, fp32.
    """
    own = precision_of(backbone)
    if asked not in ("fp32", own):
        raise InputError(
            f"{method.label} trains the backbone in place, in its own type ({own}): load the backbone in {asked}, "
            "or leave the adapter's precision at fp32, the default."
        )
    return own


def check_tasks(method: Method, tasks: Sequence[str]) -> None:
    """Raise InputError unless a Delta of this method can hold these tasks.

    Args:
        method: the method.
        tasks: names of the tasks; empty for one task without a name.
    """
    if isinstance(tasks, str) or len(set(tasks)) != len(tasks) or not all(tasks):
        raise InputError(f"tasks={tasks!r}: give each task's name once, such as {['mrpc', 'rte']!r}.")
    if len(tasks) < 2 and method.shared_head:
        raise InputError(
            f"{type(method).__name__} is to read what its tasks are, of which it wants two or more: tasks=[...]."
        )
    if len(tasks) > 1 and not method.many_tasks:
        raise InputError(
            f"{type(method).__name__} holds one task; {len(tasks)} were given ({few_names(tasks)}). "
            "Attach one Delta per task, or use a method that holds several, such as hyperformer++ or full-multitask."
        )

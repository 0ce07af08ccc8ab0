"""Building a Delta's parts, and checking the arguments before anything changes."""

from collections.abc import Mapping, Sequence

from torch import nn

from hyperadapters._utils import InputError, few_names
from hyperadapters.backbones import ModelStructure, StorageDtype, precision_of
from hyperadapters.delta.head import _owned_head
from hyperadapters.delta.method import Method
from hyperadapters.delta.part import Part


def build_parts(
    backbone: nn.Module, method: Method, structure: ModelStructure, outputs: int | None, tasks: int = 0
) -> dict[str, Part]:
    """Build the method's parts and, if the backbone has a task head, the Delta's own head.

    Args:
        backbone: the model to adapt; it is not changed.
        method: builds the parts.
        structure: of the backbone.
        outputs: number of logits of the Delta's head; None: a copy of the backbone's head.
        tasks: number of tasks; 0 counts as one task without a name.

    Raises:
        InputError: `outputs` is given, but the backbone has no classification head.
    """
    if outputs is not None and not structure.head:
        raise InputError(
            f"outputs={outputs}: {type(backbone).__name__} has no classification head. Leave out `outputs`, or load "
            "the backbone as AutoModelForSequenceClassification."
        )
    parts = method.build(backbone, structure, max(1, tasks))
    if structure.head:
        parts["head"] = _owned_head(backbone, structure, outputs, max(1, tasks))
    return parts


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
    if len(tasks) > 1 and not method.many_tasks:
        raise InputError(
            f"{type(method).__name__} holds one task; {len(tasks)} were given ({few_names(tasks)}). "
            "Attach one Delta per task, or use a method that holds several, such as hyperformer++ or full-multitask."
        )

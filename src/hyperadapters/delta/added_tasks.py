"""Another task for a Delta: one more beside those that it holds (`Delta.add_task`), or in place of its only one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperadapters._utils import InputError
from hyperadapters.delta.head import _Head
from hyperadapters.delta.task_entry import _TaskEntry

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


def _add_task(delta: "Delta", task: str, like: str, outputs: int | None) -> None:
    """Add a task to a Delta; arguments and errors are those of `Delta.add_task`."""
    if task in delta.tasks or not task:
        raise InputError(
            f"Delta {delta.name!r} cannot add task {task!r}: it holds {delta._rows.in_words()}. Give a new name."
        )
    if len(delta.tasks) < 2:
        raise InputError(
            f"Delta {delta.name!r} was attached for one task, so it cannot add {task!r}. Attach one with several: "
            "tasks=[...]."
        )
    sources = [delta._rows.number(like)] if like else range(len(delta.tasks))
    size = _new_size(delta, sources, task, outputs)
    delta._settle()
    with delta.disabled():
        for _, part in delta._named_parts():
            if not isinstance(part, _Head):
                part.grow(sources)
        if size is not None:
            _grow_head(delta, sources, size)
        delta._rows.tasks = (*delta.tasks, task)


def _new_size(delta: "Delta", sources: Sequence[int], task: str, outputs: int | None) -> int | None:
    """Return the number of outputs of a new task's head; None where a Delta has no head.

    Raises:
        InputError: it is given and there is no head, is less than 1, or cannot be told from the tasks that the new one
            starts from.
    """
    head = delta._head
    if head is None:
        if outputs is not None:
            raise InputError(f"outputs={outputs}: the Delta {delta.name!r} has no head of its own. Leave it out.")
        return None
    found = {head.size_of(source) for source in sources} if outputs is None else {outputs}
    size = found.pop()
    if found or size < 1:
        held = ", ".join(f"{name} {own}" for name, own in zip(delta.tasks, head.sizes, strict=True))
        raise InputError(
            f"task {task!r} needs a number of outputs of its own, at least 1: the heads of Delta {delta.name!r} differ "
            f"({held}). Say outputs=..., or like=... a task with as many."
        )
    if delta.method.shared_head and size != head.outputs:
        raise InputError(
            f"task {task!r} cannot have {size} outputs: all tasks of Delta {delta.name!r} share one head, of "
            f"{head.outputs}."
        )
    return size


def _grow_head(delta: "Delta", sources: Sequence[int], size: int) -> None:
    """Append the head of a new task to those of a Delta at rest; the others keep their values.

    Args:
        delta: it has a head.
        sources: numbers of the tasks that the new one starts from.
        size: the number of outputs of its head.
    """
    head = delta._head
    assert head is not None
    if {*head.sizes} == {size}:
        head.grow(sources)
        return
    sizes, own = [*head.sizes, size], [[number] for number in range(len(head.sizes))]
    delta.parts["head"] = head.resized(delta.backbone, delta.structure, sizes, [*own, sources])
    if delta._entry is not None:  # its tensors may have other names now
        delta._entry = _TaskEntry(dict(delta._named_parts()), delta._entry.number)


def renew_head(delta: "Delta", outputs: int) -> None:
    """Give a Delta of one task a head of another size, whose last layer is drawn from torch's global generator.

    Args:
        delta: with a head of its own.
        outputs: the number of outputs that it is to have.
    """
    head = delta._head
    assert head is not None
    with delta.disabled():
        delta.parts["head"] = head.resized(delta.backbone, delta.structure, [outputs], [[0]])

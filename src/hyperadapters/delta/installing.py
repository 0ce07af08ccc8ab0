"""The hooks by which a backbone computes with a Delta, and what they compute once for each pass."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from hyperadapters.backbones import discard_compiled_code, module_at
from hyperadapters.delta.frozen_by_others import _warn_if_frozen
from hyperadapters.delta.generation import _Generation
from hyperadapters.delta.part import Handle
from hyperadapters.delta.task_entry import _TaskEntry
from hyperadapters.layers import SEQUENCE_FIRST, AdapterIndex, not_by_row

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


def _install_hooks(delta: "Delta", generation: _Generation) -> list[Handle]:
    """Register all hooks of a Delta in its backbone, and return their handles.

    Those that detect the start of a pass come first, because a part may hook a stack too.

    Args:
        delta: at rest.
        generation: of what the hooks apply.
    """
    discard_compiled_code()
    backbone, entries, numbers = delta.backbone, delta.structure.entries, count()
    handles: list[Handle] = []
    if len(entries) > 1:
        handles.append(backbone.register_forward_pre_hook(generation.before_model))
        handles.append(backbone.register_forward_hook(generation.after_model, always_call=True))
    for stack, entry in entries.items():
        before, module = partial(generation.before_stack, stack), module_at(backbone, entry)
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(generation.after_stack, always_call=True))

    first = module_at(backbone, next(iter(entries.values())))
    handles.append(first.register_forward_pre_hook(partial(_warn_if_frozen, delta)))

    def place(name: str, index: int) -> Callable[[], Any]:
        return partial(generation.used, name, index, next(numbers))

    for name, part in delta._named_parts():
        handles += part.install(backbone, partial(place, name))
    return handles


def _compute_parts(delta: "Delta", entry: _TaskEntry | None, rows: AdapterIndex) -> dict[str, Any]:
    """Compute what every part of a Delta needs for one pass over these rows.

    Args:
        delta: in use.
        entry: the task that trains alone, if one does.
        rows: which adapter each row uses.

    Raises:
        InputError: rows use different adapters, in a family whose layers do not have rows on the first axis.
    """
    if rows.index is not None and getattr(delta.backbone.config, "model_type", "") in SEQUENCE_FIRST:
        raise not_by_row("tokens where other families have rows")
    with ExitStack() as stack:
        if entry is not None:
            for name, part in delta._named_parts():
                stack.enter_context(entry.spliced_into(name, part))
        return {name: part.generate(rows) for name, part in delta._named_parts()}

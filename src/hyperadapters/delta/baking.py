"""One task's adapter of a Delta as a Delta of its own, with a plain method."""

from typing import TYPE_CHECKING

import torch

from hyperadapters.delta.describing import DESCRIPTIONS
from hyperadapters.delta.named_classes import _LABELS

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


def _bake(delta: "Delta", task: str, name: str) -> "Delta":
    """Return a new Delta, in use, that computes what another does for one of its tasks; arguments as `Delta.bake`."""
    number, method = delta._rows.number(task), delta.method.plain()
    delta._settle()
    with torch.no_grad():
        values = {
            f"{part_name}.{key}": tensor.clone()
            for part_name, part in delta._named_parts()
            for key, tensor in part.baked(number).items()
        }
    name = name or task.rsplit("/", maxsplit=1)[-1].replace(".", "-")
    structure, precision = delta.structure, delta.precision
    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten below
        plain = type(delta).create(
            delta.backbone,
            method,
            name,
            outputs=delta.outputs_of(task),
            layout=structure.layout,
            pooling=structure.pooling,
            precision=precision,
        )
    with torch.no_grad():
        for key, tensor in plain.tensors().items():
            tensor.copy_(values[key])
    forms = delta.about.get("forms", {})
    named = {_LABELS: delta.about[_LABELS]} if len(delta.about.get(_LABELS, ())) == plain.outputs else {}
    plain.about = {"task": forms[delta.tasks[number]]} if delta.tasks[number] in forms else named
    if said := delta.about.get(DESCRIPTIONS, {}).get(delta.tasks[number]):
        plain.about = {**plain.about, DESCRIPTIONS: {delta.tasks[number]: said}}
    return plain

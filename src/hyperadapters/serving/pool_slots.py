"""The empty slots of a pool, made for what its adapters have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import DTYPES, device_of
from hyperadapters.delta import Delta, deciding_digest
from hyperadapters.methods import method_from_json
from hyperadapters.storage import outline, read_adapter, saved_structure


def _adapter_recipe(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what all adapters of one pool have in common: method, type, and sites named by hand.

    Args:
        config: the `adapter_config.json` of one of them.
        folder: where it lies, for errors.

    Raises:
        InputError: the adapter holds several tasks.
    """
    if len(config["tasks"]) > 1:
        raise InputError(
            f"the adapter at {folder} holds {len(config['tasks'])} tasks, which a pool cannot take apart: "
            "`hyperadapters bake` makes one for each."
        )
    backbone = config["backbone"]
    alike = {"layout": backbone.get("layout"), "pooling": backbone["pooling"]}
    return {"method": config["method"], "precision": config["precision"], **alike}


def _empty_slots(
    backbone: nn.Module, config: Mapping[str, Any], folder: Path, slots: int, name: str
) -> tuple[Delta, dict[str, Tensor]]:
    """Return a Delta with empty slots on its adapter axis, and the shapes of one adapter's tensors in its file.

    The operating system gives memory as it is written.

    Args:
        backbone: what the adapters were trained on; nothing is attached.
        config: of one of the adapters, as `read_config` returned it.
        folder: of that adapter, whose tensors are checked before memory is taken.
        slots: number of adapters in memory.
        name: the Delta's name.

    Raises:
        InputError: adapters of this method share something, it does not fit the backbone, or its sizes are impossible.
    """
    recipe = _adapter_recipe(config, folder)
    method = method_from_json(recipe["method"])
    if not method.separable:
        raise InputError(
            f"{type(method).__name__} cannot be pooled: it moves the backbone itself, or shares weights between tasks. "
            "Load each adapter as a Delta, or bake the tasks of one that holds several."
        )
    structure = saved_structure(backbone, config)
    outputs = _outputs_of(config) if structure.head else None
    shapes = outline(backbone, method, name, folder, structure, outputs).tensors()
    read_adapter(folder, deciding_digest(config), shapes)
    delta = outline(backbone, method, name, folder, structure, outputs, slots=slots)
    delta.precision = recipe["precision"]
    try:
        with torch.inference_mode(False):
            return delta.to(DTYPES[delta.precision]).to_empty(device=device_of(backbone)), shapes
    except RuntimeError as error:
        size = sum(tensor.nbytes for tensor in delta.tensors().values())
        raise InputError(f"resident={slots} adapters take {size:,} bytes, more than there is: keep fewer.") from error


def _slot_shapes(delta: Delta, folder: Path, outputs: int | None) -> dict[str, Tensor]:
    """Return the shapes of an adapter's tensors in its file.

    Args:
        delta: of the pool that it is for.
        folder: of the adapter, for errors.
        outputs: the number of outputs of its head; None: it has none.

    Raises:
        InputError: this number is impossible.
    """
    return outline(delta.backbone, delta.method, delta.name, folder, delta.structure, outputs).tensors()


def _outputs_of(config: Mapping[str, Any]) -> int | None:
    """Return the number of outputs of an adapter's own head, as its config says; None where it has none."""
    outputs: int | None = config["backbone"].get("outputs")
    return outputs

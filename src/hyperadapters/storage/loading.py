"""Deltas from disk, checked against the backbone before anything is touched."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, files, settings
from hyperadapters.backbones import (
    DTYPES,
    Fingerprint,
    Layout,
    ModelStructure,
    StorageDtype,
    read_structure,
)
from hyperadapters.delta import CONFIG, FORMAT, TENSORS, Delta, Method, at_rest, build_parts, check_name, check_tasks
from hyperadapters.methods import HyperMethod, attach, method_from_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `adapter_config.json` of a saved adapter.

    Raises:
        InputError: there is none, it is damaged, or a newer version wrote it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no adapter at {folder}: no such folder.")
    if not (folder / CONFIG).is_file():
        raise InputError(f"there is no adapter at {folder}: it has no {CONFIG}. Name the folder that `train` wrote.")
    config = files.read_json(folder / CONFIG)
    written = config.get("format")
    if not isinstance(written, int):
        raise InputError(f"{folder / CONFIG} does not say its format: it is not an adapter of hyperadapters.")
    if written > FORMAT:
        raise InputError(
            f"{folder / CONFIG} has format {written}; this version reads up to {FORMAT}. "
            "Update: pip install -U hyperadapters."
        )
    wanted: dict[str, type] = {"name": str, "method": dict, "backbone": dict}
    bad = [key for key, kind in wanted.items() if not isinstance(config.get(key), kind)]
    tasks = config.get("tasks")
    bad += [] if isinstance(tasks, list) and all(isinstance(task, str) for task in tasks) else ["tasks"]
    if not bad:
        bad = [*wrong_types(config["backbone"]), *([] if held_in(config) else ["precision"])]
        bad += [] if isinstance(config["method"].get("type"), str) else ["method.type"]
    if bad:
        raise InputError(f"{folder / CONFIG} is damaged: {', '.join(bad)} missing or of a wrong type.")
    return config


def wrong_types(backbone: dict[str, Any]) -> list[str]:
    """What of a config's part about the backbone is missing or of a wrong type."""
    wanted = {"name": str, "architecture": dict, "weights": str}
    optional = {"layout": dict | None, "outputs": int | None}
    bad = [key for key, kind in wanted.items() if not isinstance(backbone.get(key), kind)]
    bad += [key for key, kind in optional.items() if not isinstance(backbone.get(key), kind)]
    bad += [] if held_in(backbone) else ["precision"]
    return [f"backbone.{key}" for key in bad]


def held_in(config: dict[str, Any]) -> bool:
    """Return whether a config says a known type that tensors are held in."""
    precision = config.get("precision")
    return isinstance(precision, str) and precision in DTYPES


def backbone_of(
    config: Mapping[str, Any], other: str | None = None, device: str | torch.device | None = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The backbone that a saved adapter was trained on, in the type it was held in then, and its tokenizer.

    Args:
        config: as `read_config` gives it.
        other: another place to load the same backbone from than the one named there.
        device: where to put it; None: on the accelerator if there is one.

    Raises:
        InputError: as `load_backbone`.
    """
    from hyperadapters.backbones import default_device, load_backbone  # noqa: PLC0415 (they import transformers)

    named = config["backbone"]
    where = default_device() if device is None else device
    return load_backbone(other or named["name"], precision=named["precision"], device=where)


def load(
    folder: str | Path,
    backbone: nn.Module | None = None,
    *,
    name: str | None = None,
    precision: StorageDtype | None = None,
) -> Delta:
    """Load a saved Delta onto a backbone and put it in use.

    Args:
        folder: what `Delta.save` or `hyperadapters train` wrote.
        backbone: where to attach it; without one, the backbone named in the file is loaded.
        name: attach it under another name than the saved one.
        precision: hold it in another type than the saved one.

    Raises:
        InputError: it was trained on another backbone (says what differs), or its files are damaged, truncated,
            of a newer version or of other shapes (every bad tensor at once). The backbone is unchanged then.
    """
    folder = Path(folder)
    config = read_config(folder)
    method = method_from_json(config["method"])
    if backbone is None:
        backbone, _ = backbone_of(config, device="cpu")
    name = config["name"] if name is None else name
    check_name(backbone, name)
    tasks = tuple(config["tasks"])
    check_tasks(method, tasks)
    layout = config["backbone"].get("layout")
    with at_rest(backbone):
        structure = read_structure(backbone, settings.parse(Layout, layout, "backbone.layout") if layout else None)
        outputs = config["backbone"].get("outputs") if structure.head else None
        draft = outline(backbone, method, name, folder, structure, outputs, tasks)
        check_backbone(config, folder, draft.fingerprint())
    files.check_tensors(folder / TENSORS, draft.tensors())
    saved: StorageDtype = "fp32" if draft.trains_in_place else config["precision"]
    held = precision or saved
    with torch.random.fork_rng(devices=[]):
        delta = attach(backbone, method, name, outputs=outputs, layout=structure.layout, tasks=tasks, precision=held)
    files.read_into(folder / TENSORS, delta.tensors())
    described = delta.describe()
    delta.about = {key: value for key, value in config.items() if key not in described}
    return delta


def check_backbone(config: dict[str, Any], folder: Path, found: Fingerprint) -> None:
    """Raise InputError, saying what differs, unless an adapter was trained on the backbone with this fingerprint."""
    trained_on = Fingerprint(config["backbone"]["architecture"], config["backbone"]["weights"])
    differences = trained_on.differences(found)
    if differences:
        raise InputError(
            f"the adapter at {folder} was trained on another backbone ({config['backbone']['name']}): "
            f"{'; '.join(differences)}. Load it on the one it was trained on."
        )


def outline(
    backbone: nn.Module,
    method: Method,
    name: str,
    folder: Path,
    structure: ModelStructure,
    outputs: int | None,
    tasks: tuple[str, ...] = (),
    slots: int = 0,
) -> Delta:
    """Return the Delta in shape alone: no memory is taken for what a damaged file may ask for.

    Args:
        backbone: what it is for; nothing is attached.
        method: as the file has it.
        name: the Delta's name.
        folder: where the file lies, for errors.
        structure: the backbone's structure.
        outputs: of the Delta's own head, or None.
        tasks: names on the adapter axis.
        slots: places on the adapter axis of a pool, which has no tasks by name.

    Raises:
        InputError: the method does not fit the backbone, or asks for impossible sizes.
    """
    method.check(structure)
    try:
        with torch.device("meta"):
            parts = build_parts(backbone, method, structure, outputs, slots or len(tasks))
    except (RuntimeError, OverflowError, TypeError) as error:
        raise InputError(f"{folder / CONFIG} asks for impossible sizes: {method}.") from error
    return Delta(backbone, method, name, structure, parts, tasks, slots)


EMBEDDINGS = "adapters.tasks"
"""The tensor of a hypernetwork's adapter that has a row for each task."""


def task_embeddings(folder: str | Path) -> dict[str, Tensor]:
    """The embedding of each task of a saved HyperFormer, by the task's name; empty where there is none.

    Raises:
        InputError: the adapter's files are damaged.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        return {}
    config = read_config(folder)
    if not isinstance(method_from_json(config["method"]), HyperMethod):
        return {}
    with files.open_tensors(folder / TENSORS) as file:
        rows = file.get_tensor(EMBEDDINGS) if EMBEDDINGS in set(file.keys()) else torch.empty(0)
    if len(rows) != len(config["tasks"]):
        raise InputError(f"{folder / TENSORS} is damaged: {len(rows)} embeddings of {len(config['tasks'])} tasks.")
    return dict(zip(config["tasks"], rows, strict=True))

"""Loading saved Deltas. Everything is checked against the backbone before anything is changed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from hyperadapters._utils import (
    CHECKSUM,
    InputError,
    check_json,
    copy_tensors,
    expand_path,
    read_tensors,
    read_unchecked_json,
    settings,
)
from hyperadapters.backbones import (
    DTYPES,
    Fingerprint,
    HeadKind,
    Layout,
    ModelStructure,
    Pooling,
    StorageDtype,
    inner_model,
    read_structure,
)
from hyperadapters.delta import (
    CONFIG,
    FORMAT,
    TENSORS,
    Delta,
    Method,
    Outputs,
    Part,
    at_rest,
    build_parts,
    check_name,
    check_tasks,
    deciding_digest,
    describe_delta,
)
from hyperadapters.layers import TaskStates
from hyperadapters.methods import HyperMethod, HyperSideAdapter, method_from_json
from hyperadapters.storage.adapterhub import _load_adapterhub, adapterhub_backbone, is_adapterhub
from hyperadapters.storage.repositories import locate_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read and check the `adapter_config.json` of a saved adapter.

    Args:
        folder: of the adapter, or its name on the Hub, as `locate_adapter` takes them.

    Raises:
        InputError: there is no such file, it is damaged, or a newer version wrote it; or as `locate_adapter`.
    """
    folder = locate_adapter(folder)
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"there is no adapter at {folder}: it has no {CONFIG}. Give the folder that `hyperadapters train` wrote."
        )
    return check_config(read_unchecked_json(folder / CONFIG), str(folder / CONFIG))


def check_config(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Return what an `adapter_config.json` says, without its checksum, after checking all of it.

    Args:
        config: as read.
        where: the file, for errors.

    Raises:
        InputError: it is damaged, or a newer version wrote it.
    """
    written = config.get("format")
    if not isinstance(written, int):
        raise InputError(
            f"{where} does not say its format, so it is not an adapter of hyperadapters. Give the folder that "
            "`Delta.save` or `hyperadapters train` wrote."
        )
    if written > FORMAT:
        raise InputError(
            f"{where} has format {written}; this version reads up to {FORMAT}. Update: pip install -U hyperadapters."
        )
    config = check_json(config, where, required=True)
    wanted: dict[str, type] = {"name": str, "method": dict, "backbone": dict}
    bad = [key for key, kind in wanted.items() if not isinstance(config.get(key), kind)]
    tasks = config.get("tasks")
    bad += [] if isinstance(tasks, list) and all(isinstance(task, str) for task in tasks) else ["tasks"]
    if not bad:
        bad = [*_wrong_types(config["backbone"]), *([] if _held_in(config) else ["precision"])]
        bad += [] if isinstance(config["method"].get("type"), str) else ["method.type"]
    if bad:
        raise InputError(f"{where} is damaged: {', '.join(bad)} missing or of a wrong type. Use an intact copy.")
    return config


def _wrong_types(backbone: dict[str, Any]) -> list[str]:
    """Return the keys of a config's entry on the backbone that are missing or of a wrong type."""
    wanted = {"name": str, "architecture": dict, "weights": str, "pooler": str}
    optional = {"layout": dict | None, "outputs": int | dict | None}
    bad = [key for key, kind in wanted.items() if not isinstance(backbone.get(key), kind)]
    bad += [key for key, kind in optional.items() if not isinstance(backbone.get(key), kind)]
    sizes = backbone.get("outputs")
    bad += ["outputs"] if isinstance(sizes, dict) and not all(isinstance(size, int) for size in sizes.values()) else []
    bad += [] if _held_in(backbone) else ["precision"]
    bad += [] if backbone.get("head") in get_args(HeadKind) else ["head"]
    bad += [] if backbone.get("pooling") in get_args(Pooling) else ["pooling"]
    return [f"backbone.{key}" for key in bad]


def _held_in(config: dict[str, Any]) -> bool:
    """Return whether a config states a known precision."""
    precision = config.get("precision")
    return isinstance(precision, str) and precision in DTYPES


def backbone_of(
    config: Mapping[str, Any], other: str | None = None, device: str | torch.device | None = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load the backbone that a saved adapter was trained on, in the precision that it had then, and its tokenizer.

    Args:
        config: as `read_config` returns it.
        other: another location of the same backbone than the one in `config`.
        device: where to put it; None: on the accelerator if there is one.

    Raises:
        InputError: as `load_backbone`.
    """
    from hyperadapters.backbones import default_device, load_backbone  # noqa: PLC0415 (they import transformers)

    entry = config["backbone"]
    where = default_device() if device is None else device
    return load_backbone(other or entry["name"], precision=entry["precision"], head=entry["head"], device=where)


def load(
    folder: str | Path,
    backbone: nn.Module | None = None,
    *,
    name: str | None = None,
    precision: StorageDtype | None = None,
    allow_bin: bool = False,
    without_head: bool = False,
) -> Delta:
    """Load a saved Delta onto a backbone and put it in use; also what AdapterHub's `adapters` library wrote.

    One that was made on a model without a task head leaves the head of this one as it is.

    Args:
        folder: the folder that `Delta.save` or `hyperadapters train` wrote; or `user/name` or `user/name@revision` of a
            repository of the Hub, which is fetched into the local Hub cache. A folder of that name comes first.
        backbone: the model to attach it to, as for `ha.attach`; None: the backbone named in the file is loaded, on the
            CPU.
        name: the Delta's name on this backbone; None: the saved name.
        precision: the dtype in which to store its tensors; None: the saved one.
        allow_bin: of AdapterHub's library: read tensors from a file of `torch.save` too (`weights_only=True`).
        without_head: of AdapterHub's library: leave out a prediction head that was saved beside the adapter.

    Returns:
        The Delta; its `backbone` is the model.

    Raises:
        InputError: the adapter was trained on another backbone (the error says what differs), its files are damaged or
            of a newer version, or its tensors have wrong shapes (the error lists every one); or there is none, in a
            folder or on the Hub; or something in a folder of AdapterHub's library has no counterpart here (the error
            names all of it). The backbone is unchanged then.
    """
    folder = locate_adapter(folder)
    if is_adapterhub(folder):
        model = _load_named(adapterhub_backbone(folder), folder) if backbone is None else backbone
        return _load_adapterhub(
            folder, model, name=name, precision=precision, allow_bin=allow_bin, without_head=without_head
        )
    return _load_saved(folder, backbone, name, precision)


def _load_saved(folder: Path, backbone: nn.Module | None, name: str | None, precision: StorageDtype | None) -> Delta:
    """Load what `Delta.save` wrote; arguments and errors as `load`."""
    config = read_config(folder)
    method = method_from_json(config["method"])
    if backbone is None:
        backbone, _ = backbone_of(config, device="cpu")
    name, model, backbone = config["name"] if name is None else name, backbone, inner_model(backbone)
    check_name(backbone, name)
    tasks = tuple(config["tasks"])
    check_tasks(method, tasks)
    with at_rest(backbone):
        structure = saved_structure(backbone, config)
        outputs = config["backbone"].get("outputs") if structure.head else None
        draft = outline(backbone, method, name, folder, structure, outputs, tasks)
        check_backbone(config, f"the adapter at {folder}", draft.fingerprint())
    found = read_adapter(folder, deciding_digest(config), draft.tensors())
    saved: StorageDtype = "fp32" if draft.trains_in_place else config["precision"]
    dtype = precision or saved
    with torch.random.fork_rng(devices=[]):
        delta = Delta.create(
            model,
            method,
            name,
            outputs=outputs,
            layout=structure.layout,
            pooling=structure.pooling,
            tasks=tasks,
            precision=dtype,
            own_head=config["backbone"]["head"] != "none",
        )
    copy_tensors(found, delta.tensors())
    for part in delta.parts.values():
        if isinstance(part, Part) and (known := part.known_of_tasks()):
            known.are_all_known()  # found once, so that compiled code need not look at values
    described = describe_delta(delta)
    delta.about = {key: value for key, value in config.items() if key not in described}
    return delta


def saved_structure(backbone: nn.Module, config: Mapping[str, Any]) -> ModelStructure:
    """Return the structure of a backbone as a saved adapter uses it: its sites, its head, what the head reads.

    Args:
        backbone: what the adapter was trained on, without a Delta in use.
        config: as `read_config` returns it.

    Raises:
        InputError: as `read_structure`.
    """
    layout, pooling = config["backbone"].get("layout"), config["backbone"]["pooling"]
    by_hand = settings.parse(Layout, layout, "backbone.layout") if layout else None
    structure = read_structure(backbone, by_hand, pooling)
    if config["backbone"]["head"] == "none":  # the backbone's own head, if it has one, stays as it is
        return replace(structure, head=())
    return structure


def _load_named(name: str, folder: Path) -> nn.Module:
    """Load the backbone that an adapter of AdapterHub's library names, on the CPU.

    Raises:
        InputError: it names none; or as `load_backbone`.
    """
    from hyperadapters.backbones import load_backbone  # noqa: PLC0415 (it imports transformers)

    if not name:
        raise InputError(f"{folder / CONFIG} does not name its backbone: give one, ha.load(folder, backbone).")
    backbone: nn.Module = load_backbone(name)[0]
    return backbone


def read_adapter(
    folder: Path, digest: str, expected: Mapping[str, Tensor] | None = None, checksum: str = ""
) -> dict[str, Tensor]:
    """Return the tensors of a saved adapter, after checking that they are whole and belong to its config.

    Args:
        folder: of the adapter.
        digest: `deciding_digest` of its config, as `read_config` returned it.
        expected: tensors like those that the file should hold, by name; None: whatever it holds.
        checksum: that the file should state (`stated_checksum`); empty: any.

    Returns:
        Tensors on the CPU, by name, mapped from the file.

    Raises:
        InputError: as `read_tensors`, or they were saved with another config or have another checksum.
    """
    found = read_tensors(folder / TENSORS, expected)
    if checksum and found.metadata[CHECKSUM] != checksum:
        raise InputError(f"{folder / TENSORS} was replaced since it was first looked at: take the adapter again.")
    if found.metadata.get(CONFIG) != digest:
        raise InputError(
            f"{folder / CONFIG} and {TENSORS} beside it are not of one adapter, or one was replaced while it was read. "
            "Use an intact copy of both."
        )
    return found.tensors


def check_backbone(config: dict[str, Any], which: str, found: Fingerprint) -> None:
    """Raise InputError unless an adapter was trained on the backbone with this fingerprint.

    Args:
        config: of the adapter, as `read_config` returns it.
        which: the adapter, for the error.
        found: the fingerprint of the backbone at hand.
    """
    trained_on = Fingerprint(*(config["backbone"][key] for key in ("architecture", "weights", "pooler")))
    differences = trained_on.differences(found)
    if differences:
        raise InputError(
            f"{which} was trained on another backbone ({config['backbone']['name']}): "
            f"{'; '.join(differences)}. Load it on the backbone that it was trained on."
        )


def outline(
    backbone: nn.Module,
    method: Method,
    name: str,
    folder: Path,
    structure: ModelStructure,
    outputs: Outputs,
    tasks: tuple[str, ...] = (),
    slots: int = 0,
) -> Delta:
    """Make a Delta of shapes only, on the meta device, so that sizes in a damaged file take no memory.

    Args:
        backbone: the model that it is for; nothing is attached.
        method: as the file states it.
        name: the Delta's name.
        folder: of the adapter, for errors.
        structure: of the backbone.
        outputs: as for `ha.attach`.
        tasks: names on the adapter axis.
        slots: length of the adapter axis of a pool, which has no names there.

    Raises:
        InputError: the method does not fit the backbone, or its sizes are impossible.
    """
    method.check(structure)
    try:
        with torch.device("meta"):
            parts = build_parts(backbone, method, structure, outputs, tasks, slots)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise InputError(f"{folder / CONFIG} asks for impossible sizes: {method}. Use an intact copy.") from error
    return Delta(backbone, method, name, structure, parts, tasks, slots)


def task_embeddings(folder: str | Path) -> dict[str, Tensor]:
    """Return the embedding that a saved hypernetwork reads for each of its tasks, by the task's name.

    Args:
        folder: of the adapter.

    Returns:
        Tensors of shape (width,), trained ones or read from the task's description; empty where there is no adapter in
        the folder, no hypernetwork, no task with a name, or one without a description.

    Raises:
        InputError: the adapter's files are damaged.
    """
    folder = expand_path(folder)
    if not (folder / CONFIG).is_file():
        return {}
    config = read_config(folder)
    names = config["tasks"]
    if not names or not isinstance(method_from_json(config["method"]), HyperMethod | HyperSideAdapter):
        return {}
    tensors = read_adapter(folder, deciding_digest(config))
    try:
        rows = _embeddings_of(tensors)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{folder / TENSORS} is damaged: no embeddings of its tasks. Use an intact copy.") from error
    if rows is not None and len(rows) != len(names):
        raise InputError(
            f"{folder / TENSORS} is damaged: {len(rows)} embeddings for {len(names)} tasks. Use an intact copy."
        )
    return {} if rows is None else dict(zip(names, rows, strict=True))


def _embeddings_of(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the task embeddings among a hypernetwork's tensors; None if a task has no description to read one from.

    Raises:
        KeyError, RuntimeError: there are none, or their sizes do not go together.
    """
    described = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items() if ".task_states." in name}
    if not described:
        return next((tensor for name, tensor in tensors.items() if name.endswith(".tasks")), torch.empty(0))
    with torch.device("meta"):
        known = TaskStates(len(described["states"]), *described["projection"].shape[1:])
    known.load_state_dict(described, assign=True)
    return known.embeddings(known.of(None)) if known.are_all_known() else None

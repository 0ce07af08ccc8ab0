"""Adapters that AdapterHub's `adapters` library wrote, read onto a backbone; and ours written as it writes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperadapters._utils import (
    InputError,
    check_bin_allowed,
    copy_tensors,
    expand_path,
    listed,
    read_foreign_tensors,
    read_unchecked_json,
    write_tensors,
    write_text,
)
from hyperadapters.backbones import ModelStructure, StorageDtype, read_structure, value_at
from hyperadapters.delta import CONFIG, Delta, SiteAdapters, at_rest, build_parts, check_name, class_names
from hyperadapters.layers import SINGLE_ADAPTER
from hyperadapters.methods import LowRankAdapter, SiteMethod, attach
from hyperadapters.storage.adapterhub_config import VERSION, _read_method, _rename_activation, _write_method
from hyperadapters.storage.adapterhub_heads import _read_head, _read_labels
from hyperadapters.storage.adapterhub_tensors import _check_family, _read_tensors, _write_tensors
from hyperadapters.storage.repositories import _ADAPTERHUB_FILES, _HEAD_CONFIG, _HEAD_FILES


class _Read(NamedTuple):
    """What a folder says of an adapter, in our words."""

    method: SiteMethod
    name: str
    tensors: dict[str, Tensor]
    """Of the part `adapters`, by name in the part."""
    head: dict[str, Tensor]
    """By path in the backbone."""
    labels: list[str]
    """The names of the head's classes; empty where it says none."""


def is_adapterhub(folder: Path) -> bool:
    """Return whether a folder holds an adapter that AdapterHub's library wrote.

    Args:
        folder: any folder.
    """
    if not (folder / CONFIG).is_file():
        return False
    config = read_unchecked_json(folder / CONFIG)
    return "format" not in config and isinstance(config.get("config"), dict) and "model_type" in config


def adapterhub_backbone(folder: Path) -> str:
    """Return the name of the backbone that an adapter of AdapterHub's library says it is for; may be empty.

    Args:
        folder: of the adapter.
    """
    return str(read_unchecked_json(folder / CONFIG).get("model_name") or "")


def _load_adapterhub(
    folder: Path,
    backbone: nn.Module,
    *,
    name: str | None,
    precision: StorageDtype | None,
    allow_bin: bool,
    without_head: bool,
) -> Delta:
    """Load an adapter that AdapterHub's library wrote onto a backbone, and put it in use.

    Args:
        folder: of the adapter.
        backbone: the model to attach it to.
        name: as for `ha.load`.
        precision: as for `ha.load`.
        allow_bin: as for `ha.load`.
        without_head: as for `ha.load`.

    Raises:
        InputError: some of it cannot be mapped: settings, tensors, the head; the error names all. Nothing is changed.
    """
    _check_family(backbone)
    with at_rest(backbone):
        structure = read_structure(backbone)
        found = _read_folder(folder, backbone, structure, allow_bin=allow_bin, without_head=without_head)
    own = _delta_name(found.name) if name is None else name
    check_name(backbone, own)
    size = len(found.head[structure.head[-1]]) if found.head else None
    outputs = found.labels if found.labels and len(found.labels) == size else size
    with torch.random.fork_rng(devices=[]):
        delta = attach(backbone, found.method, own, outputs=outputs, precision=precision or "fp32")
    values = {f"adapters.{key}": tensor for key, tensor in found.tensors.items()}
    tensors = delta.tensors()
    copy_tensors(values, {key: tensors[key] for key in values})
    if found.head:
        _write_head(delta, found.head)
    return delta


def _delta_name(name: str) -> str:
    """Return an adapter's name as a Delta may have it."""
    return name.replace(".", "-") or "default"


@torch.no_grad()
def _write_head(delta: Delta, head: Mapping[str, Tensor]) -> None:
    """Copy a head's tensors into the Delta's own head."""
    for path, tensor in delta.parts["head"].of_only_adapter().items():  # type: ignore[operator]
        tensor.copy_(head[path])


def _read_folder(
    folder: Path, backbone: nn.Module, structure: ModelStructure, *, allow_bin: bool, without_head: bool
) -> _Read:
    """Read a folder, and check all of it against a backbone.

    Raises:
        InputError: as `_load_adapterhub`.
    """
    whole = read_unchecked_json(folder / CONFIG)
    problems = _wrong_backbone(whole, backbone, structure.d_model)
    config = whole["config"] if "version" in whole else _rename_activation(whole["config"])
    method = _read_method(config, structure, problems)
    largest = structure.parameters * 4
    tensors = read_foreign_tensors(_file_of(folder, _ADAPTERHUB_FILES, allow_bin=allow_bin), largest)
    head: dict[str, Tensor] = {}
    labels: list[str] = []
    if (folder / _HEAD_CONFIG).is_file() and not without_head:
        file = _file_of(folder, _HEAD_FILES, allow_bin=allow_bin)
        said = read_unchecked_json(folder / _HEAD_CONFIG)
        labels = _read_labels(said)
        head, of_head = _read_head(backbone, structure, said, read_foreign_tensors(file, largest))
        problems += of_head
        if of_head:
            problems.append("leave the head out with without_head=True (--without-head), if you do not need it")
    if any(folder.glob("adapter_fusion_config.json")):
        problems.append("adapter_fusion_config.json: a fusion of adapters has no counterpart")
    values: dict[str, Tensor] = {}
    name = str(whole.get("name") or "")
    if not problems:
        method.check(structure)
        try:
            with torch.device("meta"):
                part = build_parts(backbone, method, structure, None)["adapters"]
        except (RuntimeError, OverflowError, TypeError) as error:
            raise InputError(f"{folder / CONFIG} asks for impossible sizes: {method}. Use an intact copy.") from error
        sites = method.sites(structure)
        values = _read_tensors(backbone, method, sites, name, tensors, part.held(), problems)
    if problems:
        raise InputError(
            f"the adapter at {folder}, which AdapterHub's library wrote, cannot be mapped onto "
            f"{type(backbone).__name__}:\n  " + listed(problems, most=50)
        )
    return _Read(method, name, values, head, labels)


def _wrong_backbone(config: Mapping[str, Any], backbone: nn.Module, d_model: int) -> list[str]:
    """Return what of a backbone is otherwise than the file says."""
    found = {"model_type": backbone.config.model_type, "hidden_size": d_model}  # type: ignore[union-attr]
    return [
        f"{key}: trained on {config[key]!r}, this backbone's is {value!r}"
        for key, value in found.items()
        if key in config and config[key] != value
    ]


def _file_of(folder: Path, names: tuple[str, str], *, allow_bin: bool) -> Path:
    """Return the file of tensors in a folder.

    Raises:
        InputError: there is none, or only one in the format of `torch.save` and that was not asked for.
    """
    safe, other = (folder / name for name in names)
    if safe.is_file():
        return safe
    if not other.is_file():
        raise InputError(f"{folder} has neither {safe.name} nor {other.name}.")
    check_bin_allowed(other, allow_bin=allow_bin, instead="; or save it again with use_safetensors=True")
    return other


def export_adapterhub(delta: Delta, folder: str | Path) -> Path:
    """Write a Delta as AdapterHub's library does; `model.load_adapter(folder, use_safetensors=True)` reads it.

    Args:
        delta: adapters of one task whose norms were not trained.
        folder: made if it does not exist; files of these names in it are replaced.

    Returns:
        The folder.

    Raises:
        InputError: something of the Delta has no counterpart in the library; the error names all of it.
    """
    folder, backbone = expand_path(folder), delta.backbone
    _check_family(backbone)
    problems = _unwritable(delta)
    method = delta.method
    config = _write_method(method, delta.structure, problems) if isinstance(method, SiteMethod) else {}
    if problems:
        raise InputError(
            f"the Delta {delta.name!r} ({type(method).__name__}) cannot be written for AdapterHub's library:\n  "
            + listed(problems)
        )
    assert isinstance(method, SiteMethod)
    part = delta.parts["adapters"]
    assert isinstance(part, SiteAdapters)
    values = dict(part.held())
    if isinstance(method, LowRankAdapter):
        with torch.no_grad():
            values["matrices.down"], values["matrices.up"] = part.matrices(SINGLE_ADAPTER.present)
    tensors = _write_tensors(backbone, method, part.sites, delta.name, values)
    about = {
        "hidden_size": delta.structure.d_model,
        "model_class": type(backbone).__name__,
        "model_name": backbone.config._name_or_path,
        "model_type": backbone.config.model_type,
        "version": VERSION,
    }
    if "head" in delta.parts:
        head = {path: tensor.float() for path, tensor in delta.parts["head"].of_only_adapter().items()}  # type: ignore[operator]
        size = delta.outputs if isinstance(delta.outputs, int) else len(head[delta.structure.head[-1]])
        names = class_names(delta.about) if len(class_names(delta.about)) == size else []
        labels = {name: number for number, name in enumerate(names or [f"LABEL_{n}" for n in range(size)])}
        write_tensors(folder / _HEAD_FILES[0], head)
        _write_config(
            folder / _HEAD_CONFIG, {**about, "config": None, "name": None, "num_labels": size, "label2id": labels}
        )
    write_tensors(folder / _ADAPTERHUB_FILES[0], tensors)
    _write_config(folder / CONFIG, {**about, "config": config, "name": delta.name})
    return folder


def _write_config(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def _unwritable(delta: Delta) -> list[str]:
    """Return what a Delta has that the library has no place for."""
    problems = []
    if delta.structure.pooling != "model":
        problems.append(
            f"its head reads what the library's do not (pooling={delta.structure.pooling}): train with pooling=model"
        )
    if not isinstance(delta.method, SiteMethod):
        problems.append("it has no bottleneck adapters with weights of their own")
    if len(delta.tasks) > 1:
        problems.append("it holds several tasks: bake one of them first (`hyperadapters bake`)")
    if "output_layer" in delta.parts:
        problems.append("its output layer was trained")
    if "norms" in delta.parts and len(delta.tasks) < 2:
        norms = delta.parts["norms"].of_only_adapter()  # type: ignore[operator]
        if not all(torch.equal(tensor, value_at(delta.backbone, path).to(tensor)) for path, tensor in norms.items()):
            problems.append("its layer norms were trained, which the library does not save: train with norms=False")
    return problems

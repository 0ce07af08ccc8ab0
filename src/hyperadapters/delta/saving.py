"""What a Delta writes: settings, tensors, and a card for people."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hyperadapters._utils import (
    InputError,
    json_digest,
    library_versions,
    read_json,
    settings,
    write_json,
    write_tensors,
    write_text,
)
from hyperadapters.backbones import (
    PEFT_TYPE,
    head_kind_of,
    is_sharded,
    on_first_process,
    precision_of,
    task_type_of,
    whole_tensor,
)
from hyperadapters.delta.counting import count_delta
from hyperadapters.delta.method import method_to_json
from hyperadapters.delta.model_card import CARD, _render_model_card

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta

FORMAT = 1
"""Version of the layout on disk; a reader refuses newer ones."""
CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"

_WEIGHTS = ("model*.safetensors*", "pytorch_model*.bin*")
"""The files, as patterns, that transformers keeps a model's weights in."""


def _save_delta(delta: "Delta", folder: Path, *, beside_model: bool = False) -> Path:
    """Write a Delta's files into a folder, each whole or not at all; return the folder.

    Where the backbone is spread over processes, all of them must call it, and the first writes.

    Args:
        delta: what to write.
        folder: where to.
        beside_model: the folder holds files of a model, which is not there itself.

    Raises:
        InputError: the folder holds a model, or the Delta is on the meta device.
    """
    if not beside_model:
        _check_no_model(folder)
    config, together = describe_delta(delta), is_sharded(delta.backbone)
    tensors = {name: whole_tensor(tensor.detach()) for name, tensor in delta.tensors().items()}
    if any(tensor.is_meta for tensor in tensors.values()):
        raise InputError(f"the Delta {delta.name!r} is on the meta device: it has no values that could be saved.")
    if together:
        on_first_process(partial(write_adapter, folder, config, tensors))
    else:
        write_adapter(folder, config, tensors)
    return folder


def write_adapter(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the files of an adapter, each whole or not at all.

    Args:
        folder: where to.
        config: as `describe_delta` returns it.
        tensors: those of `Delta.tensors`, by name.
    """
    write_tensors(folder / TENSORS, tensors, {CONFIG: deciding_digest(config)})
    write_json(folder / CONFIG, config)
    write_text(folder / CARD, _render_model_card(config))


def _check_no_model(folder: Path) -> None:
    """Raise InputError if a folder holds a model; a checkpoint of an attached backbone, without its config, is none.

    Where transformers finds an `adapter_config.json` beside a model's `config.json`, it hands it to PEFT, so that the
    model itself could no longer be loaded.
    """
    config = folder / "config.json"
    if (folder / CONFIG).is_file() and not config.exists():
        return
    found = [path.name for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]
    if config.is_file() and {"model_type", "architectures"} & read_json(config).keys():
        found.append(config.name)
    if found:
        raise InputError(
            f"{folder} holds a model ({', '.join(found)}), which transformers could not load with an {CONFIG} beside "
            f"it. Save the adapter in a folder of its own, such as {folder / 'adapter'}."
        )


_DESCRIPTIVE = (
    *("name", "scores", "trained", "bytes", "versions"),
    *("base_model_name_or_path", "revision", "task_type", "auto_mapping", "inference_mode"),  # of PEFT
)
"""What a config says that no answer depends on."""


def deciding_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a config says that answers depend on; the file of the tensors states it.

    So the two files cannot be of different Deltas. What only describes is left out: a run that is killed between
    writing the one and the other, with scores that have changed, leaves an adapter that opens.

    Args:
        config: what `adapter_config.json` says.
    """
    deciding = {key: value for key, value in config.items() if key not in _DESCRIPTIVE}
    backbone = {key: value for key, value in config["backbone"].items() if key != "name"}
    return json_digest({**deciding, "backbone": backbone})


def describe_delta(delta: "Delta") -> dict[str, Any]:
    """Return what `adapter_config.json` says of a Delta.

    Args:
        delta: a Delta, in use or at rest.

    Returns:
        The whole method, the backbone's fingerprint, sizes, versions, and what `delta.about` adds.
    """
    fingerprint, layout, counted = delta.fingerprint(), delta.structure.layout, count_delta(delta)
    return {
        "format": FORMAT,
        "name": delta.name,
        "method": method_to_json(delta.method),
        "tasks": list(delta.tasks),
        "precision": delta.precision,
        "backbone": {
            "name": delta.backbone.config._name_or_path,
            "architecture": fingerprint.architecture,
            "weights": fingerprint.weights,
            "pooler": fingerprint.pooler,
            "precision": precision_of(delta.backbone),
            "layout": settings.dump(layout) if layout else None,
            "pooling": delta.structure.pooling,
            "outputs": delta.outputs,
            "head": head_kind_of(delta.backbone),
        },
        "trained": counted.trained,
        "bytes": counted.bytes,
        "versions": library_versions(),
        "peft_type": PEFT_TYPE,
        "base_model_name_or_path": delta.backbone.config._name_or_path,
        "revision": None,
        "task_type": task_type_of(delta.backbone),
        "auto_mapping": {
            "base_model_class": type(delta.backbone).__name__,
            "parent_library": type(delta.backbone).__module__,
        },
        "inference_mode": True,
        **delta.about,
    }

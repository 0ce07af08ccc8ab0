"""What a Delta writes: settings, tensors, and a card for people."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import files, library_versions, settings
from hyperadapters.backbones import precision_of
from hyperadapters.delta.counting import count_delta
from hyperadapters.delta.method import method_to_json
from hyperadapters.delta.model_card import _render_model_card

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta

FORMAT = 1
"""Version of the layout on disk; a reader refuses newer ones."""
CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


def _save_delta(delta: "Delta", folder: Path) -> Path:
    """Write a Delta's files into a folder, each whole or not at all; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = describe_delta(delta)
    files.write_tensors(folder / TENSORS, delta.tensors())
    files.write_json(folder / CONFIG, config)
    files.write_text(folder / "README.md", _render_model_card(config))
    return folder


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
            "name": delta.backbone.config._name_or_path,  # type: ignore[union-attr]
            "architecture": fingerprint.architecture,
            "weights": fingerprint.weights,
            "precision": precision_of(delta.backbone),
            "layout": settings.dump(layout) if layout else None,
            "outputs": delta.outputs,
        },
        "trained": counted.trained,
        "bytes": counted.bytes,
        "versions": library_versions(),
        **delta.about,
    }

"""Task embeddings of hypernetworks, in two dimensions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperadapters.methods import method_from_json
from hyperadapters.reports.document import Section
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.runs import Result, label_of

if TYPE_CHECKING:
    from torch import Tensor


def _embedding_sections(
    results: Mapping[Path, Result], embeddings_of: Mapping[Path, Mapping[str, "Tensor"]]
) -> list[Section]:
    """Return a figure for each hypernetwork of three tasks or more.

    Args:
        results: by the folder that holds each.
        embeddings_of: what `read_embeddings` read there.
    """
    figures: list[Figure] = []
    for folder, embeddings in embeddings_of.items():
        if len(embeddings) > 2:
            result = results[folder]
            title = _embedding_title(result, len(embeddings))
            title += "" if all(title != figure.title for figure in figures) else f", {folder.name}"
            figures.append(_embedding_figure(title, embeddings))
    return [Section("Task embeddings", figures=figures)] if figures else []


def _embedding_title(result: Result, tasks: int) -> str:
    """Return a title with the method, the number of tasks and the seed."""
    label = label_of(method_from_json(result.experiment["method"]))
    return f"Task embeddings, {label}, {tasks} tasks, seed {result.experiment['training']['seed']}"


def _embedding_figure(title: str, embeddings: Mapping[str, Any]) -> Figure:
    """Return a figure of embeddings, tensors by the task's name, along their first two principal components."""
    places, shares = _principal_components(np.array([tensor.tolist() for tensor in embeddings.values()]))
    series = {
        name.split("/")[-1]: [Mark(x, y, f"{name}\n{x:.3f}, {y:.3f}")]
        for name, (x, y) in zip(embeddings, places.tolist(), strict=True)
    }
    x_title, y_title = (f"component {n}, {100 * share:.0f} % of the variance" for n, share in enumerate(shares, 1))
    return Figure(title, series, x_title, y_title, joined=False)


def _principal_components(rows: Any) -> tuple[Any, Any]:
    """Return each row's place along the first two principal components, and their shares of the variance.

    Args:
        rows: an array (rows, dimensions).

    Returns:
        Arrays (rows, 2) and (2,).
    """
    centred = rows - rows.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * values)[:, :2], (values**2 / max((values**2).sum(), 1e-300))[:2]

"""Runs of several methods on one task side by side, as `train` and `compare` show them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperadapters._utils import (
    expand_path,
    follow_links,
    human_bytes,
    shortened,
    shown_metric,
    span,
    write_bytes,
    write_text,
)
from hyperadapters.reports.drawing import render_figure
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.markdown import markdown_table
from hyperadapters.reports.sections.scores import _MEMORY_TITLE, _TRAINED_AXIS, _circle_diameter, _circle_sizes
from hyperadapters.runs import Result


def comparison_cells(result: Result) -> dict[str, str]:
    """Return a result's cells by their headings.

    `score` is the mean of the metrics, which follow where there are several; `invalid` is the percentage of generated
    answers that are none; `time` is that of the training; `step` to `peak memory` are what `measure` found.
    """
    metrics = result.reported
    return {
        "method": result.method,
        "trained": f"{result.trained:,}",
        "%": f"{result.percent:.3f}",
        "adapter": human_bytes(result.bytes),
        "score": f"{100 * result.score:.2f}",
        **{name: shown_metric(name, value) for name, value in metrics.items() if len(metrics) > 1},
        **({"invalid": f"{100 * result.invalid[result.split]:.2f}"} if result.decode == "generate" else {}),
        "time": span(result.seconds),
        "step": f"{1000 * result.cost.step_seconds:.0f} ms",
        "generate": f"{1000 * result.cost.generate_seconds:.0f} ms",
        "activations": human_bytes(result.cost.saved_activations),
        "peak memory": human_bytes(result.cost.peak_memory),
    }


def comparison_title(results: Sequence[Result]) -> str:
    """Return the task, backbone, split and device that the results have in common."""
    first = results[0]
    backbone = first.experiment["backbone"]
    return f"{first.task} on {backbone} ({first.total:,} parameters), {first.split_in_words}, {first.device}"


def _comparison_figure(results: Sequence[Result]) -> Figure:
    """Return score against trained parameters, memory as the circle: Figure 1 of Compacter (arXiv:2106.04647v2)."""
    largest = max(1, *(result.cost.peak_memory for result in results))
    series = {
        result.method: [
            Mark(
                result.percent,
                100 * result.score,
                f"{result.method}\n{100 * result.score:.2f}\n{result.percent:.3f} % trained\n"
                f"{human_bytes(result.cost.peak_memory)} peak memory of a step",
                _circle_diameter(result.cost.peak_memory, largest),
            )
        ]
        for result in results
    }
    y_title = f"score on {shortened(results[0].task, 30)}, {results[0].split_in_words}"
    sizes = _circle_sizes([result.cost.peak_memory for result in results])
    names: dict[str, Any] = {"x_title": _TRAINED_AXIS, "y_title": y_title, "sizes_title": _MEMORY_TITLE}
    return Figure("trade-off", series, **names, log_x=True, joined=False, sizes=sizes)


def write_comparison(results: Sequence[Result], folder: Path) -> dict[str, str]:
    """Write the comparison's table in Markdown and its figure as PNG, SVG and PDF.

    Args:
        results: one result or more, of one task and backbone.
        folder: where to write; it is there.

    Returns:
        The paths, under "table", "figure" (the PNG), "svg" and "pdf".
    """
    folder = expand_path(folder)
    kinds = {"figure": "png", "svg": "svg", "pdf": "pdf"}
    paths = {"table": folder / "comparison.md", **{name: folder / f"trade-off.{end}" for name, end in kinds.items()}}
    rows = [comparison_cells(result) for result in results]
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows])
    write_text(follow_links(paths["table"]), f"{comparison_title(results)}\n\n{table}\n")
    contents = render_figure(_comparison_figure(results), *kinds.values())
    for name, ending in kinds.items():
        write_bytes(follow_links(paths[name]), contents[ending])
    return {name: str(path) for name, path in paths.items()}

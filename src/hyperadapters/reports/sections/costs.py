"""What a training step and generation cost, as the runs measured it."""

import statistics
from collections.abc import Mapping

from hyperadapters._utils import human_bytes
from hyperadapters.reports.document import Section, _Grid
from hyperadapters.reports.tables import _ScoreTable

_FIELDS = ("saved_activations", "peak_memory", "step_seconds", "generate_seconds")
_HEADINGS = ("method", "kept activations", "Δ %", "peak memory", "Δ %", "training step", "Δ %", "generation")


def _cost_sections(table: _ScoreTable) -> list[Section]:
    """Return the costs on the task that most methods have, as Compacter's Table 3 shows them; nothing of one method."""
    rows = [row for row in table.rows if row.tasks == 1 and not row.best_of]
    counts = {task: sum(any(run.task == task for run in row.results) for row in rows) for task in table.tasks}
    task = max(table.tasks, key=lambda name: counts[name])
    costs = {row.label: [run.cost for run in row.results if run.task == task] for row in rows}
    medians = {
        label: {field: statistics.median(getattr(cost, field) for cost in measured) for field in _FIELDS}
        for label, measured in costs.items()
        if measured
    }
    if len(medians) < 2:
        return []
    note = (
        f"On {task}: the longest training rows, medians over runs; Δ is against full fine-tuning. Memory on a CPU is "
        "that beyond what the process held before. `hyperadapters cost` measures all methods interleaved, and the "
        "fixed part of memory apart from the part for each example."
    )
    grid = _Grid(_HEADINGS, [[_cost_cells(label, cost, medians.get("full"))] for label, cost in medians.items()])
    return [Section(f"Cost of a step, {table.title}", [grid], [note])]


def _cost_cells(label: str, cost: Mapping[str, float], full: Mapping[str, float] | None) -> list[str]:
    """Return the cells of one method: its costs and their change against full fine-tuning.

    Args:
        label: the method's.
        cost: by the names in FIELDS, in bytes and seconds.
        full: the same of full fine-tuning.
    """

    def change(field: str) -> str:
        return f"{100 * (cost[field] / full[field] - 1):+.1f}" if full and full[field] else "–"

    return [
        label,
        human_bytes(int(cost["saved_activations"])),
        change("saved_activations"),
        human_bytes(int(cost["peak_memory"])),
        change("peak_memory"),
        f"{1000 * cost['step_seconds']:.0f} ms",
        change("step_seconds"),
        f"{1000 * cost['generate_seconds']:.0f} ms",
    ]

"""The scores of all methods, the paper's below ours, with the trade-off against their size."""

import math
from collections.abc import Sequence
from typing import Any

from hyperadapters._utils import human_bytes
from hyperadapters.reports.document import Section, _Grid
from hyperadapters.reports.estimates import _Estimate
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.notes import _column_title, _count_seeds, _table_notes
from hyperadapters.reports.tables import _families_of_sizes, _ScoreRow, _ScoreTable

_TRAINED_AXIS = "trained parameters, % of the backbone's"
_MEMORY_TITLE = "peak memory of a training step:"
_AVERAGE_AXIS = "average of columns, %"


def _score_section(table: _ScoreTable) -> Section:
    """Return a score table: Tables 1, 2, 6, 7, 9 of Compacter, the main tables of HyperFormer and Houlsby et al."""
    headings = ["method", "trained a model", "% a task", "total ×", "stored", "avg of columns", "avg of tasks"]
    headings += [*map(_column_title, table.columns), "seeds"]
    groups = [[_our_cells(table, row), *_paper_cells(table, row)] for row in table.rows]
    figures = [figure for figure in (_trade_off_figure(table), _size_figure(table)) if figure]
    return Section(table.title, [_Grid(headings, groups)], _table_notes(table), figures)


def _our_cells(table: _ScoreTable, row: _ScoreRow) -> list[str]:
    """Return the cells of our row."""
    averages = [table.average(row), table.average(row, per_task=True)]
    seeds = sorted({estimate.seeds for estimate in row.columns.values()})
    models = math.ceil(len(table.tasks) / row.tasks)
    return [
        row.label,
        f"{row.trained:,}",
        f"{row.percent:.3f}",
        f"{row.relative_size(len(table.tasks)):.3f}",
        human_bytes(models * row.bytes),
        *(_score_cell(estimate) for estimate in (*averages, *map(row.columns.get, table.columns))),
        "–".join(map(str, sorted({seeds[0], seeds[-1]}))),
    ]


def _score_cell(estimate: _Estimate | None) -> str:
    """Return mean ± standard deviation; for a single seed the 95 % interval in brackets; a dash for no score."""
    if estimate is None:
        return "–"
    if estimate.sd is not None or estimate.margin is None:
        return str(estimate)
    return f"{estimate} [{estimate.low:.1f}, {estimate.high:.1f}]"


def _paper_cells(table: _ScoreTable, row: _ScoreRow) -> list[list[str]]:
    """Return the paper's row and the difference of ours from it, where the paper has the row."""
    if not row.published:
        return []
    theirs = [table.published_average(row), None, *map(row.published.columns.get, table.columns)]
    ours = [table.average(row), None, *map(row.columns.get, table.columns)]
    if all(score is None for score in theirs):
        return []
    printed = ["–" if score is None else f"{score:.2f}" for score in theirs]
    differences = [
        "–" if estimate is None or score is None else f"{estimate.mean - score:+.2f}"
        for estimate, score in zip(ours, theirs, strict=True)
    ]
    return [
        [f"{row.label}, paper", "", "", "", "", *printed, "1"],
        [f"{row.label}, difference", "", "", "", "", *differences, ""],
    ]


def _trade_off_figure(table: _ScoreTable) -> Figure | None:
    """Return score against trained parameters, memory as the circle: Figure 1 of Compacter (arXiv:2106.04647v2)."""
    averages = [(row, estimate) for row, estimate in table.averages() if not row.best_of]
    largest = max((row.peak_memory for row, _ in averages), default=1) or 1
    series = {
        row.label: [
            Mark(
                row.percent,
                estimate.mean,
                _row_tip(row, estimate),
                _circle_diameter(row.peak_memory, largest),
                estimate.margin,
            )
        ]
        for row, estimate in averages
    }
    if len(series) < 2:
        return None
    title, caption = f"Trade-off, {table.title}", "Error bars: 95 % intervals."
    sizes = _circle_sizes([row.peak_memory for row, _ in averages])
    names: dict[str, Any] = {"x_title": _TRAINED_AXIS, "y_title": _AVERAGE_AXIS, "sizes_title": _MEMORY_TITLE}
    return Figure(title, series, **names, log_x=True, joined=False, caption=caption, sizes=sizes)


def _circle_sizes(memories: Sequence[int]) -> tuple[tuple[float, str], ...]:
    """Return the diameter and the memory of the smallest and the largest circle; of one where all are the same."""
    largest = max(memories, default=0)
    shown = dict.fromkeys(human_bytes(memory) for memory in (min(memories, default=0), largest))
    by_text = {human_bytes(memory): memory for memory in memories}
    return tuple((_circle_diameter(by_text[text], largest), text) for text in shown) if largest else ()


def _circle_diameter(memory: int, largest: int) -> float:
    """Return the diameter, in points, of the circle whose area stands for some memory; `largest` has 26."""
    return 4 + 22 * math.sqrt(memory / largest)


def _row_tip(row: _ScoreRow, average: _Estimate) -> str:
    """Return what hovering over a row's point shows."""
    interval = "" if average.margin is None else f"\n95 % interval {average.low:.2f} to {average.high:.2f}"
    return (
        f"{row.label}\nscore {average}, {_count_seeds(average.seeds)}{interval}\n{row.percent:.3f} % trained a task, "
        f"{human_bytes(row.bytes)} stored a model\n{human_bytes(row.peak_memory)} peak memory of a training step"
    )


def _size_figure(table: _ScoreTable) -> Figure | None:
    """Return score against trained parameters for methods in several sizes: Houlsby et al., Figures 1 and 3."""
    averages = {row.label: estimate for row, estimate in table.averages()}
    series = {}
    for family, rows in _families_of_sizes(table.rows).items():
        marks = [_size_mark(row, averages[row.label]) for row in rows if row.label in averages]
        if len(marks) > 1:
            series[family] = marks
    if not series:
        return None
    title, caption = f"Score against size, {table.title}", "Bands: 95 % intervals."
    return Figure(title, series, "trained parameters a task", _AVERAGE_AXIS, log_x=True, caption=caption)


def _size_mark(row: _ScoreRow, average: _Estimate) -> Mark:
    """Return the point of one size."""
    return Mark(row.trained / row.tasks, average.mean, _row_tip(row, average), margin=average.margin)

"""Results to tables and figures; pure functions of result files."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hyperadapters._utils import InputError, files, human_bytes, occurrences, span
from hyperadapters.methods import method_from_json
from hyperadapters.reports import figures
from hyperadapters.reports.estimates import (
    Estimate,
    ScoreRow,
    ScoreTable,
    against_paper,
    average,
    column_of,
    few_rows,
    indistinguishable_from_best,
    rows_of,
    scores_of,
    seeds_in_words,
    sizes,
    tables,
    tasks_in,
)
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.html import page
from hyperadapters.reports.markup import FIGURES, Grid, Section, latex, markdown
from hyperadapters.runs import RESULT, Result, label_of, read_result, result_from_json
from hyperadapters.storage import task_embeddings
from hyperadapters.sweeps import named_apart


def comparison_cells(result: Result) -> dict[str, str]:
    """One row of the comparison; score is the mean of the metrics behind it, invalid the % of such answers.

    Time is that of the whole run; step, generate, activations and peak memory are what `measure` found.
    """
    metrics = result.metrics[result.split]
    return {
        "method": result.method,
        "trained": f"{result.trained:,}",
        "%": f"{result.percent:.3f}",
        "adapter": human_bytes(result.bytes),
        "score": f"{100 * result.score:.2f}",
        **{name: f"{100 * value:.2f}" for name, value in metrics.items() if len(metrics) > 1},
        **({"invalid": f"{100 * result.invalid[result.split]:.2f}"} if result.decode == "generate" else {}),
        "time": span(result.seconds),
        "step": f"{1000 * result.cost.step_seconds:.0f} ms",
        "generate": f"{1000 * result.cost.generate_seconds:.0f} ms",
        "activations": human_bytes(result.cost.saved_activations),
        "peak memory": human_bytes(result.cost.peak_memory),
    }


def comparison_title(results: Sequence[Result]) -> str:
    """What the table compares."""
    first = results[0]
    backbone = first.experiment["backbone"]
    return f"{first.task} on {backbone} ({first.total:,} parameters), {first.split} split, {first.device}"


def markdown_table(results: Sequence[Result]) -> str:
    """The comparison in Markdown."""
    columns = list(comparison_cells(results[0]))
    lines = [comparison_title(results), "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(comparison_cells(result).values())} |" for result in results]
    return "\n".join(lines) + "\n"


def compared(results: Sequence[Result]) -> Figure:
    """Score against trained parameters (log), memory as the circle's size: Figure 1 of Compacter."""
    largest = max(1, *(result.cost.peak_memory for result in results))
    series = {
        result.method: [
            Mark(
                result.percent,
                100 * result.score,
                f"{result.method}\n{100 * result.score:.2f}\n{result.percent:.3f} % trained\n"
                f"{human_bytes(result.cost.peak_memory)} peak memory of a step",
                circle(result.cost.peak_memory, largest),
            )
        ]
        for result in results
    }
    y_title = f"score on {results[0].task}, {results[0].split} split"
    return Figure("trade-off", series, TRAINED, y_title, log_x=True, joined=False)


TRAINED = "trained parameters, % of the backbone's (circle: peak memory of a training step)"


def circle(memory: int, largest: int) -> float:
    """Diameter of the circle for some peak memory, whose area is as the memory."""
    return 4 + 22 * math.sqrt(memory / largest)


def write_comparison(results: Sequence[Result], folder: Path) -> dict[str, str]:
    """Write table and figure beside the runs; returns where they lie."""
    paths = {"table": folder / "comparison.md", "figure": folder / "trade-off.png"}
    files.write_text(paths["table"], markdown_table(results))
    files.write_bytes(paths["figure"], figures.rendered(compared(results), "png")["png"])
    return {name: str(path) for name, path in paths.items()}


def read_results(place: Path) -> tuple[dict[Path, Result], list[str]]:
    """Every `result.json` below a folder, or every line of a JSONL file of such, and what is wrong with the others.

    Returns the results by the folder that each lies in, or by the file and its line; own files of one name told apart.

    Raises:
        InputError: no such folder or file, or none that can be read.
    """
    if not place.is_dir() and place.suffix != ".jsonl":
        raise InputError(
            f"{place} is no folder. Name one with runs, such as the --output of a sweep, or a .jsonl file."
        )
    if not place.exists():
        raise InputError(f"{place} does not exist.")
    results, wrong = {}, []
    for path, read in (in_folder if place.is_dir() else in_lines)(place):
        try:
            results[path] = usable(read(), path)
        except InputError as error:
            wrong.append(str(error))
    if not results:
        why = f": {wrong[0]}" if wrong else ". `hyperadapters sweep` and `train` write them."
        raise InputError(f"{place} holds no {RESULT} of a run that can be read, at any depth{why}")
    return dict(zip(results, named_apart(list(results.values())), strict=True)), wrong


def in_folder(folder: Path) -> Iterator[tuple[Path, Callable[[], Result]]]:
    """The folders below one that hold a result, and what reads it."""
    for path in sorted(folder.rglob(RESULT)):
        yield path.parent, partial(read_result, path.parent)


def in_lines(file: Path) -> Iterator[tuple[Path, Callable[[], Result]]]:
    """The lines of a file, and what makes a result of each."""
    with file.open("rb") as lines:
        for number, line in enumerate(iter(partial(lines.readline, files.LARGEST_JSON), b""), 1):
            if line.strip():
                yield Path(f"{file}:{number}"), partial(result_of_line, line, f"{file}:{number}")


def result_of_line(line: bytes, where: str) -> Result:
    """The result in a line of JSON."""
    return result_from_json(files.json_object(line, where), where)


def usable(result: Result, path: Path) -> Result:
    """The result, if it has all that tables need.

    Raises:
        InputError: something is missing, of a wrong type, no finite number or one that cannot be.
    """
    try:
        method_from_json(result.experiment["method"])
        found = numbers(result)
        whole = all(
            [
                isinstance(result.experiment["backbone"], str),
                isinstance(result.experiment["training"]["seed"], int),
                isinstance(rows_of(result), int | None),
                all(isinstance(name, str) for name in tasks_in(result)),
                all(isinstance(number, int | float) for number in found),
                result.metrics[result.split] and result.metrics["validation"],
                min(result.trained, result.total) > 0 <= min(result.bytes, *vars(result.cost).values()),
            ]
        )
        finite = all(math.isfinite(number) for number in found)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is not a result of this version ({type(error).__name__}: {error}).") from error
    if not whole:
        raise InputError(f"{path} is damaged: it lacks scores, or holds what no run can have. Run it again.")
    if not finite:
        raise InputError(f"{path} has scores that are no finite numbers: run it again.")
    return result


def numbers(result: Result) -> list[Any]:
    """The numbers of a result that tables and figures show."""
    names = result.metrics["validation"]
    ends = [end for name, (low, high) in result.intervals.items() if column_of(result, name) for end in (low, high)]
    of_run = [result.trained, result.total, result.bytes, *result.by_kind.values(), *vars(result.cost).values()]
    history = [entry[name] for entry in result.history for name in ("step", *names)]
    return [*scores_of(result).values(), *names.values(), *ends, *of_run, *history]


def versions_differ(results: Sequence[Result]) -> list[str]:
    """In words, which packages had several versions: small differences may come from them."""
    found: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for package, version in result.versions.items():
            found[package].add(version)
    mixed = {package: sorted(versions) for package, versions in found.items() if len(versions) > 1}
    said = "; ".join(f"{package} {', '.join(versions)}" for package, versions in mixed.items())
    return [f"Runs of several versions stand side by side ({said}): rerun the older ones to be sure."] if said else []


def write_report(results: Mapping[Path, Result], folder: Path, problems: Sequence[str] = ()) -> dict[str, str]:
    """Every table and figure for which there are results: `report.md`, `report.tex`, `report.html`, `figures/`.

    Args:
        results: by the folder that each lies in, where its adapter may lie too.
        folder: where to write.
        problems: what was left out, to be said in the report.

    Raises:
        InputError: the folder cannot be written.
    """
    title, found = "Results", report(results, problems)
    files.make_output(folder / FIGURES)
    paths = {name: folder / f"report.{ending}" for name, ending in ENDINGS.items()}
    drawings: dict[str, str] = {}
    for figure in (figure for section in found for figure in section.figures):
        for ending, content in figures.rendered(figure, "svg", "pdf").items():
            files.write_bytes(folder / FIGURES / f"{figure.name}.{ending}", content)
            drawings |= {figure.name: content.decode()} if ending == "svg" else {}
    files.write_text(paths["markdown"], markdown(title, found))
    files.write_text(paths["latex"], latex(title, found))
    files.write_text(paths["page"], page(title, found, drawings))
    return {name: str(path) for name, path in paths.items()}


ENDINGS = {"markdown": "md", "latex": "tex", "page": "html"}


def report(results: Mapping[Path, Result], problems: Sequence[str] = ()) -> list[Section]:
    """Every section for which there are results."""
    runs = list(results.values())
    found = tables(runs)
    notes = [*versions_differ(runs), *(f"Left out: {problem}" for problem in problems)]
    sections = [
        *map(scores, found),
        *rows_sections(runs),
        *(section for table in found for section in cost_section(table)),
        *embeddings(results),
        *(section for table in found for section in learning_curves(table)),
        *([Section("What to know of these results", notes=notes)] if notes else []),
    ]
    return numbered_figures(sections)


def numbered_figures(sections: Sequence[Section]) -> list[Section]:
    """The sections, figures of one name numbered: titles that differ in signs alone give one name."""
    numbers = iter(occurrences(figure.name for section in sections for figure in section.figures))
    return [
        replace(section, figures=[replace(figure, number=next(numbers)) for figure in section.figures])
        for section in sections
    ]


def scores(table: ScoreTable) -> Section:
    """The table of scores: Tables 1, 2, 6, 7, 9 of Compacter, HyperFormer's and Houlsby's main tables."""
    names = [f"{task.split('/')[-1]} {metric}" for task, metric in table.columns]
    columns = ["method", "trained a model", "% a task", "total ×", "stored", "avg of columns", "avg of tasks", *names]
    columns.append("seeds")
    groups = [[cells(table, line), *paper_rows(table, line)] for line in table.lines]
    drawn = [figure for figure in (trade_off(table), by_size(table)) if figure]
    return Section(table.title, [Grid(columns, groups)], remarks(table), drawn)


def cells(table: ScoreTable, line: ScoreRow) -> list[str]:
    """Our row: mean ± sd over seeds; with one seed the test rows' 95 % interval in brackets."""
    found = [line.columns.get(column) for column in table.columns]
    averages = [table.average(line), table.average(line, per_task=True)]
    seeds = sorted({estimate.seeds for estimate in line.columns.values()})
    models = math.ceil(len(table.tasks) / line.tasks)
    return [
        line.label,
        f"{line.trained:,}",
        f"{line.percent:.3f}",
        f"{line.copies(len(table.tasks)):.3f}",
        human_bytes(models * line.bytes),
        *(in_cell(score) for score in (*averages, *found)),
        "–".join(map(str, sorted({seeds[0], seeds[-1]}))),
    ]


def in_cell(found: Estimate | None) -> str:
    """A score, with how far it is known; a dash where there is none."""
    if found is None:
        return "–"
    return str(found) if found.sd is not None or found.reach is None else f"{found} [{found.low:.1f}, {found.high:.1f}]"


def paper_rows(table: ScoreTable, line: ScoreRow) -> list[list[str]]:
    """The paper's row and what ours differs by, where the paper has the line."""
    if not line.paper:
        return []
    theirs = [line.paper.columns.get(column) for column in table.columns]
    ours = [line.columns.get(column) for column in table.columns]
    theirs, ours = [table.paper_average(line), None, *theirs], [table.average(line), None, *ours]
    if not any(score is not None for score in theirs):
        return []
    printed = ["–" if score is None else f"{score:.2f}" for score in theirs]
    differences = ["–" if a is None or b is None else f"{a.mean - b:+.2f}"
                   for a, b in zip(ours, theirs, strict=True)]  # fmt: skip
    return [
        [f"{line.label}, paper", "", "", "", "", *printed, "1"],
        [f"{line.label}, difference", "", "", "", "", *differences, ""],
    ]


def remarks(table: ScoreTable) -> list[str]:
    """What a reader must know: what was chosen, what is missing, what cannot be told apart."""
    chosen: dict[str, list[str]] = defaultdict(list)
    for line in table.lines:
        chosen[line.chosen].append(line.label)
    settings = "; ".join(f"{setting}: {', '.join(labels)}" for setting, labels in chosen.items())
    over = [f"{task.split('/')[-1]} {metric}" for task, metric in table.averaged]
    over = over if len(over) < len(table.columns) else []
    tested = [line.label for line in table.lines
              if any(run.experiment["text"].get("evaluation_rows") for run in line.results)]  # fmt: skip
    rows = ", ".join(f"{task} {count:,}" for task, count in sorted(table.rows.items()) if count)
    return [
        "Scores in percent, of the test split; ± is the standard deviation over seeds, brackets the 95 % interval by "
        "bootstrap over the test rows. Total × is the parameters of all these tasks together in units of the "
        "backbone, norms left out as in the papers; stored is all that is saved for them, norms included.",
        f"Chosen on validation: {settings}.",
        *([f"Averages are over {', '.join(over)}, which half of the methods or more have."] if over else []),
        *([f"Trained on a part of the training rows: {rows}."] if rows else []),
        *([f"Tested on a part of the rows by {', '.join(tested)}."] if tested else []),
        *(f"{line.label}: lacks runs of some settings, which take part only where none has all: "
          f"{'; '.join(line.incomplete)}."
          for line in table.lines if line.incomplete),
        *indistinguishable_from_best(table),
        *against_paper(table),
    ]  # fmt: skip


def known(table: ScoreTable) -> list[tuple[ScoreRow, Estimate]]:
    """The lines that have an average."""
    found = [(line, table.average(line)) for line in table.lines]
    return [(line, score) for line, score in found if score is not None]


def trade_off(table: ScoreTable) -> Figure | None:
    """Score against trained parameters, memory as the circle: Figure 1 of Compacter (arXiv:2106.04647v2)."""
    lines = [(line, score) for line, score in known(table) if not line.best_of]
    largest = max((line.peak_memory for line, _ in lines), default=1) or 1
    series = {
        line.label: [Mark(line.percent, score.mean, about(line, score), circle(line.peak_memory, largest), score.reach)]
        for line, score in lines
    }
    caption = "Error bars: 95 % intervals."
    title = f"Trade-off, {table.title}"
    if len(series) < 2:
        return None
    return Figure(title, series, TRAINED, Y_TITLE, log_x=True, joined=False, caption=caption)


Y_TITLE = "average of columns, %"


def about(line: ScoreRow, score: Estimate) -> str:
    """What hovering over a line's point says."""
    interval = "" if score.reach is None else f"\n95 % interval {score.low:.2f} to {score.high:.2f}"
    return (
        f"{line.label}\nscore {score}, {seeds_in_words(score.seeds)}{interval}\n{line.percent:.3f} % trained a task, "
        f"{human_bytes(line.bytes)} stored a model\n{human_bytes(line.peak_memory)} peak memory of a training step"
    )


def by_size(table: ScoreTable) -> Figure | None:
    """Score against trained parameters for several sizes of a method: Figures 1 and 3 of Houlsby et al."""
    averages = {line.label: score for line, score in known(table)}
    series = {}
    for family, lines in sizes(table.lines).items():
        marks = [
            Mark(line.trained / line.tasks, averages[line.label].mean, about(line, averages[line.label]),
                 reach=averages[line.label].reach)
            for line in lines if line.label in averages
        ]  # fmt: skip
        if len(marks) > 1:
            series[family] = marks
    title = f"Score against size, {table.title}"
    caption = "Bands: 95 % intervals."
    return Figure(title, series, "trained parameters a task", Y_TITLE, log_x=True, caption=caption) if series else None


def rows_sections(results: Sequence[Result]) -> list[Section]:
    """Score against training rows: Figure 4 of Compacter, and HyperFormer's few-shot table."""
    found = []
    for part in few_rows(results):
        labels = list(dict.fromkeys(line.label for table in part.tables.values() for line in table.lines))
        tasks = list(dict.fromkeys(task for table in part.tables.values() for task in table.tasks))
        kinds = ["average", *tasks] if len(tasks) > 1 else tasks
        groups = [
            [
                [
                    kind,
                    "all" if rows is None else f"{rows:,}",
                    *(in_row(score_on(table, label, kind)) for label in labels),
                ]
            ]
            for kind in kinds
            for rows, table in part.tables.items()
        ]
        drawn = [rows_figure(part.title, kind, part.tables, labels) for kind in kinds]
        note = (
            "Mean of a task's metrics in percent, ± the standard deviation over seeds (their number in brackets); the "
            "average is over metric columns. A task with fewer rows than asked for takes part with all it has."
        )
        grid = Grid(["task", "training rows", *labels], groups, labels=1)
        found.append(Section(part.title, [grid], [note], [figure for figure in drawn if figure.series]))
    return found


def score_on(table: ScoreTable, label: str, kind: str) -> Estimate | None:
    """A line's average over all columns, or over one task's."""
    line = next((line for line in table.lines if line.label == label), None)
    if line is None:
        return None
    if kind == "average":
        return table.average(line)
    columns = {column: found for column, found in line.columns.items() if column[0] == kind}
    return average(columns) if columns else None


def both(sd: float | None) -> tuple[float, float] | None:
    """A standard deviation below and above."""
    return None if sd is None else (sd, sd)


def in_row(found: Estimate | None) -> str:
    """A score with its seeds."""
    return "–" if found is None else f"{found} ({found.seeds})"


def rows_figure(title: str, kind: str, by_rows: Mapping[int | None, ScoreTable], labels: Sequence[str]) -> Figure:
    """Lines of score against training rows, with bands of one standard deviation."""
    series: dict[str, list[Mark]] = {}
    for label in labels:
        for rows, table in by_rows.items():
            found = score_on(table, label, kind)
            if rows is not None and found is not None:
                tip = f"{label}, {rows:,} rows\n{found}, {seeds_in_words(found.seeds)}"
                series.setdefault(label, []).append(Mark(rows, found.mean, tip, reach=both(found.sd)))
    caption = "Bands: standard deviation over seeds."
    y_title = Y_TITLE if kind == "average" else "mean of the metrics, %"
    return Figure(f"{title}, {kind}", series, "training rows", y_title, log_x=True, caption=caption)


def cost_section(table: ScoreTable) -> list[Section]:
    """What a step costs, as the runs measured it: Compacter's Table 3, on the task of most methods."""
    singles = [line for line in table.lines if line.tasks == 1 and not line.best_of]
    counts = {task: sum(any(r.task == task for r in line.results) for line in singles) for task in table.tasks}
    task = max(table.tasks, key=lambda name: counts[name])
    measured = {line.label: [r.cost for r in line.results if r.task == task] for line in singles}
    measured = {label: found for label, found in measured.items() if found}
    if len(measured) < 2:
        return []
    fields = ("saved_activations", "peak_memory", "step_seconds", "generate_seconds")
    medians = {
        label: {field: statistics.median(getattr(cost, field) for cost in found) for field in fields}
        for label, found in measured.items()
    }
    full = medians.get("full")
    columns = ["method", "kept activations", "Δ %", "peak memory", "Δ %", "training step", "Δ %", "generation"]
    note = (
        f"On {task}: the longest training rows, medians over runs; Δ is against full fine-tuning. Memory on a CPU is "
        "that beyond what the process held before. `hyperadapters cost` measures all methods interleaved, and the "
        "fixed part of memory apart from the part for each example."
    )
    grid = Grid(columns, [[cost_row(label, found, full)] for label, found in medians.items()])
    return [Section(f"Cost of a step, {table.title}", [grid], [note])]


def cost_row(label: str, found: Mapping[str, float], full: Mapping[str, float] | None) -> list[str]:
    """One method's costs."""

    def change(field: str) -> str:
        return f"{100 * (found[field] / full[field] - 1):+.1f}" if full and full[field] else "–"

    return [
        label,
        human_bytes(int(found["saved_activations"])),
        change("saved_activations"),
        human_bytes(int(found["peak_memory"])),
        change("peak_memory"),
        f"{1000 * found['step_seconds']:.0f} ms",
        change("step_seconds"),
        f"{1000 * found['generate_seconds']:.0f} ms",
    ]


def embeddings(results: Mapping[Path, Result]) -> list[Section]:
    """The task embeddings of hypernetworks whose adapters lie beside their results, in two dimensions."""
    drawn: list[Figure] = []
    for folder, result in results.items():
        found = task_embeddings(folder)
        if len(found) > 2:
            places, shares = principal_components(np.array([tensor.tolist() for tensor in found.values()]))
            series = {
                name.split("/")[-1]: [Mark(x, y, f"{name}\n{x:.3f}, {y:.3f}")]
                for name, (x, y) in zip(found, places.tolist(), strict=True)
            }
            x_title, y_title = (
                f"component {n}, {100 * share:.0f} % of the variance" for n, share in enumerate(shares, 1)
            )
            seed = result.experiment["training"]["seed"]
            label = label_of(method_from_json(result.experiment["method"]))
            title = f"Task embeddings, {label}, {len(found)} tasks, seed {seed}"
            title += "" if all(title != figure.title for figure in drawn) else f", {folder.name}"
            drawn.append(Figure(title, series, x_title, y_title, joined=False))
    return [Section("Task embeddings", figures=drawn)] if drawn else []


def principal_components(rows: Any) -> tuple[Any, Any]:
    """Places of rows along their first two principal components, and the share of the variance of each."""
    centred = rows - rows.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * values)[:, :2], (values**2 / max((values**2).sum(), 1e-300))[:2]


def learning_curves(table: ScoreTable) -> list[Section]:
    """Validation score against steps: a figure for each task or mixture, a line for each method's chosen setting."""
    runs: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for line in table.lines:
        for result in line.results if not line.best_of else ():
            if result.history and tasks_in(result)[0] in table.tasks:  # a mixture: in the first of its tables
                runs[result.task][line.label].append(result)
    drawn = []
    for task, lines in runs.items():
        name = f"{task.count('+') + 1} tasks in one: {task.replace('+', ', ')}" if "+" in task else task
        series = {label: curve(label, found) for label, found in lines.items()}
        caption = "Means over seeds; bands: one standard deviation."
        title = f"Learning curves, {name}, {table.backbone}"
        drawn.append(Figure(title, series, "steps", "validation, mean of the metrics, %", caption=caption))
    return [Section(f"Learning curves, {table.title}", figures=drawn)] if drawn else []


def curve(label: str, runs: Sequence[Result]) -> list[Mark]:
    """The mean of some runs' evaluations, at the steps where all have one."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        names = run.metrics["validation"]
        for entry in run.history:
            by_step[entry["step"]].append(100 * statistics.mean(entry[name] for name in names))
    marks = []
    for step, found in sorted(by_step.items()):
        if len(found) == len(runs):
            sd = both(statistics.stdev(found) if len(found) > 1 else None)
            mean = statistics.mean(found)
            marks.append(Mark(step, mean, f"{label}, step {step}\n{mean:.2f}, {len(found)} run(s)", 5, sd))
    return marks

"""Results to tables and figures; pure functions of result files."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from hyperadapters import files
from hyperadapters.errors import InputError
from hyperadapters.measure import human_bytes
from hyperadapters.methods import method_from_json
from hyperadapters.page import Mark, document, figure, html_table, note, section
from hyperadapters.progress import span
from hyperadapters.run import RESULT, Result, read_result
from hyperadapters.selection import validation_score
from hyperadapters.summary import Estimate, Line, ScoreTable, label_of, tables, told_apart


def row(result: Result) -> dict[str, str]:
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


def title(results: Sequence[Result]) -> str:
    """What the table compares."""
    first = results[0]
    backbone = first.experiment["backbone"]
    return f"{first.task} on {backbone} ({first.total:,} parameters), {first.split} split, {first.device}"


def terminal_table(results: Sequence[Result]) -> Table:
    """The comparison for a terminal."""
    table = Table(title=title(results), title_justify="left", box=box.SIMPLE_HEAD)
    for column in row(results[0]):
        table.add_column(column, justify="left" if column == "method" else "right")
    for result in results:
        table.add_row(*row(result).values())
    return table


def markdown_table(results: Sequence[Result]) -> str:
    """The comparison in Markdown."""
    columns = list(row(results[0]))
    lines = [title(results), "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row(result).values())} |" for result in results]
    return "\n".join(lines) + "\n"


def trade_off_figure(results: Sequence[Result], path: Path) -> None:
    """Score against trained parameters (log), memory as the circle's size: Figure 1 of Compacter."""
    import matplotlib  # noqa: PLC0415 (slow to import)

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    largest = max(1, *(result.cost.peak_memory for result in results))
    for result in results:
        size = 60 + 900 * result.cost.peak_memory / largest
        axes.scatter(result.percent, 100 * result.score, s=size, alpha=0.5)
        axes.annotate(
            f"{result.method}, {human_bytes(result.cost.peak_memory)}",
            (result.percent, 100 * result.score),
            xytext=(0, 4 + size**0.5 / 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.margins(0.2)
    axes.set_xlabel("trained parameters, % of the backbone's")
    axes.set_ylabel(f"score on {results[0].task}, {results[0].split} split")
    axes.set_title("circle: peak memory of a training step", fontsize=9)
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    figure.savefig(temporary, dpi=150)
    pyplot.close(figure)
    temporary.replace(path)


def write_comparison(results: Sequence[Result], folder: Path) -> dict[str, str]:
    """Write table and figure beside the runs; returns where they lie."""
    paths = {"table": folder / "comparison.md", "figure": folder / "trade-off.png"}
    files.write_text(paths["table"], markdown_table(results))
    trade_off_figure(results, paths["figure"])
    return {name: str(path) for name, path in paths.items()}


# -- the whole report ----------------------------------------------------------------------------------------------


def read_results(folder: Path) -> tuple[list[Result], list[str]]:
    """Every `result.json` below a folder, in the order of their paths, and what is wrong with those left out.

    Raises:
        InputError: there is none that can be read.
    """
    results, wrong = [], []
    for path in sorted(folder.rglob(RESULT)):
        try:
            results.append(read_result(path.parent))
        except InputError as error:
            wrong.append(str(error))
    if not results:
        raise InputError(f"{folder} holds no {RESULT} of a run. {' '.join(wrong)}".strip())
    return results, wrong


def write_report(results: Sequence[Result], folder: Path) -> dict[str, str]:
    """Every table and figure for which there are results: `report.md`, `report.tex`, `report.html`."""
    found = tables(results)
    files.make_output(folder)
    paths = {name: folder / f"report.{ending}" for name, ending in ENDINGS.items()}
    files.write_text(paths["markdown"], "\n".join(markdown(table) for table in found))
    files.write_text(paths["latex"], "\n".join(latex(table) for table in found))
    files.write_text(paths["page"], html_page(found, results))
    return {name: str(path) for name, path in paths.items()}


ENDINGS = {"markdown": "md", "latex": "tex", "page": "html"}


def headings(table: ScoreTable) -> list[str]:
    """The columns of a table."""
    scores = [f"{task.split('/')[-1]} {metric}" for task, metric in table.columns]
    return ["method", "trained", "%", *scores, "avg of columns", "avg of tasks", "seeds"]


def cells(table: ScoreTable, line: Line) -> list[str]:
    """Our row: mean ± sd over seeds; with one seed the test rows' 95 % interval in brackets."""
    scores = [line.columns.get(column) for column in table.columns]
    averages = [table.average(line), table.average(line, per_task=True)]
    seeds = sorted({found.seeds for found in line.columns.values()})
    return [
        line.label,
        f"{line.trained:,}",
        f"{line.percent:.3f}",
        *(in_cell(score) for score in (*scores, *averages)),
        "–".join(map(str, sorted({seeds[0], seeds[-1]}))),
    ]


def in_cell(found: Estimate | None) -> str:
    """A score, with how far it is known; a dash where there is none."""
    if found is None:
        return "–"
    return str(found) if found.sd is not None or found.half is None else f"{found} [{found.low:.1f}, {found.high:.1f}]"


def paper_rows(table: ScoreTable, line: Line) -> list[list[str]]:
    """The paper's row and what ours differs by, where the paper has the line."""
    if not line.paper:
        return []
    ours = [line.columns.get(column) for column in table.columns]
    theirs = [line.paper.get(column) for column in table.columns]
    ours, theirs = [*ours, table.average(line)], [*theirs, table.paper_average(line)]
    printed = ["–" if score is None else f"{score:.2f}" for score in theirs]
    differences = [
        "–" if a is None or b is None else f"{a.mean - b:+.2f}" for a, b in zip(ours, theirs, strict=True)
    ]  # fmt: skip
    return [
        [f"{line.label}, paper", "", "", *printed, "", "1"],
        [f"{line.label}, difference", "", "", *differences, "", ""],
    ]


def rows_of(table: ScoreTable) -> list[list[str]]:
    """All rows, the paper's below ours."""
    return [row for line in table.lines for row in (cells(table, line), *paper_rows(table, line))]


def remarks(table: ScoreTable) -> list[str]:
    """What a reader must know: what was chosen, what is missing, what cannot be told apart."""
    chosen = "; ".join(f"{line.label}: {line.chosen}" for line in table.lines)
    lacking = [f"{line.label}: left out for lack of runs: {', '.join(line.incomplete)}" for line in table.lines]
    return [
        f"Chosen on validation: {chosen}. Scores in percent, of the test split; ± is the standard deviation over "
        "seeds, brackets the 95 % interval by bootstrap over the test rows.",
        *(text for text, line in zip(lacking, table.lines, strict=True) if line.incomplete),
        *told_apart(table),
    ]


def markdown(table: ScoreTable) -> str:
    """A table in Markdown, with its remarks."""
    columns = headings(table)
    lines = [f"## {table.title}", "", f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows_of(table)]
    return "\n".join([*lines, "", *(f"- {text}" for text in remarks(table)), ""])


def latex(table: ScoreTable) -> str:
    """A table in LaTeX, for booktabs."""
    columns = headings(table)

    def line(row: Sequence[str]) -> str:
        return " & ".join(in_latex(cell) for cell in row) + r" \\"

    return "\n".join(
        [
            f"% {table.title}",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"\toprule",
            line(columns),
            r"\midrule",
            *(line(row) for row in rows_of(table)),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def in_latex(text: str) -> str:
    """Text with what LaTeX would read as commands escaped."""
    for character in "%_&#":
        text = text.replace(character, f"\\{character}")
    return text.replace("±", r"$\pm$").replace("–", "--")


def html_page(found: Sequence[ScoreTable], results: Sequence[Result]) -> str:
    """The page of all tables and figures."""
    sections = [
        section(t.title, html_table(headings(t), rows_of(t)), *map(note, remarks(t)), trade_off(t)) for t in found
    ]
    return document("hyperadapters: results", [*sections, *low_resource(found), *learning_curves(results)])


def trade_off(table: ScoreTable) -> str:
    """Score against trained parameters, memory as the circle: Figure 1 of Compacter (arXiv:2106.04647v2)."""
    complete = [(line, table.average(line)) for line in table.lines]
    known = [(line, score) for line, score in complete if score is not None]
    largest = max((line.peak_memory for line, _ in known), default=1) or 1
    series = {
        line.label: [
            Mark(
                line.percent,
                score.mean,
                f"{line.label}\n{in_cell(score)}\n{line.percent:.3f} % trained, {human_bytes(line.bytes)} stored\n"
                f"{human_bytes(line.peak_memory)} peak memory of a step",
                4 + 12 * math.sqrt(line.peak_memory / largest),
            )
        ]
        for line, score in known
    }
    axes = ("trained parameters, % of the backbone's", "average of columns")
    return figure(series, *axes, log_x=True, joined=False) if series else ""


def low_resource(found: Sequence[ScoreTable]) -> list[str]:
    """Average against training rows, one figure for each benchmark and backbone: Figure 4 of Compacter."""
    parts: dict[tuple[str, str], dict[str, list[Mark]]] = {}
    for table in found:
        for line in table.lines if table.train_rows else ():
            score = table.average(line)
            if score is not None:
                tip = f"{line.label}, {table.train_rows} rows\n{in_cell(score)}, {score.seeds} seed(s)"
                marks = parts.setdefault((table.benchmark, table.backbone), {}).setdefault(line.label, [])
                marks.append(Mark(table.train_rows or 0, score.mean, tip, half=score.half))
    return [
        section(
            f"Low-resource: {benchmark} on {backbone}",
            figure({k: sorted(v, key=lambda m: m.x) for k, v in series.items()}, "training rows", "average of columns"),
        )
        for (benchmark, backbone), series in parts.items()
    ]


def learning_curves(results: Sequence[Result]) -> list[str]:
    """Validation score against steps, a figure for each task, a line for each method's best run."""
    best: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        label = label_of(method_from_json(result.experiment["method"]))
        lines = best.setdefault((result.task, result.experiment["backbone"]), {})
        if label not in lines or validation_score(result) > validation_score(lines[label]):
            lines[label] = result
    sections = []
    for (task, backbone), lines in best.items():
        series = {label: curve(label, result) for label, result in lines.items() if result.history}
        if series:
            title = f"Learning curves: {task} on {backbone}"
            sections.append(section(title, figure(series, "steps", "validation, mean of the metrics")))
    return sections


def curve(label: str, result: Result) -> list[Mark]:
    """A run's evaluations."""
    names = result.metrics["validation"]
    found = []
    for entry in result.history:
        score = 100 * sum(entry[name] for name in names) / len(names)
        found.append(Mark(entry["step"], score, f"{label}, step {entry['step']}\n{score:.2f}", radius=3))
    return found

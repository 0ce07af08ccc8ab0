"""Results to tables and figures; pure functions of result files."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from hyperadapters import files
from hyperadapters.measure import human_bytes
from hyperadapters.progress import span
from hyperadapters.run import Result


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

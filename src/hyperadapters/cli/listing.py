"""Commands that look things up: methods, tasks, count."""

from dataclasses import asdict, fields
from typing import Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError
from hyperadapters.cli.base import _command, _show, _was_given
from hyperadapters.cli.options import _Json, _MethodName
from hyperadapters.cli.planning import _split_settings
from hyperadapters.cli.tables import _ResultTable


@_command("Look up", "methods")
def list_methods(json_output: _Json = False) -> None:
    """List the methods, what each is, and its settings."""
    from hyperadapters._utils import settings
    from hyperadapters.delta import method_to_json
    from hyperadapters.methods import METHODS

    table = Table(show_lines=True)
    table.add_column("method", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    table.add_column("settings (--set method.KEY=VALUE)", min_width=32, overflow="fold")
    for name, method in METHODS.items():
        values = ", ".join(f"{key}={_in_short(value)}" for key, value in settings.dump(method).items())
        table.add_row(name, (type(method).__doc__ or "").split("\n")[0], values)
    _show({name: method_to_json(method) for name, method in METHODS.items()}, json_output, table)


@_command("Look up", "tasks")
def list_tasks(json_output: _Json = False) -> None:
    """List the tasks: their text, answers and metrics, and where one is not the benchmark's own."""
    from hyperadapters.tasks import TASKS

    table = Table(show_lines=True)
    table.add_column("task", no_wrap=True)
    table.add_column("text, answer; note", overflow="fold")
    table.add_column("metrics", no_wrap=True)
    value: dict[str, Any] = {}
    families: set[str] = set()
    for name, task in TASKS.items():
        measured = [metric.__name__ for metric in task.metrics]
        source = f"{', '.join(task.form.fields)}: {task.form.target.expected()}"
        family = f"{name.partition('/')[0]}/" if task.wordings else ""
        if family not in families:
            about = (source, task.description, "`--json` names all" if family else "")
            table.add_row(family or name, "; ".join(filter(None, about)), "\n".join(measured))
        families |= {family} - {""}
        value[name] = {**task.form.to_json(), "metrics": measured, "description": task.description}
        if task.wordings:
            value[name]["wordings"] = [*task.wordings]
    _show(value, json_output, table)


@_command("Look up")
def count(
    context: typer.Context,
    method: _MethodName = "compacter++",
    backbone: Annotated[str, typer.Option(help="A folder, a config.json, a name on the Hub, or `embedded`.")] = (
        "embedded"
    ),
    tasks: Annotated[int, typer.Option(min=1, help="How many tasks one model holds.")] = 1,
    paper: Annotated[
        bool, typer.Option("--paper", help="Show the papers' own tables instead: our counts beside what they print.")
    ] = False,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting of the method: `--set method.n=8`. May be repeated."
        ),
    ] = [],  # noqa: B006 (typer copies it)
    json_output: _Json = False,
) -> None:
    """Count what a method trains, from the backbone's config alone.

    Examples:
    - `hyperadapters count --backbone t5-base --method compacter --set method.n=8`
    - `hyperadapters count --backbone t5-base --method hyperformer++ --tasks 8`
    - `hyperadapters count --paper`
    """
    if paper:
        options = {"method": "--method", "backbone": "--backbone", "tasks": "--tasks", "settings": "--set"}
        given = [option for name, option in options.items() if _was_given(context, name)]
        if given:
            raise InputError(f"--paper counts the papers' own methods and backbones: leave out {', '.join(given)}.")
        _count_papers(json_output)
        return
    from hyperadapters.methods import method_named

    chosen = method_named(method)
    wanted = _split_settings(settings)
    other = [path for path in wanted if not path.startswith("method.")]
    if other:
        known = ", ".join(f"method.{field.name}" for field in fields(chosen))  # type: ignore[arg-type]
        raise InputError(f"--set {other[0]}: only the method's settings count here: {known or 'it has none'}.")
    chosen = chosen.changed({path.removeprefix("method."): value for path, value in wanted.items()})
    from hyperadapters._utils import human_bytes
    from hyperadapters.methods import count_parameters

    found = count_parameters(chosen, backbone=backbone, tasks=tasks)
    table = Table(title=f"{method} on {backbone}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for kind, number in found.by_kind.items():
        table.add_row(kind, f"{number:,}")
    table.add_row("trained", f"{found.trained:,}", style="bold")
    table.add_row("backbone", f"{found.total:,}")
    table.add_row("percent", f"{found.percent:.3f}")
    if tasks > 1:
        table.add_row(f"percent a task, of {tasks}", f"{found.percent / tasks:.3f}")
    table.add_row("adapter on disk", human_bytes(found.bytes))
    value = {"method": method, "backbone": backbone, "tasks": tasks, **asdict(found), "percent": found.percent}
    _show(value, json_output, table)


def _count_papers(json_output: bool) -> None:
    """Print the papers' tables of parameters as we count them."""
    from hyperadapters.papers import count_paper_methods

    columns = ("method", "trained", "%", "paper's %", "", "total", "stored")
    tables: dict[str, list[list[str]]] = {}
    found = list(count_paper_methods())
    for line in found:
        rows = tables.setdefault(f"{line.table}, {line.backbone}", [])
        words = " ".join([line.method, *(f"{key}={_in_short(value)}" for key, value in line.changes.items())])
        printed = "–" if line.printed is None else f"{line.printed:.3f}"
        mark = "≠" if line.differs else ""
        totals = (f"{line.total:.3f}×", f"{line.stored:.3f}×")
        rows.append([words, f"{line.trained:,}", f"{line.percent:.3f}", printed, mark, *totals])
    legend = "total: backbone and all tasks' additions as the papers count; stored: with the norms each task needs too"
    value = {"rows": [{**asdict(line), "differs": line.differs} for line in found]}
    _show(
        value, json_output, *(_ResultTable(title, columns, rows, ("stored",)) for title, rows in tables.items()), legend
    )


def _in_short(value: Any) -> str:
    """Return a setting as the command line writes it."""
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)

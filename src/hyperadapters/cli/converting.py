"""The command that reads and writes adapters of other libraries: convert."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer
from rich.table import Table

from hyperadapters._utils import InputError, listed, shown_metric
from hyperadapters.cli.base import _command, _quiet_libraries, _show
from hyperadapters.cli.options import _Json, _OneOfTasks

if TYPE_CHECKING:
    from hyperadapters.delta import Delta
    from hyperadapters.training import Data, Scores

_FORMATS = ("lora", "adapterhub", "hyperadapters")
_COMPACTER = "compacter"


class _Source(NamedTuple):
    """An adapter to convert, on its backbone."""

    delta: "Delta"
    tokenizer: Any
    config: dict[str, Any] | None
    """Its `adapter_config.json`, if it is one of ours."""
    folder: Path


@_command("Use a saved adapter")
def convert(
    adapter: Annotated[
        str,
        typer.Argument(
            help="Folder of a saved adapter of ours or of AdapterHub's library, or user/name of one on the Hub; with "
            "--from compacter the folder of a checkpoint.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; new or empty.", show_default=False)],
    to: Annotated[
        str, typer.Option(help="lora: weights for peft; adapterhub: for the adapters library; hyperadapters: ours.")
    ],
    source: Annotated[str, typer.Option("--from", help="compacter: a checkpoint of Compacter's published code.")] = "",
    fit: Annotated[
        str,
        typer.Option(help="With --to lora: learn from this file the LoRA nearest to adapters that are not linear."),
    ] = "",
    label: Annotated[
        str, typer.Option(help="With --fit: the column of the answers, if it is called otherwise than in training.")
    ] = "",
    rank: Annotated[int | None, typer.Option(min=1, help="With --fit: of the LoRA; default: the bottleneck.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="With --fit: updates.")] = 300,
    activation: Annotated[
        str,
        typer.Option(help="With --from compacter: of the adapters; default: as the run says, or gelu_new."),
    ] = "",
    allow_bin: Annotated[
        bool, typer.Option("--allow-bin", help="Read tensors from a file in torch's own format too.")
    ] = False,
    without_head: Annotated[
        bool, typer.Option("--without-head", help="Leave out a prediction head of AdapterHub's library.")
    ] = False,
    task: _OneOfTasks = "",
    backbone: Annotated[
        str, typer.Option(help="Where to load the backbone from, if not from where the adapter says.")
    ] = "",
    json_output: _Json = False,
) -> None:
    """Write an adapter in the form of another library, or read one of another library.

    Adapters with `activation=identity` are LoRA exactly. Of others, --fit learns the LoRA whose outputs come nearest on
    four fifths of a file's rows, and scores adapter and LoRA on the rest.

    Examples:
    - `hyperadapters convert out/adapter out/lora --to lora`
    - `hyperadapters convert out/adapter out/lora --to lora --fit rows.jsonl --rank 16`
    - `hyperadapters convert out/adapter out/hub --to adapterhub`
    - `hyperadapters convert AdapterHub/bert-base-uncased-pf-rte out/rte --to hyperadapters --allow-bin`
    - `hyperadapters convert run out/mrpc --to hyperadapters --from compacter --backbone t5-base --allow-bin`
    """
    from hyperadapters._utils import check_output
    from hyperadapters.storage import export_adapterhub, export_lora

    _check_convert(to, source, fit, backbone, fit_options={"label": label, "rank": rank}, activation=activation)
    check_output(output, resume=False)
    _quiet_libraries()
    found = _open_source(adapter, source, backbone, task, activation, allow_bin, without_head)
    delta, value, parts = found.delta, dict[str, Any](), list[Table | str]()
    if fit:
        data = _rows_of(found, fit, label, task)
        delta, scores = _distilled(delta, data, rank, steps)
        value["fit"] = {name: {"metrics": one.metrics, "average": one.mean} for name, one in scores.items()}
        value["fit"]["rows"] = {split: len(rows) for split, rows in data.splits.items()}
        parts.append(_scores_table(scores, value["fit"]["rows"]))
    written = {"lora": export_lora, "adapterhub": export_adapterhub, "hyperadapters": type(delta).save}[to]
    written(delta, output)
    value = {"output": str(output), "to": to, "method": type(delta.method).__name__, **value}
    _show(value, json_output, *parts, f"{output}: {_how_to_open(to, delta, output)}")


def _check_convert(
    to: str, source: str, fit: str, backbone: str, *, fit_options: dict[str, Any], activation: str
) -> None:
    """Raise InputError if options are unknown, do not go together, or name what is not there: all of it in one."""
    problems = []
    if to not in _FORMATS:
        problems.append(f"--to {to}: one of {', '.join(_FORMATS)}.")
    if source not in ("", _COMPACTER):
        problems.append(f"--from {source}: {_COMPACTER}; other adapters are recognised by their files.")
    if source and not backbone:
        problems.append("--from compacter needs --backbone: the T5 that the checkpoint was trained on.")
    if fit and to != "lora":
        problems.append("--fit goes with --to lora.")
    if fit and not Path(fit).is_file():
        problems.append(f"--fit {fit} does not exist (looked in {Path.cwd()}).")
    problems += [f"--{name} goes with --fit." for name, value in fit_options.items() if value and not fit]
    if activation and not source:
        problems.append("--activation goes with --from compacter.")
    elif activation:
        from hyperadapters.layers import Activation

        known = get_args(Activation)
        problems += [] if activation in known else [f"--activation {activation}: one of {', '.join(known)}."]
    if problems:
        raise InputError(listed(problems))


def _open_source(
    adapter: str, source: str, backbone: str, task: str, activation: Any, allow_bin: bool, without_head: bool
) -> _Source:
    """Return the adapter on its backbone; of several tasks, the one that is named.

    Raises:
        InputError: it cannot be read, or holds several tasks and none is named.
    """
    from hyperadapters._utils import resolve_task
    from hyperadapters.backbones import load_backbone
    from hyperadapters.storage import (
        adapterhub_backbone,
        backbone_of,
        is_adapterhub,
        load,
        load_compacter_checkpoint,
        locate_adapter,
        read_config,
    )

    if source:
        model, tokenizer = load_backbone(backbone)
        options: dict[str, Any] = {"task": task, "activation": activation or None, "allow_bin": allow_bin}
        return _Source(load_compacter_checkpoint(adapter, model, **options), tokenizer, None, Path(adapter))
    folder = locate_adapter(adapter)
    if is_adapterhub(folder):
        place = backbone or adapterhub_backbone(folder)
        if not place:
            raise InputError(f"the adapter at {folder} does not name its backbone: give --backbone.")
        model, tokenizer = load_backbone(place)
        delta = load(folder, model, allow_bin=allow_bin, without_head=without_head)
        return _Source(delta, tokenizer, None, folder)
    config = read_config(folder)
    several = len(config["tasks"]) > 1
    whole = resolve_task(task, config["tasks"], f"the adapter at {adapter}") if several and task else ""
    if several and not task:
        raise InputError(
            f"the adapter at {adapter} holds several tasks ({', '.join(config['tasks'])}): name one, --task."
        )
    model, tokenizer = backbone_of(config, backbone)
    delta = load(folder, model, name="several tasks" if several else None)
    return _Source(delta.bake(whole) if several else delta, tokenizer, config, folder)


def _rows_of(found: _Source, file: str, label: str, task: str) -> "Data":
    """Return the rows of a file, shared out between learning and scoring.

    Raises:
        InputError: the adapter does not say its task; the file lacks columns, or has too few rows.
    """
    from hyperadapters.serving import answer_column, saved_task
    from hyperadapters.tasks import TASKS, labelled_task
    from hyperadapters.training import hold_out_rows, load_data

    if found.config is None:
        raise InputError("--fit is for adapters of ours, whose folder says what the rows mean.")
    form, text, _ = saved_task(found.config, found.folder, task)
    answer = label or answer_column(found.config, found.folder, task)
    rows = labelled_task(form, Path(file), answer, TASKS.get(form.name))
    data = load_data(rows, found.tokenizer, text=text, backbone=found.delta.backbone)
    return hold_out_rows(data, "test")


def _distilled(delta: "Delta", data: "Data", rank: int | None, steps: int) -> "tuple[Delta, dict[str, Scores]]":
    """Return linear adapters that come nearest to others, and the scores of both."""
    from hyperadapters.training import distil, evaluate

    before = evaluate(delta, data, "test", quiet=False)
    linear = distil(delta, data, rank=rank, steps=steps, quiet=False)
    return linear, {"adapter": before, "lora": evaluate(linear, data, "test", quiet=False)}


def _scores_table(scores: "dict[str, Scores]", rows: dict[str, int]) -> Table:
    """Return the scores of adapter and LoRA side by side, and what is lost."""
    adapter, lora = scores["adapter"].metrics, scores["lora"].metrics
    title = f"{rows['test']} rows that the LoRA did not learn from; {rows['train']} that it did"
    table = Table(title=title, title_justify="left")
    table.add_column("metric", no_wrap=True)
    for name in ("adapter", "LoRA", "difference"):
        table.add_column(name, justify="right")
    for name, value in adapter.items():
        table.add_row(name, *(shown_metric(name, number) for number in (value, lora[name], lora[name] - value)))
    return table


def _how_to_open(to: str, delta: "Delta", output: Path) -> str:
    """Return the line of Python that opens what was written."""
    if to == "lora":
        labels = f" (loaded with num_labels={delta.outputs})" if delta.outputs else ""
        return f"peft.PeftModel.from_pretrained(backbone, {str(output)!r}){labels}"
    if to == "adapterhub":
        return f"model.load_adapter({str(output)!r}, use_safetensors=True)"
    return f"hyperadapters.load({str(output)!r})"

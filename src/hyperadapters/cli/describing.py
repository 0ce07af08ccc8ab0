"""The command that writes an adapter from a description of its task: describe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hyperadapters.cli.base import _command, _quiet_libraries, _show
from hyperadapters.cli.options import _Json, _OtherBackbone, _SavedAdapter


@_command("Use a saved adapter")
def describe(
    adapter: _SavedAdapter,
    output: Annotated[Path, typer.Option(help="Folder for the new adapter; new or empty.")],
    description: Annotated[
        list[str] | None,
        typer.Argument(help="What the new task asks, in one or several wordings.", show_default=False),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(help="In place of words, for an adapter that reads examples: up to 16 rows with answers."),
    ] = None,
    label: Annotated[str, typer.Option(help="With --examples: the column of the answers, if not as in training.")] = "",
    like: Annotated[
        str, typer.Option(help="The adapter's task whose columns and labels the new one has; needed if they differ.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the new task; by default that of the folder.")] = "",
    backbone: _OtherBackbone = "",
    json_output: _Json = False,
) -> None:
    """Write an adapter from a description of its task, without training.

    The adapter must have been trained on described tasks with --set method.task_source=description (or examples). The
    new one is a plain adapter, and has the labels of the tasks that it was trained on.

    Examples:
    - `hyperadapters describe out/mix "Does the sentence mention a bird?" --output out/birds`
    - `hyperadapters describe out/mix "Is the text about food?" "Does it say what was eaten?" --output out/food`
    - `hyperadapters describe out/shown --examples birds.jsonl --output out/birds`
    """
    from hyperadapters._utils import InputError, check_output, human_bytes
    from hyperadapters.delta import near_tasks
    from hyperadapters.methods import count_parameters, method_from_json
    from hyperadapters.storage import backbone_of, load, locate_adapter, read_config

    check_output(output, resume=False)
    config = read_config(locate_adapter(adapter))
    if getattr(method_from_json(config["method"]), "task_source", "table") == "table":
        raise InputError(
            f"the adapter at {adapter} reads no descriptions. Train one that does, on described tasks: hyperadapters "
            "train --method hyperformer++ --set method.task_source=description --tasks tasks.yaml --output out/mix"
        )
    if bool(description) == bool(examples):
        raise InputError("say what the new task is: in words, or by --examples FILE.")
    task = name or output.resolve().name
    form = _form_like(config, like, task, f"the adapter at {adapter}")
    shown = _read_examples(examples, form, label) if examples else []
    _quiet_libraries()
    model, tokenizer = backbone_of(config, backbone)
    delta = load(locate_adapter(adapter), model, name="several tasks")
    delta.add_task(task, description=tuple(description or ()), examples=shown, tokenizer=tokenizer)
    nearest = near_tasks(delta, task)[0]
    delta.about = {**delta.about, "forms": {**delta.about.get("forms", {}), task: form}}
    plain = delta.bake(task, "described")
    plain.save(output)
    size = count_parameters(plain).bytes
    value = {
        "output": str(output),
        "task": task,
        "description": list(description or ()),
        "nearest": nearest,
        "method": type(plain.method).__name__,
        "bytes": size,
    }
    _show(
        value,
        json_output,
        f"{value['method']}, {human_bytes(size)}: {output}. Nearest of the tasks that it was trained on: {nearest}.",
    )


def _form_like(config: dict[str, Any], like: str, task: str, where: str) -> dict[str, Any]:
    """Return what prediction needs to know of a new task: its columns and labels are those of another one.

    Raises:
        InputError: the adapter's tasks differ in them, and `like` names none; or it holds none.
    """
    from hyperadapters._utils import InputError, few_names, resolve_task

    forms: dict[str, dict[str, Any]] = config.get("forms", {})
    if not forms:
        raise InputError(f"{where} does not say what its tasks' rows are like: train it with `hyperadapters train`.")
    if like:
        return {**forms[resolve_task(like, list(forms), where)], "name": task, "dataset": {}}
    kinds: dict[str, str] = {}
    for known, form in forms.items():
        kinds.setdefault(str([form.get("fields"), form.get("target"), form.get("style")]), known)
    if len(kinds) > 1:
        raise InputError(
            f"{where} holds tasks with different columns or labels: say with --like which the new one has, such as "
            f"those of {few_names(list(kinds.values()))}."
        )
    return {**next(iter(forms.values())), "name": task, "dataset": {}}


def _read_examples(path: Path, form: dict[str, Any], label: str) -> list[tuple[str, str]]:
    """Return the first rows of a labelled file as texts and answers.

    Raises:
        InputError: the file cannot be read, or its columns or answers are not those of the form.
    """
    from hyperadapters.delta import MOST_EXAMPLES
    from hyperadapters.tasks import TaskFormat, labelled_task

    rows = labelled_task(TaskFormat.from_json(form), path, label or form["answer"]).examples(None)["test"]
    return [("\n".join(row.texts), row.target) for row in rows[: MOST_EXAMPLES + 1]]

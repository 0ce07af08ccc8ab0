"""From options to an experiment."""

from typing import Any

import typer

from hyperadapters._utils import InputError
from hyperadapters.cli.base import was_given


def changes(settings: list[str], option: str = "--set", example: str = "training.lr=3e-3") -> dict[str, str]:
    """`--set a.b=c` options as a mapping."""
    wrong = [item for item in settings if "=" not in item]
    if wrong:
        raise InputError(f"{option} {wrong[0]}: write it as key=value, such as {example}.")
    return dict(item.split("=", 1) for item in settings)


def names_in(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def settings_of(method: str, methods: list[str], settings: list[str]) -> list[str]:
    """The `--set` options that concern one of several methods: `NAME.KEY` is its own `method.KEY`."""
    sections = [(item.partition(".")[0], item) for item in settings]
    mine = [f"method{item.removeprefix(method)}" for section, item in sections if section == method]
    return [item for section, item in sections if section not in methods] + mine


def choose_task(task: str, data: str, files: dict[str, str], text: str, label: str, target: str) -> Any:
    """The task that the options describe: a named one, several, or a user's own files."""
    from hyperadapters.runs import FilesTask, InstructionsTask, MixtureTask, NamedTask
    from hyperadapters.tasks import task_named

    given = [f"--{name}" for name, value in {**files, "text": text, "label": label, "target": target}.items() if value]
    if task and given:
        raise InputError(f"--task names a task of the package, {given[0]} files of your own: give one or the other.")
    if not given:
        names = tuple(names_in(task or "demo/paraphrase"))
        for name in names:
            task_named(name)
        if not names or len(set(names)) < len(names):
            raise InputError(f"--task {task}: name each task once, such as demo/paraphrase,demo/sentiment.")
        return MixtureTask(names=names, data=data) if len(names) > 1 else NamedTask(name=names[0], data=data)
    missing = [f"--{name}" for name in ("train", "validation") if not files[name]]
    if not missing and not (text or label or target):
        return InstructionsTask(**files)
    missing += [] if text else ["--text"]
    missing += [] if label or target else ["--label (or --target)"]
    if missing:
        raise InputError(f"your own files need {', '.join(missing)} too.")
    if label and target:
        raise InputError("--label is for classes, --target for free text: give one of them.")
    columns = tuple(names_in(text))
    return FilesTask(**files, text=columns, answer=label or target, classify=bool(label))


def plan(chosen: Any, task: Any, backbone: str, settings: list[str], start: Any = None) -> Any:
    """The experiment that the options describe, with the method's and the task's own defaults."""
    from hyperadapters.runs import Experiment, NamedTask, apply_changes, text_for
    from hyperadapters.tasks import task_named
    from hyperadapters.training import Training

    epochs = task_named(task.name).epochs if isinstance(task, NamedTask) else 3
    training = Training(lr=chosen.suggested_rate(backbone), epochs=epochs, **held_types(start))
    text = text_for(task)
    experiment = Experiment(method=chosen, task=task, backbone=backbone, training=training, text=text, start=start)
    return apply_changes(experiment, changes(settings))


def held_types(start: Any) -> dict[str, Any]:
    """The types that backbone and adapter are held in where a run goes on from an adapter: those of its training."""
    from hyperadapters.storage import read_config

    if not start:
        return {}
    config = read_config(start.adapter)
    return {"backbone_precision": config["backbone"]["precision"], "adapter_precision": config["precision"]}


def choose_start(folder: str, init_task: str, freeze: bool, named: bool) -> Any:
    """The trained adapter that the options say to go on from, if any; `named` says that a task is given."""
    from hyperadapters.runs import start_from

    if folder and not named:
        raise InputError("--from goes on with a task: say which with --task, or give files of your own.")
    if folder:
        return start_from(folder, init_task, freeze=freeze)
    for option, value in {"--init-task": init_task, "--freeze": freeze}.items():
        if value:
            raise InputError(f"{option} goes with --from, a trained adapter that holds several tasks.")
    return None


def choose_method(context: typer.Context, method: str, backbone: str, start: Any) -> tuple[Any, str]:
    """The method and the backbone that the command line names or, where it does not, that a run goes on from."""
    from hyperadapters.methods import method_from_json, method_named
    from hyperadapters.storage import read_config

    if not start:
        return method_named(method), backbone
    config = read_config(start.adapter)
    kept, place = method_from_json(config["method"]), config["backbone"]["name"]
    return (
        method_named(method) if was_given(context, "method") else kept,
        backbone if was_given(context, "backbone") else place,
    )

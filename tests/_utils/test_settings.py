"""Settings from the command line and from JSON are checked against the dataclasses' types."""

import pytest

from hyperadapters import METHODS, Evaluation, Experiment, InputError, NamedTask, Text, Training, method_named
from hyperadapters.runs.experiment import apply_changes
from hyperadapters.runs.task_choice import FilesTask, InstructionsTask, MixtureTask

EXPERIMENT = Experiment(method=METHODS["compacter"], task=NamedTask(name="glue/rte"), training=Training(lr=1e-3))


def test_text_becomes_the_type_of_its_field():
    changed = apply_changes(
        EXPERIMENT,
        {
            "method.n": "8",
            "method.positions": "attention",
            "method.norms": "false",
            "training.lr": "3e-2",
            "training.patience": "null",
            "training.precision": "bf16",
            "text.train_rows": "100",
            "evaluation.decode": "generate",
        },
    )
    assert (changed.method.n, changed.method.positions, changed.method.norms) == (8, ("attention",), False)
    assert (changed.training.lr, changed.training.patience, changed.training.precision) == (0.03, None, "bf16")
    assert (changed.text.train_rows, changed.evaluation.decode) == (100, "generate")


def test_all_that_is_wrong_is_in_one_error_with_its_neighbours():
    wrong = {
        "method.nn": "8",
        "method.n": "eight",
        "training.learning_rate": "1",
        "training.epochs": "-1",
        "optimizer.lr": "1",
        "text.prefix": "perhaps",
    }
    with pytest.raises(InputError) as caught:
        apply_changes(EXPERIMENT, wrong)
    message = str(caught.value)
    assert "method.nn: Compacter has no such field. Did you mean n" in message
    assert "method.n='eight': input should be a valid integer" in message
    assert "training.learning_rate: Training has no such field" in message
    assert "optimizer.lr: no such setting. Did you mean training.lr?" in message
    assert "text.prefix='perhaps'" in message


@pytest.mark.parametrize(
    "field", ["lr", "epochs", "batch_size", "accumulation", "max_grad_norm", "patience", "evaluate_steps", "steps"]
)
def test_numbers_that_make_no_sense_are_refused(field):
    with pytest.raises(InputError, match=rf"training.{field}=0(\.0)?: must be more than 0"):
        Training(**{"lr": 1e-3, **{field: 0}})


def test_a_rate_that_is_not_a_number_is_refused():
    with pytest.raises(InputError, match="training.lr=nan"):
        Training(lr=float("nan"))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "task",
    [
        NamedTask(name="glue/rte", data="x"),
        FilesTask(train="a", validation="b", text=("p", "q"), answer="l", answers="label"),
        InstructionsTask(train="a", validation="b"),
        MixtureTask.named("glue/rte", "glue/mrpc", temperature=2.0),
        MixtureTask(
            tasks=(
                NamedTask(name="glue/rte", data="x", checksums={"train": "0"}),
                FilesTask(train="a.jsonl", validation="b", text=("p", "q"), answer="l", answers="label"),
                InstructionsTask(train="c", validation="10%", name="chats"),
            )
        ),
    ],
)
def test_an_experiment_survives_json(name, task):
    experiment = Experiment(
        method=METHODS[name],
        task=task,
        training=Training(lr=1e-3, patience=3, backbone_precision="bf16", adapter_precision="bf16"),
        text=Text(train_rows=5),
        evaluation=Evaluation(beams=2),
    )
    assert Experiment.from_json(experiment.to_json()) == experiment


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("training", {"speed": 1}, "training.speed: Training has no such field. Did you mean seed"),
        ("training", {"lr": "fast"}, "valid number"),
        ("task", {"type": "nmaed"}, "task.type='nmaed': there is no such type. Did you mean named"),
        ("method", {"type": "Lora"}, "method.type='Lora': there is no such type"),
    ],
)
def test_json_of_another_shape_is_refused(section, change, message):
    values = EXPERIMENT.to_json()
    values[section] = {**values[section], **change}
    with pytest.raises(InputError, match=message):
        Experiment.from_json(values)


def test_all_that_is_wrong_in_a_file_is_in_one_error_with_its_path():
    values = EXPERIMENT.to_json()
    del values["training"]["lr"]
    values["training"]["compile"] = "perhaps"
    values["method"] |= {"n": "eight", "positions": ["feed_forward", 3], "nn": 4}
    entries = [{"type": "nmaed"}, {"type": "named", "name": 5, "dat": "", "data": "", "checksums": {}}]
    values["task"] = {"type": "mixture", "tasks": entries, "temprature": 2.0}
    values["text"] = 128
    values["evaluation"]["beams"] = 0
    values["start"] = {"adapter": "a", "digest": "b", "like": "", "freeze": "perhaps"}
    values["sede"] = 1
    del values["backbone"]
    with pytest.raises(InputError) as caught:
        Experiment.from_json(values)
    assert sorted(line.strip() for line in str(caught.value).splitlines()) == [
        "backbone: missing; Experiment needs it.",
        "evaluation.beams=0: must be 1 or more.",
        "method.n='eight': input should be a valid integer, unable to parse string as an integer",
        "method.nn: Compacter has no such field. Did you mean n?",
        "method.positions.1=3: input should be 'attention' or 'feed_forward'",
        "sede: Experiment has no such field. Known: method, task, training, backbone, text, evaluation, start.",
        "start.freeze='perhaps': input should be a valid boolean, unable to interpret input",
        "task.tasks.0.type='nmaed': there is no such type. Did you mean named?",
        "task.tasks.1.dat: NamedTask has no such field. Did you mean data?",
        "task.tasks.1.name=5: input should be a valid string",
        "task.temperature: missing; MixtureTask needs it.",
        "task.temprature: MixtureTask has no such field. Did you mean temperature?",
        "text=128: it should be a JSON object",
        "training.compile='perhaps': input should be a valid boolean, unable to interpret input "
        "or input should be 'auto' or 'graphs'",
        "training.lr: missing; Training needs it.",
    ]


@pytest.mark.parametrize("values", [None, [], "x", {}])
def test_what_is_no_experiment_at_all_is_refused(values):
    with pytest.raises(InputError, match="Experiment"):
        Experiment.from_json(values)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(InputError, match=r"no method 'compactor'. Did you mean compacter"):
        method_named("compactor")

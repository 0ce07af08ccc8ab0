"""What the settings of training start from, by the task; and what an experiment takes."""

import pytest

from hyperadapters import METHODS, Experiment, InputError, Training
from hyperadapters.runs.task_choice import FilesTask, InstructionsTask, MixtureTask, NamedTask, training_for

FILES = FilesTask(train="a.jsonl", validation="b.jsonl", text=("t",), answer="y", answers="label", name="files")
TALK = InstructionsTask(train="c.jsonl", validation="d.jsonl", name="talk")
OWN = {"batch_size": 16, "patience": 4}


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        (FILES, {**OWN, "epochs": 8, "min_steps": 300}),
        (TALK, {**OWN, "min_steps": 300}),
        (MixtureTask(tasks=(FILES, TALK)), {**OWN, "epochs": 8, "min_steps": 600}),
        (MixtureTask(tasks=(TALK, FILES)), {**OWN, "epochs": 8, "min_steps": 600}),
        (MixtureTask.named("demo/sentiment", "demo/paraphrase"), {}),
        (NamedTask(name="glue/mrpc"), {"epochs": 20}),
    ],
)
def test_own_files_are_passed_eight_times_and_conversations_three(task, settings):
    assert training_for(task) == settings


def test_a_method_or_task_of_another_type_says_what_to_give():
    task = FilesTask(train="a.jsonl", validation="10%", text=("t",), answer="y", answers="label")
    with pytest.raises(InputError, match=r"method='compacter\+\+': give METHODS\['compacter\+\+'\], or an object"):
        Experiment(method="compacter++", task=task, training=Training(lr=1e-3))
    with pytest.raises(InputError, match="give NamedTask.*FilesTask.*What own_task returns is for load_data"):
        Experiment(method=METHODS["houlsby"], task="glue/mrpc", training=Training(lr=1e-3))
    with pytest.raises(InputError, match="text='t': give a tuple of columns"):
        FilesTask(train="a.jsonl", validation="10%", text="t", answer="y", answers="label")

"""What the settings of training start from, by the task."""

import pytest

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

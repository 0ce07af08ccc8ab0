"""A small backbone as a fixture."""

import pytest
from training_runs import rows_file

from hyperadapters import METHODS, Evaluation, Experiment, FilesTask, Text, Training


@pytest.fixture(name="small")
def small_run(tmp_path):
    """A run of few rows on the embedded T5."""
    rows = {"train": 24, "validation": 12}
    files = {name: str(rows_file(tmp_path / f"{name}.jsonl", count)) for name, count in rows.items()}
    return Experiment(
        method=METHODS["compacter++"],
        task=FilesTask(**files, text=("text",), answer="label", answers="label"),
        training=Training(lr=1e-2, epochs=1, batch_size=8),
        text=Text(source_length=32),
        evaluation=Evaluation(decode="score"),
    )

"""SciTail (Khot et al., AAAI 2018), a transfer task of HyperFormer."""

from dataclasses import replace

from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.readers import Unfold
from hyperadapters.tasks.sources import Hub, Official
from hyperadapters.tasks.splits import as_given, parts_of
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat

SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def pair(premise: str | int, hypothesis: str | int, label: str | int) -> Unfold:
    """Return what makes rows of a record, with the column names of HyperFormer, from these columns of it."""
    return lambda record: [{"sentence1": record[premise], "sentence2": record[hypothesis], "label": record[label]}]


SCITAIL = Task(
    form=TaskFormat("scitail", ("sentence1", "sentence2"), Labels(("0", "1"), ("entails", "neutral"))),
    metrics=(accuracy,),
    source=Official(
        benchmark="SciTailV1.1",
        folder="tsv_format",
        files={ours: f"scitail_1.0_{file}.tsv" for ours, file in zip(SPLITS, ("train", "dev", "test"), strict=True)},
        columns={},
        hub=Hub("allenai/scitail", "tsv_format", SPLITS, unfold=pair("premise", "hypothesis", "label")),
        header=False,
        unfold=pair(0, 1, 2),
    ),
    split=as_given,
)

TEST_ALONE = replace(
    SCITAIL,
    form=replace(SCITAIL.form, name="scitail-test", target=Labels(("0", "1"), ("entailment", "not_entailment"))),
    source=Official(
        folder="scitail",
        files={"test": "test.jsonl"},
        columns={"sentence1": "premise", "sentence2": "hypothesis", "label": "label"},
    ),
    split=parts_of("test", 300, 1000),
    description="not the official split: the official test set alone (test.jsonl), 300 of its permuted rows for "
    "validation, 1,000 for test, the other 826 for training",
)

TASKS = {task.form.name: task for task in (SCITAIL, TEST_ALONE)}

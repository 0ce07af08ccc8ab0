"""SciTail (Khot et al., AAAI 2018), a transfer task of HyperFormer."""

from dataclasses import replace

from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.readers import _Unfold
from hyperadapters.tasks.sources import _Hub, _Official
from hyperadapters.tasks.splits import _as_given, _parts_of
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat

_SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def _pair(premise: str | int, hypothesis: str | int, label: str | int) -> _Unfold:
    """Return what makes rows of a record, with the column names of HyperFormer, from these columns of it."""
    return lambda record: [{"sentence1": record[premise], "sentence2": record[hypothesis], "label": record[label]}]


_SCITAIL = Task(
    form=TaskFormat("scitail", ("sentence1", "sentence2"), Labels(("0", "1"), ("entails", "neutral"))),
    metrics=(accuracy,),
    source=_Official(
        benchmark="SciTailV1.1",
        folder="tsv_format",
        files={ours: f"scitail_1.0_{file}.tsv" for ours, file in zip(_SPLITS, ("train", "dev", "test"), strict=True)},
        columns={},
        hub=_Hub("allenai/scitail", "tsv_format", _SPLITS, unfold=_pair("premise", "hypothesis", "label")),
        header=False,
        unfold=_pair(0, 1, 2),
    ),
    split=_as_given,
)

_TEST_ALONE = replace(
    _SCITAIL,
    form=replace(_SCITAIL.form, name="scitail-test", target=Labels(("0", "1"), ("entailment", "not_entailment"))),
    source=_Official(
        folder="scitail",
        files={"test": "test.jsonl"},
        columns={"sentence1": "premise", "sentence2": "hypothesis", "label": "label"},
    ),
    split=_parts_of("test", 300, 1000),
    description="not the official split: the official test set alone (test.jsonl), 300 of its permuted rows for "
    "validation, 1,000 for test, the other 826 for training",
)

TASKS = {task.form.name: task for task in (_SCITAIL, _TEST_ALONE)}

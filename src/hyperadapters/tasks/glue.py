"""GLUE (Wang et al., arXiv:1804.07461) in text-to-text form, with the papers' splits (Compacter, §4.1)."""

from collections.abc import Mapping
from dataclasses import replace

from hyperadapters.tasks.metrics import Metric, accuracy, f1, matthews, pearson, spearman
from hyperadapters.tasks.sources import _Hub, _Official
from hyperadapters.tasks.splits import _halve_validation, _hold_out_thousand, _parts_of, _Split, _Splits
from hyperadapters.tasks.targets import Labels, _Score, _Target
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import _PUBLISHED, TaskFormat

_TWO_FILES = {"train": "train.tsv", "validation": "dev.tsv"}


def _matched_and_mismatched(splits: _Splits) -> _Splits:
    """Split MNLI: the mismatched set validates, the matched one tests."""
    return {"train": splits["train"], "validation": splits["mismatched"], "test": splits["matched"]}


def _glue_task(
    name: str,
    folder: str,
    columns: Mapping[str, str | int],
    target: _Target,
    metrics: tuple[Metric, ...],
    split: _Split,
    *,
    files: Mapping[str, str] = _TWO_FILES,
    hub_splits: Mapping[str, str] | None = None,
    header: bool = True,
    whole_rows_only: bool = False,
    epochs: int = 3,
) -> Task:
    """Return a task of GLUE; `columns` holds the official files' column of each field, then of `label`."""
    return Task(
        form=TaskFormat(f"glue/{name}", tuple(column for column in columns if column != "label"), target),
        metrics=metrics,
        source=_Official(
            benchmark="glue",
            folder=folder,
            files=files,
            columns=columns,
            hub=_Hub("nyu-mll/glue", name, hub_splits or {split: split for split in files}),
            header=header,
            whole_rows_only=whole_rows_only,
        ),
        split=split,
        epochs=epochs,
    )


def _stand_in(whole: Task, name: str, folder: str, files: Mapping[str, str], columns: Mapping[str, str | int]) -> Task:
    """Return a stand-in for a task of which only one split is available, divided anew and named as such."""
    (split,) = files
    return replace(
        whole,
        form=replace(whole.form, name=f"glue/{name}"),
        source=_Official(benchmark="glue", folder=folder, files=files, columns=columns),
        split=_parts_of(split, 1000, 1000),
        description=f"not the official split: {folder}/{files[split]} alone, 1,000 of its permuted rows for "
        "validation, 1,000 for test, the rest for training",
    )


def _same(*names: str) -> dict[str, str | int]:
    """Return columns whose names in the files are ours."""
    return {name: name for name in names}


_BINARY = Labels(("0", "1"))

_ENTAILMENT = Labels(("0", "1"), ("entailment", "not_entailment"))

_PAIR = _same("sentence1", "sentence2")

_OFFICIAL = {
    task.form.name: task
    for task in (
        _glue_task(
            "cola",
            "CoLA",
            {"sentence": 3, "label": 1},
            _BINARY,
            (matthews,),
            _halve_validation,
            header=False,
            epochs=20,
        ),
        _glue_task("sst2", "SST-2", _same("sentence", "label"), _BINARY, (accuracy,), _hold_out_thousand),
        _glue_task(
            "mrpc",
            "MRPC",
            {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
            _BINARY,
            (f1, accuracy),
            _halve_validation,
            epochs=20,
        ),
        _glue_task(
            "stsb",
            "STS-B",
            {**_PAIR, "label": "score"},
            _Score(0.0, 5.0, 0.2),
            (pearson, spearman),
            _halve_validation,
            epochs=20,
        ),
        _glue_task(
            "qqp",
            "QQP",
            {**_same("question1", "question2"), "label": "is_duplicate"},
            _BINARY,
            (f1, accuracy),
            _hold_out_thousand,
            whole_rows_only=True,
        ),
        _glue_task(
            "mnli",
            "MNLI",
            {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
            Labels(("0", "1", "2"), ("entailment", "neutral", "contradiction")),
            (accuracy,),
            _matched_and_mismatched,
            files={"train": "train.tsv", "matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"},
            hub_splits={
                "train": "train",
                "matched": "validation_matched",
                "mismatched": "validation_mismatched",
            },
        ),
        _glue_task(
            "qnli", "QNLI", _same("question", "sentence", "label"), _ENTAILMENT, (accuracy,), _hold_out_thousand
        ),
        _glue_task("rte", "RTE", {**_PAIR, "label": "label"}, _ENTAILMENT, (accuracy,), _halve_validation, epochs=20),
        _glue_task("wnli", "WNLI", {**_PAIR, "label": "label"}, _BINARY, (accuracy,), _halve_validation, epochs=20),
    )
}

_MNLI, _STSB = _OFFICIAL["glue/mnli"], _OFFICIAL["glue/stsb"]

_PUBLISHED_FORMS = (
    replace(
        _MNLI,
        form=replace(_MNLI.form, name=f"glue/mnli{_PUBLISHED}", without_colon=("hypothesis",)),
        description="as the published code has it: no colon after 'hypothesis'",
    ),
    replace(
        _STSB,
        form=replace(_STSB.form, name=f"glue/stsb{_PUBLISHED}", target=_Score(0.0, 5.0, 0.1)),
        description="as the published code has it: scores rounded to 0.1, not to 0.2",
    ),
)

_STAND_INS = (
    _stand_in(
        _OFFICIAL["glue/qnli"],
        "qnli-dev",
        "QNLI",
        {"validation": "dev.tsv"},
        _same("question", "sentence", "label"),
    ),
    _stand_in(
        _MNLI,
        "mnli-dev-matched",
        "MNLI",
        {"matched": "dev_matched.jsonl"},
        _same("premise", "hypothesis", "label"),
    ),
    _stand_in(
        _OFFICIAL["glue/qqp"],
        "qqp-subset",
        "QQP-subset",
        {"train": "train_subset.tsv"},
        {**_same("question1", "question2"), "label": "is_duplicate"},
    ),
)

TASKS = {**_OFFICIAL, **{task.form.name: task for task in (*_PUBLISHED_FORMS, *_STAND_INS)}}

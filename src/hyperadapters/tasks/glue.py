"""GLUE (Wang et al., arXiv:1804.07461) in text-to-text form, with the papers' splits (Compacter, §4.1)."""

from collections.abc import Mapping
from dataclasses import replace

from hyperadapters.tasks.metrics import Metric, accuracy, f1, matthews, pearson, spearman
from hyperadapters.tasks.sources import Hub, Official
from hyperadapters.tasks.splits import Split, Splits, halve_validation, hold_out_thousand, parts_of
from hyperadapters.tasks.targets import Labels, Score, Target
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import PUBLISHED, TaskFormat

TWO_FILES = {"train": "train.tsv", "validation": "dev.tsv"}


def matched_and_mismatched(splits: Splits) -> Splits:
    """Split MNLI: the mismatched set validates, the matched one tests."""
    return {"train": splits["train"], "validation": splits["mismatched"], "test": splits["matched"]}


def glue_task(
    name: str,
    folder: str,
    columns: Mapping[str, str | int],
    target: Target,
    metrics: tuple[Metric, ...],
    split: Split,
    *,
    files: Mapping[str, str] = TWO_FILES,
    hub_splits: Mapping[str, str] | None = None,
    header: bool = True,
    whole_rows_only: bool = False,
    epochs: int = 3,
) -> Task:
    """Return a task of GLUE; `columns` holds the official files' column of each field, then of `label`."""
    return Task(
        form=TaskFormat(f"glue/{name}", tuple(column for column in columns if column != "label"), target),
        metrics=metrics,
        source=Official(
            benchmark="glue",
            folder=folder,
            files=files,
            columns=columns,
            hub=Hub("nyu-mll/glue", name, hub_splits or {split: split for split in files}),
            header=header,
            whole_rows_only=whole_rows_only,
        ),
        split=split,
        epochs=epochs,
    )


def stand_in(whole: Task, name: str, folder: str, files: Mapping[str, str], columns: Mapping[str, str | int]) -> Task:
    """Return a stand-in for a task of which only one split is available, divided anew and named as such."""
    (split,) = files
    return replace(
        whole,
        form=replace(whole.form, name=f"glue/{name}"),
        source=Official(benchmark="glue", folder=folder, files=files, columns=columns),
        split=parts_of(split, 1000, 1000),
        description=f"not the official split: {folder}/{files[split]} alone, 1,000 of its permuted rows for "
        "validation, 1,000 for test, the rest for training",
    )


def same(*names: str) -> dict[str, str | int]:
    """Return columns whose names in the files are ours."""
    return {name: name for name in names}


BINARY = Labels(("0", "1"))

ENTAILMENT = Labels(("0", "1"), ("entailment", "not_entailment"))

PAIR = same("sentence1", "sentence2")

OFFICIAL = {
    task.form.name: task
    for task in (
        glue_task(
            "cola", "CoLA", {"sentence": 3, "label": 1}, BINARY, (matthews,), halve_validation, header=False, epochs=20
        ),
        glue_task("sst2", "SST-2", same("sentence", "label"), BINARY, (accuracy,), hold_out_thousand),
        glue_task(
            "mrpc",
            "MRPC",
            {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
            BINARY,
            (f1, accuracy),
            halve_validation,
            epochs=20,
        ),
        glue_task(
            "stsb",
            "STS-B",
            {**PAIR, "label": "score"},
            Score(0.0, 5.0, 0.2),
            (pearson, spearman),
            halve_validation,
            epochs=20,
        ),
        glue_task(
            "qqp",
            "QQP",
            {**same("question1", "question2"), "label": "is_duplicate"},
            BINARY,
            (f1, accuracy),
            hold_out_thousand,
            whole_rows_only=True,
        ),
        glue_task(
            "mnli",
            "MNLI",
            {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
            Labels(("0", "1", "2"), ("entailment", "neutral", "contradiction")),
            (accuracy,),
            matched_and_mismatched,
            files={"train": "train.tsv", "matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"},
            hub_splits={
                "train": "train",
                "matched": "validation_matched",
                "mismatched": "validation_mismatched",
            },
        ),
        glue_task("qnli", "QNLI", same("question", "sentence", "label"), ENTAILMENT, (accuracy,), hold_out_thousand),
        glue_task("rte", "RTE", {**PAIR, "label": "label"}, ENTAILMENT, (accuracy,), halve_validation, epochs=20),
        glue_task("wnli", "WNLI", {**PAIR, "label": "label"}, BINARY, (accuracy,), halve_validation, epochs=20),
    )
}

MNLI, STSB = OFFICIAL["glue/mnli"], OFFICIAL["glue/stsb"]

PUBLISHED_FORMS = (
    replace(
        MNLI,
        form=replace(MNLI.form, name=f"glue/mnli{PUBLISHED}", without_colon=("hypothesis",)),
        description="as the published code has it: no colon after 'hypothesis'",
    ),
    replace(
        STSB,
        form=replace(STSB.form, name=f"glue/stsb{PUBLISHED}", target=Score(0.0, 5.0, 0.1)),
        description="as the published code has it: scores rounded to 0.1, not to 0.2",
    ),
)

STAND_INS = (
    stand_in(
        OFFICIAL["glue/qnli"],
        "qnli-dev",
        "QNLI",
        {"validation": "dev.tsv"},
        same("question", "sentence", "label"),
    ),
    stand_in(
        MNLI,
        "mnli-dev-matched",
        "MNLI",
        {"matched": "dev_matched.jsonl"},
        same("premise", "hypothesis", "label"),
    ),
    stand_in(
        OFFICIAL["glue/qqp"],
        "qqp-subset",
        "QQP-subset",
        {"train": "train_subset.tsv"},
        {**same("question1", "question2"), "label": "is_duplicate"},
    ),
)

TASKS = {**OFFICIAL, **{task.form.name: task for task in (*PUBLISHED_FORMS, *STAND_INS)}}

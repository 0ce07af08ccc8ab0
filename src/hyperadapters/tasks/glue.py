"""GLUE (Wang et al., arXiv:1804.07461) in text-to-text form, with the papers' splits (Compacter, §4.1)."""

from collections.abc import Mapping

from hyperadapters.metrics import Metric, accuracy, f1, matthews, pearson, spearman
from hyperadapters.tasks.sources import Hub, Official
from hyperadapters.tasks.task import (
    Form,
    Labels,
    Score,
    Split,
    Splits,
    Target,
    Task,
    halve_validation,
    hold_out_thousand,
)

TWO_FILES = {"train": "train.tsv", "validation": "dev.tsv"}


def matched_and_mismatched(splits: Splits) -> Splits:
    """MNLI: the mismatched set validates, the matched one tests."""
    return {"train": splits["train"], "validation": splits["mismatched"], "test": splits["matched"]}


def glue(
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
    epochs: int = 3,
) -> Task:
    """A task of GLUE. `columns` maps each field, then `label`, to the official files' column."""
    hub = Hub("nyu-mll/glue", name, hub_splits or {split: split for split in files})
    fields = tuple(column for column in columns if column != "label")
    return Task(
        form=Form(f"glue/{name}", fields, target),
        metrics=metrics,
        source=Official(folder, files, columns, hub, header=header),
        split=split,
        epochs=epochs,
    )


def same(*names: str) -> dict[str, str | int]:
    """Columns that are called in the files as here."""
    return {name: name for name in names}


BINARY = Labels(("0", "1"))
ENTAILMENT = Labels(("0", "1"), ("entailment", "not_entailment"))
PAIR = same("sentence1", "sentence2")

TASKS = {
    task.form.name: task
    for task in (
        glue(
            "cola", "CoLA", {"sentence": 3, "label": 1}, BINARY, (matthews,), halve_validation, header=False, epochs=20
        ),
        glue("sst2", "SST-2", same("sentence", "label"), BINARY, (accuracy,), hold_out_thousand),
        glue(
            "mrpc",
            "MRPC",
            {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
            BINARY,
            (f1, accuracy),
            halve_validation,
            epochs=20,
        ),
        glue(
            "stsb",
            "STS-B",
            {**PAIR, "label": "score"},
            Score(0.0, 5.0, 0.2),
            (pearson, spearman),
            halve_validation,
            epochs=20,
        ),
        glue(
            "qqp",
            "QQP",
            {**same("question1", "question2"), "label": "is_duplicate"},
            BINARY,
            (f1, accuracy),
            hold_out_thousand,
        ),
        glue(
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
        glue("qnli", "QNLI", same("question", "sentence", "label"), ENTAILMENT, (accuracy,), hold_out_thousand),
        glue("rte", "RTE", {**PAIR, "label": "label"}, ENTAILMENT, (accuracy,), halve_validation, epochs=20),
    )
}

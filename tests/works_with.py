"""Try what hyperadapters works with, and write what came out: `make bridges`.

Each row of the table names a library, what is promised about it, and the tests and examples that hold the promise. A
row holds if every one of them ran and passed: a test that was skipped, or is not found, is no proof. The file
results/works-with.json has the verdicts and the releases; docs/works-with.md shows them.
"""

import json
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / "results" / "works-with.json"


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        name: What hyperadapters works with.
        packages: The distributions whose releases are shown.
        page: The page that tells how, below docs/.
        promise: What works.
        tests: What holds the promise: files of tests, tests, or cases, as pytest names them.
    """

    name: str
    packages: tuple[str, ...]
    page: str
    promise: str
    tests: tuple[str, ...]


def example(page: str) -> str:
    """Return the test that runs a page's examples."""
    return f"tests/test_docs.py::test_the_python_examples_of_a_bridge_run[docs/{page}.md]"


LOOPS = "tests/training/test_other_loops.py"
CHECKPOINTS = "tests/training/test_trainer_checkpoints.py"
ROWS = (
    Row(
        "PEFT",
        ("peft",),
        "bridges/peft",
        "every method of one task as a PEFT adapter; one folder for both; several adapters; generation; compilation",
        ("tests/bridges/test_peft_door.py", example("bridges/peft")),
    ),
    Row(
        "DDP, FSDP2",
        ("torch",),
        "bridges/peft",
        "several processes train what one would, through PEFT and without it, and save it whole",
        (
            "tests/bridges/test_peft_in_processes.py",
            "tests/delta/test_sharded_saving.py",
            f"{LOOPS}::test_two_processes_train_the_adapters_that_one_would_of_one_task_and_of_a_mixture",
        ),
    ),
    Row(
        "Trainer of transformers",
        ("transformers",),
        "training",
        "checkpoints hold what trains, resume to the bit, and load their best",
        (f"{LOOPS}::test_the_trainer_of_transformers_trains_an_attached_backbone", CHECKPOINTS),
    ),
    Row(
        "Accelerate",
        ("accelerate",),
        "training",
        "checkpoints hold what trains; layers on disk train and generate",
        (f"{CHECKPOINTS}::test_accelerates_checkpoints_hold_what_trains", "tests/backbones/test_offloading.py"),
    ),
    Row(
        "TRL",
        ("trl",),
        "bridges/trl",
        "SFT, DPO and GRPO with `peft_config=`; no second model; checkpoints are adapters, and resume to the bit",
        ("tests/bridges/test_trl.py", example("bridges/trl")),
    ),
    Row(
        "sentence-transformers",
        ("sentence-transformers",),
        "bridges/sentence_transformers",
        "training, encoding, saving, resuming; an adapter of its own for every sentence; CrossEncoder",
        ("tests/bridges/test_sentence_transformers.py", example("bridges/sentence_transformers")),
    ),
    Row(
        "setfit",
        ("setfit",),
        "bridges/setfit",
        "training the Delta and either kind of head; what is saved answers alike",
        ("tests/bridges/test_setfit.py", example("bridges/setfit")),
    ),
    Row(
        "pipelines of transformers",
        ("transformers",),
        "bridges/pipelines",
        "answers with the names of the classes, of texts and of tokens; switched with the Delta",
        ("tests/delta/test_named_classes.py", example("bridges/pipelines")),
    ),
    Row(
        "generation of transformers",
        ("transformers",),
        "guarantees",
        "static caches, assistance, prompt lookup, beams and a kept cache give the plain model's tokens",
        ("tests/delta/test_ways_of_generating.py",),
    ),
    Row(
        "ONNX, torch.export",
        ("onnx", "onnxscript", "onnxruntime"),
        "bridges/export",
        "one file for each, which agrees with the model or is not written",
        ("tests/serving/test_exporting.py", example("bridges/export")),
    ),
    Row(
        "lm-evaluation-harness",
        ("lm-eval",),
        "bridges/lm_eval",
        "scores an attached model, a saved folder, and many adapters in mixed batches",
        ("tests/bridges/test_lm_eval.py", example("bridges/lm_eval")),
    ),
    Row(
        "Hugging Face Hub",
        ("huggingface-hub",),
        "sharing",
        "pushing and loading, with revisions and the local cache; one repository with many adapters (a stand-in of "
        "the Hub's HTTP interface, not the Hub)",
        ("tests/storage/test_repositories.py", "tests/storage/test_collection.py", "tests/delta/test_model_card.py"),
    ),
    Row(
        "LoRA of PEFT",
        ("peft",),
        "converting",
        "adapters without a non-linearity become LoRA, exactly",
        ("tests/storage/test_lora_export.py",),
    ),
    Row(
        "TensorBoard",
        ("tensorboard",),
        "training",
        "is told every evaluation and the score",
        ("tests/training/test_tracking.py",),
    ),
)


class Recorder:
    """Keeps what came of every test, by its name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's outcome; a failure before or after it is its failure too."""
        worst = ("failed", "skipped", "passed")
        known = self.outcomes.get(report.nodeid, "passed")
        self.outcomes[report.nodeid] = min(known, report.outcome, key=worst.index)


def release(package: str) -> str | None:
    """Return the release of a distribution that is installed, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def verdict(row: Row, outcomes: dict[str, str]) -> dict[str, object]:
    """Return a row with the number of its tests that passed, failed, were skipped, and were not found."""
    found = {test: [name for name in outcomes if name == test or name.startswith((f"{test}::", f"{test}["))]
             for test in row.tests}  # fmt: skip
    counts = Counter(outcomes[name] for name in {name for names in found.values() for name in names})
    missing = sum(not names for names in found.values())
    return {
        "name": row.name,
        "page": row.page,
        "promise": row.promise,
        "releases": {package: release(package) for package in row.packages},
        "passed": counts["passed"],
        "failed": counts["failed"],
        "skipped": counts["skipped"],
        "missing": missing,
        "holds": bool(counts["passed"]) and not (counts["failed"] or counts["skipped"] or missing),
    }


def main() -> int:
    """Run the tests of all rows at once, write the file, and return 1 if a row does not hold.

    Names of rows as arguments choose rows; the file is then left as it is.
    """
    chosen = [row for row in ROWS if not sys.argv[1:] or row.name in sys.argv[1:]]
    recorder = Recorder()
    tests = dict.fromkeys(test for row in chosen for test in row.tests)
    pytest.main(["--rootdir", str(ROOT), *(str(ROOT / test) for test in tests)], plugins=[recorder])
    rows = [verdict(row, recorder.outcomes) for row in chosen]
    if not sys.argv[1:]:
        FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(
            "holds       " if row["holds"] else "DOES NOT HOLD", row["name"], row["releases"], row["passed"], sep="  "
        )
    return int(not all(row["holds"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())

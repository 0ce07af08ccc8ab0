"""What a run found, as one JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, check_json, html_table, human_bytes, mean_score, read_json, settings, span
from hyperadapters.training import Cost

RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run found; `run` writes it as one JSON file, tables and figures are made of such files."""

    experiment: dict[str, Any]
    """The whole experiment, as `Experiment.to_json` gives it."""
    method: str
    """The method's name, with what differs from the preset in brackets."""
    task: str
    """The task's name; of a mixture, all names joined by +."""
    metrics: dict[str, dict[str, float]]
    """By split, then metric; of a mixture, the metrics are called `task.metric`. Shares, not percent; errors such
    as `rmse` in the numbers' unit."""
    averages: dict[str, float]
    """By split: the mean of the metrics, of a mixture over all tasks, by which evaluations are compared."""
    intervals: dict[str, list[float]]
    """By metric: the 95 % interval over resampled rows of the reported split, for tasks with few rows there."""
    baselines: dict[str, dict[str, dict[str, float]]]
    """Of own files: by baseline (`constant`, `bag of words`), split and metric, scores that need no backbone; of other
    tasks there are none."""
    constant_answer: str
    """The answer that every row of the reported split was given; empty: answers differ."""
    invalid: dict[str, float]
    """By split: the share of answers that are none of the task's."""
    decode: str
    """How answers were obtained: score or generate."""
    trained: int
    """Trained parameters."""
    total: int
    """Parameters of the backbone."""
    percent: float
    """`trained` in percent of `total`."""
    by_kind: dict[str, int]
    """Trained parameters by kind: adapter, norm, head, shared …"""
    bytes: int
    """Size of the trained tensors."""
    rows: dict[str, int]
    """Rows that were used, by split, of all tasks together."""
    rows_available: dict[str, int]
    """Rows that the tasks' splits hold, before `text.train_rows` and `text.evaluation_rows` limit them."""
    rows_left_out: dict[str, int]
    """Bad rows that were left out, by split, of all tasks together (`Reading.skip_bad_rows`)."""
    truncated: dict[str, int]
    """Rows whose source was cut, by split, of all tasks together."""
    truncated_targets: dict[str, int]
    """Rows whose target was cut, by split, of all tasks together."""
    unwritable_targets: dict[str, int]
    """Rows whose target the tokenizer cannot write as it is, by split, of all tasks together."""
    seconds: float
    """Time of training with its evaluations; of runs trained together, this one's share."""
    cost: Cost
    """Memory and time of one training step and of generation, on the longest training rows."""
    steps: int
    """Updates that were made."""
    best_step: int
    """The step whose weights were kept: the best on validation."""
    tokens: int
    """Tokens trained on, source and target."""
    padded_tokens: int
    """The same with padding."""
    compilations: int
    """Graphs that torch.compile made."""
    together: int = 1
    """How many runs were trained in one pass."""
    history: list[dict[str, Any]]
    """One entry for each evaluation: step, loss and metrics."""
    device: str
    """cpu, cuda …"""
    versions: dict[str, str]
    """Of this package, Python and the libraries."""

    def __repr__(self) -> str:
        """Return method, task and scores, not the whole experiment and its history."""
        scores = {name: round(value, 4) for name, value in self.metrics.get(self.split, {}).items()}
        return f"Result(method={self.method!r}, task={self.task!r}, {self.split}={scores}, trained={self.trained:,})"

    def _repr_html_(self) -> str:
        """Return the same as a table for notebooks."""
        rows: dict[str, object] = {f"{split} scores": found for split, found in self.metrics.items()}
        rows |= {
            "trained parameters": f"{self.trained:,} ({self.percent:.3f} %)",
            "size": human_bytes(self.bytes),
            "rows": self.rows,
            "best step": f"{self.best_step:,} of {self.steps:,}",
            "time": span(self.seconds),
        }
        return html_table(f"{self.method} on {self.task}", rows)

    @property
    def split(self) -> str:
        """The split to report: test where there is one, else validation."""
        return "test" if "test" in self.metrics else "validation"

    @property
    def untested(self) -> list[str]:
        """Tasks of a mixture that have no test rows where others have: validation is reported for them."""
        tested, validated = ([name.rpartition(".")[0] for name in self.metrics[s]] for s in (self.split, "validation"))
        return [task for task in dict.fromkeys(validated) if task not in tested]

    @property
    def split_in_words(self) -> str:
        """The split to report, and the tasks that are reported on another one."""
        return f"{self.split} split" + (f" ({', '.join(self.untested)}: validation split)" if self.untested else "")

    @property
    def reported(self) -> dict[str, float]:
        """The metrics to report: of the test split where a task has one, else of validation."""
        untested = self.untested
        rest = {n: value for n, value in self.metrics["validation"].items() if n.rpartition(".")[0] in untested}
        return {**self.metrics[self.split], **rest}

    @property
    def score(self) -> float:
        """Mean of the task's metrics on the reported split (`mean_score`)."""
        return mean_score(self.reported)


def read_result(folder: Path) -> Result:
    """Return the result of a finished run.

    Args:
        folder: what `run` wrote to.

    Raises:
        InputError: there is no result, or its file is damaged.
    """
    return result_from_json(read_json(folder / RESULT), str(folder / RESULT))


def result_from_json(values: Mapping[str, Any], where: str) -> Result:
    """Return the result that JSON holds.

    Args:
        values: the fields of a result.
        where: where they were found, for errors.

    Raises:
        InputError: some are missing, unknown or of a wrong type (all of them in one error), or were changed.
    """
    values = check_json(values, where)
    try:
        return settings.parse(Result, values, "")
    except InputError as error:
        raise InputError(f"{where} is not a result of this version:\n  {error}") from error

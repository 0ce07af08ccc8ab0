"""What a run found, as one JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, files, settings
from hyperadapters.training import Cost

RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """What a run found; one JSON file."""

    experiment: dict[str, Any]
    method: str
    task: str
    metrics: dict[str, dict[str, float]]
    """By split, then metric."""
    invalid: dict[str, float]
    """Share of invalid answers by split."""
    decode: str
    trained: int
    total: int
    percent: float
    by_kind: dict[str, int]
    bytes: int
    seconds: float
    """Training, its evaluations included."""
    cost: Cost
    """Of one training step and of generation, on the longest training rows."""
    steps: int
    best_step: int
    tokens: int
    padded_tokens: int
    truncated: dict[str, int]
    """Rows whose source was cut, by split, of all tasks together."""
    history: list[dict[str, Any]]
    device: str
    versions: dict[str, str]
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """By metric: the 95 % interval that the reported split's rows leave, by bootstrap, where they are few."""
    averages: dict[str, float] = field(default_factory=dict)
    """By split: the mean of the metrics, of a mixture over all tasks, by which evaluations are compared."""
    compilations: int = 0
    """Graphs that torch.compile made."""
    together: int = 1
    """How many runs were trained together; `seconds` is this one's share of theirs."""
    truncated_targets: dict[str, int] = field(default_factory=dict)
    """Rows whose target was cut."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows used, by split, of all tasks together."""
    rows_available: dict[str, int] = field(default_factory=dict)
    """Rows that the splits hold before limits."""

    @property
    def split(self) -> str:
        """The split to report: test where there is one."""
        return "test" if "test" in self.metrics else "validation"

    @property
    def score(self) -> float:
        """Mean of the task's metrics on the reported split."""
        values = self.metrics[self.split].values()
        return sum(values) / len(values)


def read_result(folder: Path) -> Result:
    """The result of a finished run.

    Raises:
        InputError: there is none, or its file is damaged.
    """
    return result_from_json(files.read_json(folder / RESULT), str(folder / RESULT))


def result_from_json(values: Mapping[str, Any], where: str) -> Result:
    """The result whose fields these are.

    Raises:
        InputError: some are missing, unknown or of a wrong type; `where` they were found is said.
    """
    try:
        found = Result(**values)
    except TypeError as error:
        raise InputError(f"{where} is not a result of this version: {error}.") from error
    return settings.parse(Result, vars(found), where)

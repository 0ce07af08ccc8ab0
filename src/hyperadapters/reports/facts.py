"""What a result says of its run: its tasks, and how much of their data it was given."""

from hyperadapters._utils import short_names
from hyperadapters.runs import Result
from hyperadapters.sweeps import KNOWN_AS
from hyperadapters.tasks import share_of


def _task_names(result: Result) -> list[str]:
    """Return the names of a run's tasks: one, or those of its mixture."""
    entries = result.experiment["task"].get("tasks", [{"name": result.task}])
    return [entry.get(KNOWN_AS, entry["name"]) for entry in entries]


def _tasks_by_prefix(result: Result) -> dict[str, str]:
    """Return the names of a mixture's tasks by what its metrics call them."""
    names = [entry["name"] for entry in result.experiment["task"]["tasks"]]
    return dict(zip(short_names(names).values(), _task_names(result), strict=True))


def _validated_tasks(result: Result) -> list[str]:
    """Return the names of a run's tasks whose scores are of the validation split, because they have no test rows."""
    if result.split == "validation":
        return _task_names(result)
    return [_tasks_by_prefix(result)[prefix] for prefix in result.untested]


def _drawn_tasks(result: Result) -> dict[str, int]:
    """Return of a run's tasks whose validation rows are a share of the training rows the seed that drew them."""
    task = result.experiment["task"]
    entries = zip(_task_names(result), task.get("tasks", [task]), strict=True)
    return {name: entry["split_seed"] for name, entry in entries if share_of(str(entry.get("validation", "")))}


def _is_mixture(result: Result) -> bool:
    """Return whether one model was trained on several tasks."""
    return "tasks" in result.experiment["task"]


def _is_warm_started(result: Result) -> bool:
    """Return whether the run went on from a trained adapter."""
    return bool(result.experiment.get("start"))


def _training_rows(result: Result) -> int:
    """Return the number of rows that the run was trained on; of a mixture, that of all tasks together."""
    return result.rows["train"]


def _is_limited(result: Result, *splits: str) -> bool:
    """Return whether the run used fewer rows than there are, in one of these splits or, without any, in any."""
    return any(result.rows[split] < result.rows_available[split] for split in splits or result.rows)

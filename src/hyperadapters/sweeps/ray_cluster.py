"""The jobs of a sweep on a Ray cluster: each run is a task with its share of CPUs and GPUs.

Nodes need not share a disk: a run works in a temporary folder of its node, and its files travel to and from the driver
as bytes. The driver holds the lock of each run under way, so several sweeps may share a folder, local ones too.
"""

import contextlib
import math
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, write_bytes
from hyperadapters.runs import RESULT
from hyperadapters.sweeps.attempts import _attempt, _with_lock
from hyperadapters.sweeps.executors import Executor, _run_on_slots
from hyperadapters.sweeps.jobs import _DiedError, _discard, _Job, _Report
from hyperadapters.sweeps.progress import _Progress

_Files = dict[str, bytes]
"""A job's files by their path in the sweep's folder."""


def ray_executor(*, cpus: float = 1.0, gpus: float | None = None, most: int | None = None) -> Executor:
    """Return an executor that runs jobs as tasks of a Ray cluster.

    The cluster is the one that `RAY_ADDRESS` names, else one on this machine, which is started if none runs. Every node
    needs this package and the tasks' data under the same path. A task that is lost with its node counts as a failed
    attempt and is retried once on another node.

    Args:
        cpus: CPUs of each run, more than 0.
        gpus: GPUs of each run, perhaps a part of one; None: one where the cluster has any.
        most: runs at a time; None: as many as the cluster has room for when the sweep begins.

    Raises:
        InputError: a share is not positive, or Ray is not installed; when the sweep begins: no node has room for a run.
    """
    if cpus <= 0 or (gpus or 0) < 0:
        raise InputError(f"--cpus {cpus:g} --gpus {gpus or 0:g}: a run needs some of a CPU, and 0 or more of a GPU.")
    ray = _imported_ray()

    def carry_out(jobs: Sequence[_Job], progress: _Progress) -> Generator[_Report]:
        with _connected(ray):
            share = _share_of(ray.cluster_resources(), cpus, gpus)
            count = min(_slot_resources(ray.nodes(), share), most or len(jobs), len(jobs))
            task = ray.remote(num_cpus=share["CPU"], num_gpus=share["GPU"], max_retries=0)(_attempt_away)
            yield from _run_on_slots([_RaySlot(ray, task) for _ in range(count)], jobs, progress)

    return carry_out


def _imported_ray() -> Any:
    """Import and return ray.

    Raises:
        InputError: it is not installed.
    """
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"a sweep on a cluster needs the package ray, which is not installed ({error}): "
            "pip install 'hyperadapters[ray]'."
        ) from error
    return ray


@contextlib.contextmanager
def _connected(ray: Any) -> Generator[None]:
    """Connect to the cluster; a connection that was made here is closed again."""
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _share_of(cluster: Mapping[str, float], cpus: float, gpus: float | None) -> dict[str, float]:
    """Return the CPUs and GPUs of one run; without `gpus`, one GPU where the cluster has any."""
    return {"CPU": cpus, "GPU": float(cluster.get("GPU", 0) > 0) if gpus is None else gpus}


def _slot_resources(nodes: Sequence[Mapping[str, Any]], share: Mapping[str, float]) -> int:
    """Return how many runs fit on the living nodes at a time.

    Raises:
        InputError: not even one fits.
    """
    living = [node["Resources"] for node in nodes if node["Alive"]]
    wanted = {kind: amount for kind, amount in share.items() if amount}
    found: int = sum(math.floor(min(node.get(kind, 0) / amount for kind, amount in wanted.items())) for node in living)
    if not found:
        there = "; ".join(", ".join(f"{kind} {node.get(kind, 0):g}" for kind in share) for node in living)
        asked = ", ".join(f"{kind} {amount:g}" for kind, amount in share.items())
        raise InputError(f"no node has room for a run ({asked}); the nodes: {there}. Ask for less: --cpus, --gpus.")
    return found


class _RaySlot:
    """A slot of the cluster: one task at a time."""

    def __init__(self, ray: Any, task: Any) -> None:
        self.ray, self.task = ray, task
        self.reference: Any = None
        self.stopping = False

    def do(self, job: _Job) -> _Report:
        """Attempt a job in a task, which gets the files that there are of it already, and return its report.

        Raises:
            DiedError: the task was lost, with its process or its node.
        """
        return _with_lock(job, self._send)

    def _send(self, job: _Job) -> _Report:
        """Return the task's report, after its files were written to the sweep's folder."""
        self.reference = self.task.remote(asdict(job), _read_files(job))
        try:
            report, found = self.ray.get(self.reference)
        except self.ray.exceptions.RayError as error:
            if self.stopping:
                return _Report(job.key, "stopped")
            reason = str(error).strip().splitlines()[0]
            raise _DiedError(f"its task was lost: {type(error).__name__}: {reason}") from error
        _write_files(job, found)
        return _Report(**report)

    def interrupt(self) -> None:
        """Pass Ctrl-C on: the task answers with its checkpoint."""
        self.stopping = True
        if self.reference is not None:
            self.ray.cancel(self.reference)

    def close(self) -> None:
        """Do nothing: the cluster stays."""


def _attempt_away(values: dict[str, Any], before: _Files) -> tuple[dict[str, Any], _Files]:
    """Attempt a job on this node in a temporary folder; return the report as plain data, and the files."""
    with tempfile.TemporaryDirectory(prefix="hyperadapters-") as folder:
        job = replace(_Job(**values), folder=folder, pack={})  # the node gives back one run's files
        _write_files(job, before)
        report = _attempt(job)
        return asdict(report), _read_files(job)


def _read_files(job: _Job) -> _Files:
    """Return the files of the job's folder and the record of its failures, as far as there are any."""
    paths = [path for path in (job.failure_file, *job.place.rglob("*")) if path.is_file()]
    return {path.relative_to(job.folder).as_posix(): path.read_bytes() for path in paths}


def _write_files(job: _Job, found: _Files) -> None:
    """Replace a job's files by these; the result is written last, since it says that the rest is there."""
    _discard(job.place)
    for name in sorted(found, key=lambda name: name.endswith(f"/{RESULT}")):
        path = Path(job.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, found[name])

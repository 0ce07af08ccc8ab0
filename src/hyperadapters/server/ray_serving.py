"""The server on a Ray cluster: the same routes in front, and replicas that compute behind.

One replica in front has the routes and knows the adapters. It sends a query to a replica behind that holds the adapter
in memory, where one does and is not busier than others (Ray Serve's model multiplexing). Every query carries all that a
replica needs to find the adapter, so replicas come and go. The nodes need this package, the adapters and the backbone
under the same paths, as on a shared disk.
"""

import asyncio
import contextlib
import hashlib
import re
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hyperadapters._utils import InputError, console
from hyperadapters.server.adapter_server import _AdapterServer
from hyperadapters.server.app import _create_app
from hyperadapters.server.batcher import _BusyError
from hyperadapters.server.engine import _LocalEngine
from hyperadapters.server.queries import Gauges, Limits, Query, Reply, _FanQuery
from hyperadapters.server.serving import _log_as_json, open_catalogue
from hyperadapters.serving import ServedTask

_APP = "hyperadapters"
_REPLICAS = "Adapters"
_ATTEMPTS = 4
"""How often a query is sent, where the replica that has it dies."""


@dataclass(frozen=True)
class Replicas:
    """How many replicas compute, and what each has."""

    least: int = 1
    most: int = 1
    cpus: float = 1.0
    gpus: float = 0.0

    @staticmethod
    def parse(text: str, cpus: float, gpus: float) -> "Replicas":
        """Return what the command line says: a number of replicas, or least:most.

        Raises:
            InputError: it is neither of them, or a replica has nothing to compute with.
        """
        found = re.fullmatch(r"(\d+)(?::(\d+))?", text)
        least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= least <= most:
            raise InputError(f"--replicas {text}: write a number, such as 2, or least:most, such as 1:8.")
        if cpus <= 0 and gpus <= 0:
            raise InputError("a replica needs some of a CPU or of a GPU: --cpus, --gpus.")
        return Replicas(least, most, cpus, gpus)


class _RayEngine:
    """Sends queries to the replicas of a cluster, and sends them again where a replica dies.

    An answer depends on nothing but the query, so that sending one twice does no harm.
    """

    def __init__(self) -> None:
        from ray import serve  # noqa: PLC0415 (of an extra)

        self._handle = serve.get_deployment_handle(_REPLICAS, app_name=_APP)

    async def run(self, query: Query) -> Reply:
        reply: Reply = await self._send("run", _model_id(query.task), query)
        return reply

    async def stream(self, query: Query) -> AsyncIterator[str | Reply]:
        """Yield as `_Engine.stream`; where the replica dies before the first piece, another one is asked.

        Raises:
            InputError: the replica refuses.
            _BusyError: all replicas are busy, none is there, or the one that answered has died.
        """
        target = self._handle.options(multiplexed_model_id=_model_id(query.task), stream=True).stream
        for attempt in range(_ATTEMPTS):
            begun = False
            try:
                async for kind, value in target.remote(query):
                    begun = True
                    yield _opened(kind, value)
                return
            except Exception as error:
                _check_sendable(error, begun=begun)
            await _pause(attempt)
        raise _no_replica()

    async def fan(self, query: _FanQuery) -> dict[str, Reply]:
        names = " ".join(map(_model_id, query.tasks))
        replies: dict[str, Reply] = await self._send("fan", hashlib.sha256(names.encode()).hexdigest(), query)
        return replies

    async def prepare(self, tasks: Sequence[ServedTask]) -> None:
        await self._send("prepare", _model_id(tasks[0]), list(tasks))

    async def forget(self, names: Sequence[str]) -> None:
        """Do nothing: a replica gives up what it was not asked for longest."""

    def gauges(self) -> Gauges | None:
        """Return None: each replica has its own."""
        return None

    def close(self) -> None:
        """Do nothing: the replicas are ended by Ray."""

    async def _send(self, method: str, key: str, argument: Any) -> Any:
        """Return what a method of a replica returns.

        Raises:
            InputError: the replica refuses.
            _BusyError: all replicas are busy, or none is there.
        """
        target = getattr(self._handle.options(multiplexed_model_id=key), method)
        for attempt in range(_ATTEMPTS):
            response = target.remote(argument)
            try:
                kind, value = await response
                return _opened(kind, value)
            except asyncio.CancelledError:
                response.cancel()
                raise
            except Exception as error:
                _check_sendable(error)
            await _pause(attempt)
        raise _no_replica()


def _check_sendable(error: Exception, *, begun: bool = False) -> None:
    """Raise what a client is told of an error, unless the query may be sent to another replica.

    Args:
        error: of a query that was sent.
        begun: whether a part of its answer was given out.

    Raises:
        _BusyError: all replicas are busy, or the one that had begun to answer has died.
        Exception: the error itself, where no replica has died or was missing.
    """
    from ray import exceptions, serve  # noqa: PLC0415 (of an extra)

    if isinstance(error, serve.exceptions.BackPressureError):
        raise _BusyError("all replicas are busy: try again in 1 s.", 1) from error
    if not isinstance(error, exceptions.RayActorError | serve.exceptions.DeploymentUnavailableError):
        raise error
    if begun:
        raise _BusyError("the replica that answered has died: ask again.", 1) from error


def _no_replica() -> _BusyError:
    return _BusyError("no replica answers at the moment: try again in 2 s.", 2)


async def _pause(attempt: int) -> None:
    """Wait until another replica may be there, longer at each attempt."""
    await asyncio.sleep(0.2 * 2**attempt)


def _model_id(task: ServedTask) -> str:
    """Return what Ray calls an adapter; another version of it is another one."""
    return f"{task.name}@{task.version[:12]}"


def _opened(kind: str, value: Any) -> Any:
    """Return what a replica sent.

    Raises:
        InputError: it refuses.
        _BusyError: it is busy.
    """
    if kind == "busy":
        raise _BusyError(*value)
    if kind == "wrong":
        raise InputError(value)
    return value


def _sealed(error: InputError) -> tuple[str, Any]:
    """Return an error as it is sent: exceptions of one process are others in the next."""
    return ("busy", (str(error), error.seconds)) if isinstance(error, _BusyError) else ("wrong", str(error))


def _replica_class(resident: int) -> type:
    """Return the class of a replica, which holds so many adapters of a method in memory."""
    from ray import serve  # noqa: PLC0415

    class Adapters:
        """A backbone with the adapters that it was asked for."""

        def __init__(self, backbone: str, limits: Limits) -> None:
            self._engine = _LocalEngine(backbone, limits)
            self._name = serve.get_replica_context().replica_id.unique_id

        @serve.multiplexed(max_num_models_per_replica=resident)  # type: ignore[untyped-decorator]
        async def held(self, key: str) -> str:
            """Note that the adapter is in memory here, so that its next queries are sent here."""
            return key

        async def run(self, query: Query) -> tuple[str, Any]:
            await self.held(serve.get_multiplexed_model_id())
            try:
                return ("reply", self._signed(await self._engine.run(query)))
            except InputError as error:
                return _sealed(error)

        async def fan(self, query: _FanQuery) -> tuple[str, Any]:
            await self.held(serve.get_multiplexed_model_id())
            try:
                replies = await self._engine.fan(query)
            except InputError as error:
                return _sealed(error)
            return ("reply", {name: self._signed(reply) for name, reply in replies.items()})

        async def stream(self, query: Query) -> AsyncIterator[tuple[str, Any]]:
            await self.held(serve.get_multiplexed_model_id())
            try:
                async for piece in self._engine.stream(query):
                    yield ("piece", self._signed(piece) if isinstance(piece, Reply) else piece)
            except InputError as error:
                yield _sealed(error)

        def _signed(self, reply: Reply) -> Reply:
            return replace(reply, replica=self._name)

        async def prepare(self, tasks: list[ServedTask]) -> tuple[str, Any]:
            try:
                await self._engine.prepare(tasks)
            except InputError as error:
                return _sealed(error)
            return ("reply", None)

        def __del__(self) -> None:
            with contextlib.suppress(Exception):
                self._engine.close()

    return Adapters


def _deploy(
    adapters: str,
    backbone: str = "",
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    replicas: Replicas = Replicas(),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    watch: float = 0.0,
    from_hub: bool = False,
    **guard: Any,
) -> None:
    """Deploy the server on the Ray cluster that this process is connected to, and return when it answers.

    Args:
        adapters: their folder, under the same path on all nodes, or their repository on the Hub.
        backbone: another place to load the backbone from than the one that the adapters name.
        limits: of each replica.
        replicas: how many.
        host: the address to listen on, on every node.
        port: likewise.
        watch: seconds between looks for new, changed and removed adapters; 0: none.
        from_hub: whether clients may add adapters from the Hub.
        guard: `api_key` and `largest_body` of `_create_app`.

    Raises:
        InputError: the adapters cannot be read.
    """
    from ray import serve  # noqa: PLC0415

    open_catalogue(adapters)  # an error here is the user's to read
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    scaled: dict[str, Any] = {"num_replicas": replicas.least}
    if replicas.most > replicas.least:
        limit = {"min_replicas": replicas.least, "max_replicas": replicas.most}
        scaled = {"autoscaling_config": {**limit, "target_ongoing_requests": limits.rows}}
    behind = serve.deployment(
        _replica_class(limits.resident),
        name=_REPLICAS,
        max_ongoing_requests=limits.waiting,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        **scaled,
    ).bind(backbone, limits)

    def build_front() -> Any:
        """Return the application in front; is called where it runs."""
        _log_as_json()
        server = _AdapterServer(open_catalogue(adapters), _RayEngine(), watch=watch, from_hub=from_hub)
        return _create_app(server, **guard)

    front = serve.deployment(
        serve.ingress(build_front)(), name="Front", max_ongoing_requests=10_000, ray_actor_options={"num_cpus": 0}
    ).bind(behind)
    serve.run(front, name=_APP, route_prefix="/")


def serve_on_ray(adapters: str, backbone: str, limits: Limits, replicas: Replicas, **options: Any) -> None:
    """Serve on the cluster that `RAY_ADDRESS` names, or else one on this machine, until this process is told to end.

    Args:
        adapters: as for `deploy`, like the others.
        backbone: likewise.
        limits: likewise.
        replicas: likewise.
        options: likewise.

    Raises:
        InputError: Ray is not installed, or as for `deploy`.
    """
    try:
        import ray  # noqa: PLC0415
        from ray import serve  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"--engine ray needs Ray Serve, which is not installed ({error}): pip install 'hyperadapters[ray,serve]'."
        ) from error
    ended = threading.Event()
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False)
    for number in (signal.SIGTERM, signal.SIGINT):  # Ray has set its own
        signal.signal(number, lambda *_: ended.set())
    try:
        _deploy(adapters, backbone, limits, replicas, **options)
        console.print(f"serving at http://{options['host']}:{options['port']} of every node; Ctrl-C or SIGTERM ends")
        ended.wait()
    finally:
        serve.shutdown()
        if ours:
            ray.shutdown()

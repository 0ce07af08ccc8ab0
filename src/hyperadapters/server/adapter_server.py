"""What the routes share: which adapters there are, what answers, who waits, and what is counted."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from hyperadapters._utils import InputError, UnavailableError
from hyperadapters.server.batcher import _BusyError
from hyperadapters.server.log_lines import LOG
from hyperadapters.server.metrics import _ServerMetrics
from hyperadapters.server.queries import Query, Reply, _Engine, _FanQuery
from hyperadapters.server.requests import AdapterRequest
from hyperadapters.serving import Catalogue, ServedTask

_T = TypeVar("_T")

_SECONDS_OF_HUB = 60.0
"""Least seconds between two questions to the Hub."""

_SECONDS_OF_DROP = 60.0
"""How long a dropped adapter's accepted requests may take."""


class _RefusedError(Exception):
    """A request cannot be answered; says the status, and what to tell."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _LeftError(Exception):
    """The client has left."""


class _AdapterServer:
    """What the routes share: which adapters there are, what answers, and what is counted."""

    def __init__(self, catalogue: Catalogue, engine: _Engine, *, watch: float = 0.0, from_hub: bool = False) -> None:
        """Answer nothing yet.

        Args:
            catalogue: of the adapters.
            engine: computes answers.
            watch: seconds between looks for new, changed and removed adapters, in a repository at least a minute; 0:
                none.
            from_hub: whether clients may add adapters from the Hub.
        """
        self.catalogue, self.engine, self.from_hub = catalogue, engine, from_hub
        self.watch = watch if isinstance(catalogue.source, Path) or not watch else max(watch, _SECONDS_OF_HUB)
        self.metrics = _ServerMetrics(lambda: len(catalogue), engine.gauges)
        self.ready = False
        self.started = int(time.time())
        self._active: Counter[str] = Counter()
        """Requests that are being answered, by task."""
        self._fewer = asyncio.Condition()
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")
        """Reads what adapters say: several threads of Python would only take turns at it."""

    @asynccontextmanager
    async def running(self, _: Any) -> AsyncIterator[None]:
        """Be ready inside this context; at its end all that was accepted is answered."""
        watching = asyncio.create_task(self._watch()) if self.watch else None
        self.ready = True
        try:
            yield
        finally:
            self.ready = False
            if watching:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            await asyncio.to_thread(self.engine.close)
            self._files.shutdown(cancel_futures=True)

    async def _watch(self) -> None:
        """Look for adapters again and again."""
        while True:
            await asyncio.sleep(self.watch)
            before, start = {*self.catalogue}, time.monotonic()
            try:
                await asyncio.to_thread(self.catalogue.find)
            except Exception as error:  # of a disk that is away for a moment, say
                LOG.warning("the adapters could not be looked for", extra={"fields": {"why": str(error)}})
                continue
            after = {*self.catalogue}
            if gone := before - after:
                with suppress(InputError):  # the server is stopping
                    await self.engine.forget([*gone])
            for name in gone:
                self.metrics.forget(name)
            if before != after:
                changed = {"added": sorted(after - before), "removed": sorted(gone)}
                LOG.info("adapters changed", extra={"fields": changed})
            await asyncio.sleep(10 * (time.monotonic() - start))  # ten thousand folders take a while to look at

    async def task(self, name: str) -> ServedTask:
        """Return the task of a name.

        Raises:
            _RefusedError: there is none, or its adapter is damaged.
        """
        if known := self.catalogue.described(name):
            return known
        try:
            from_disk = isinstance(self.catalogue.source, Path)  # the Hub may take seconds
            executor = self._files if from_disk else None
            return await asyncio.get_running_loop().run_in_executor(executor, self.catalogue.task, name)
        except UnavailableError as error:
            raise _RefusedError(503, str(error), "hub_unavailable") from error
        except InputError as error:
            if await self._is_unknown(name):
                raise _RefusedError(404, str(error), "model_not_found") from error
            raise _RefusedError(422, str(error), "adapter_damaged") from error

    def in_words(self, error: Exception) -> str:
        """Return what a client is told of an error: nothing of where the adapters lie on this machine."""
        place = self.catalogue.source if isinstance(self.catalogue.source, Path) else self.catalogue.source.folder
        return str(error).replace(f"{place}/", "").replace(str(place), "the adapters")

    async def _is_unknown(self, name: str) -> bool:
        if name in self.catalogue.damaged:
            return False
        with suppress(InputError):
            self.catalogue.resolve(name)
            return False
        return True

    async def answer(self, request: Request, query: Query) -> Reply:
        """Return the reply to a query; where the client leaves before, its rows leave the queue.

        Raises:
            _LeftError: the client has left.
            _BusyError: the queue is full.
            InputError: the adapter cannot be read, or the query is none for its task.
        """
        self.note(request, adapter=query.task.name, rows=len(query.rows))
        async with self._counted(query.task.name):
            start = time.monotonic()
            found = await _while_connected(request, self.engine.run(query))
            self._answered(request, query.task.name, found, time.monotonic() - start)
            return found

    async def fan(self, request: Request, query: _FanQuery) -> dict[str, Reply]:
        """Return the replies of several tasks to the same rows, by the task's name.

        Raises:
            _LeftError: the client has left.
            _BusyError: the queue is full.
            InputError: an adapter cannot be read, or a row is none of a task.
        """
        self.note(request, adapters=len(query.tasks), rows=len(query.rows[query.tasks[0].name]))
        async with AsyncExitStack() as counted:
            for task in query.tasks:
                await counted.enter_async_context(self._counted(task.name))
            start = time.monotonic()
            found = await _while_connected(request, self.engine.fan(query))
            for name, reply in found.items():
                self._answered(request, name, reply, time.monotonic() - start)
            return found

    async def stream(self, request: Request, query: Query) -> AsyncIterator[str | Reply]:
        """Yield the answer to a query of one row in pieces, and at last the reply."""
        self.note(request, adapter=query.task.name, rows=1)
        async with self._counted(query.task.name):
            start = time.monotonic()
            async for piece in self.engine.stream(query):
                if isinstance(piece, Reply):
                    self._answered(request, query.task.name, piece, time.monotonic() - start)
                yield piece

    @asynccontextmanager
    async def _counted(self, name: str) -> AsyncIterator[None]:
        """Count a request of a task as being answered."""
        self._active[name] += 1
        try:
            yield
        finally:
            self._active[name] -= 1
            if not self._active[name]:
                del self._active[name]
            async with self._fewer:
                self._fewer.notify_all()

    def _answered(self, request: Request, name: str, reply: Reply, seconds: float) -> None:
        self.metrics.answered(name, reply, seconds)
        self.note(
            request,
            queued=round(reply.queued, 4),
            batch=round(reply.batch, 1),
            tokens=reply.source_tokens,
            answer_tokens=reply.answer_tokens,
            **({"truncated": reply.truncated} if reply.truncated else {}),
            **({"replica": reply.replica} if reply.replica else {}),
        )

    @staticmethod
    def note(request: Request, **fields: Any) -> None:
        """Add fields to the request's line of log."""
        request.state.log.update(fields)

    async def add(self, asked: AdapterRequest) -> list[ServedTask]:
        """Take or take again an adapter, after reading all of it.

        Raises:
            _RefusedError: there is none, it is damaged, or of another backbone. It is not known then.
        """
        if asked.repository and not self.from_hub:
            raise _RefusedError(403, "this server takes no adapters from the Hub: start it with --hub.", "no_hub")
        try:
            found = await asyncio.to_thread(self.catalogue.read, asked.name, asked.repository)
            await self.engine.prepare(found.tasks)
        except UnavailableError as error:
            raise _RefusedError(503, str(error), "hub_unavailable") from error
        except _BusyError:
            raise
        except InputError as error:
            raise _RefusedError(422, str(error), "adapter_damaged") from error
        self.catalogue.take(found)
        return found.tasks

    async def drop(self, name: str) -> list[str]:
        """Forget an adapter: new requests are refused, those that were accepted are answered first.

        Raises:
            _RefusedError: there is none of this name.
        """
        try:
            gone = self.catalogue.drop(name)
        except InputError as error:
            raise _RefusedError(404, str(error), "model_not_found") from error
        async with self._fewer:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_OF_DROP):
                    await self._fewer.wait_for(lambda: not any(self._active[task] for task in gone))
        await self.engine.forget(gone)
        for task in gone:
            self.metrics.forget(task)
        return gone


async def _while_connected(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Return what some work gives; it is cancelled where the client leaves.

    Raises:
        _LeftError: the client has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise _LeftError
    finally:
        for each in (task, gone):
            each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _departure(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""The routes of the server."""

import asyncio
import base64
import json
import struct
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from hyperadapters._utils import InputError, UnavailableError, library_versions
from hyperadapters.server.batcher import _BusyError
from hyperadapters.server.engine import Query, Reply, Want, _Engine
from hyperadapters.server.guard import LOG, _error_body, _Guard
from hyperadapters.server.metrics import _ServerMetrics
from hyperadapters.server.requests import (
    AdapterRequest,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbedRequest,
    InputRequest,
    PredictRequest,
)
from hyperadapters.server.rows import _row_of, _row_of_messages
from hyperadapters.server.text_stream import _as_text
from hyperadapters.serving import Catalogue, ServedTask, check_scored
from hyperadapters.tasks import Numeric

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
            return await asyncio.to_thread(self.catalogue.task, name)
        except UnavailableError as error:
            raise _RefusedError(503, str(error), "hub_unavailable") from error
        except InputError as error:
            if await self._is_unknown(name):
                raise _RefusedError(404, str(error), "model_not_found") from error
            raise _RefusedError(422, str(error), "adapter_damaged") from error

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
            self._answered(request, query, found, time.monotonic() - start)
            return found

    async def stream(self, request: Request, query: Query) -> AsyncIterator[str | Reply]:
        """Yield the answer to a query of one row in pieces, and at last the reply."""
        self.note(request, adapter=query.task.name, rows=1)
        async with self._counted(query.task.name):
            start = time.monotonic()
            async for piece in self.engine.stream(query):
                if isinstance(piece, Reply):
                    self._answered(request, query, piece, time.monotonic() - start)
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

    def _answered(self, request: Request, query: Query, reply: Reply, seconds: float) -> None:
        self.metrics.answered(query.task.name, reply, seconds)
        self.note(
            request,
            queued=round(reply.queued, 4),
            batch=round(reply.batch, 1),
            tokens=reply.source_tokens,
            answer_tokens=reply.answer_tokens,
            **({"truncated": reply.truncated} if reply.truncated else {}),
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


def _create_app(
    server: _AdapterServer, *, api_key: str = "", largest_body: int = 2**20
) -> Callable[[Any, Any, Any], Coroutine[Any, Any, None]]:
    """Return the ASGI application of a server.

    Args:
        server: answers.
        api_key: without which a request is refused; empty: none is asked for.
        largest_body: of a request, in bytes.
    """
    app = FastAPI(
        title="hyperadapters",
        version=library_versions()["hyperadapters"],
        description="Thousands of adapters on one backbone. The adapter is the `model` of a request.",
        lifespan=server.running,
    )
    _add_errors(app)
    _add_text_routes(app, server)
    _add_label_routes(app, server)
    _add_vector_routes(app, server)
    _add_adapter_routes(app, server)
    _add_state_routes(app, server)
    return _Guard(app, server.metrics, api_key=api_key, largest_body=largest_body)


def _add_errors(app: FastAPI) -> None:
    """Let every error be JSON as OpenAI's API writes it."""

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, _RefusedError)
        return JSONResponse(_error_body(str(error), error.code), error.status)

    def busy(_: Request, error: Exception) -> Response:
        assert isinstance(error, _BusyError)
        body = _error_body(str(error), "queue_full", "rate_limit_error")
        return JSONResponse(body, 429, {"retry-after": str(int(error.seconds))})

    def wrong(_: Request, error: Exception) -> Response:
        return JSONResponse(_error_body(str(error), "invalid_value"), 422)

    def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return JSONResponse(_error_body("; ".join(map(_in_words, error.errors()[:5])), "invalid_value"), 422)

    def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse(_error_body(str(error.detail), "http"), error.status_code, error.headers)

    def left(_: Request, error: Exception) -> Response:
        return Response(status_code=499)

    def fault(_: Request, error: Exception) -> Response:
        return JSONResponse(_error_body("a fault of ours; the server's log has it", "fault", "server_error"), 500)

    handlers: dict[type[Exception], Callable[[Request, Exception], Response]] = {
        _RefusedError: refused,
        _BusyError: busy,
        InputError: wrong,
        RequestValidationError: invalid,
        HTTPException: http,
        _LeftError: left,
        Exception: fault,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _in_words(problem: Any) -> str:
    """Return what is wrong with a field of a body."""
    place = ".".join(str(part) for part in problem["loc"] if part != "body")
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


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


def _rows(given: Any) -> list[Any]:
    """Return the texts or rows of a request, which may be one alone."""
    return given if isinstance(given, list) else [given]


def _query(task: ServedTask, given: Any, want: Want = "answers", **others: Any) -> Query:
    """Return a query of the texts or rows that a client sent.

    Raises:
        InputError: there is none, or one is none of the task.
    """
    rows = _rows(given)
    if not rows:
        raise InputError("there is no text to answer.")
    if task.embeds and want != "embeddings":
        raise _RefusedError(422, f"{task.name} has no task: ask /embed for vectors.", "wrong_route")
    return Query(task, tuple(_row_of(task.form, row) for row in rows), want, **others)


def _usage(reply: Reply) -> dict[str, int]:
    source, answer = reply.source_tokens, reply.answer_tokens
    return {"prompt_tokens": source, "completion_tokens": answer, "total_tokens": source + answer}


def _add_text_routes(app: FastAPI, server: _AdapterServer) -> None:
    """Add the routes of OpenAI's API that answer with text."""

    @app.post("/v1/completions", tags=["text"])
    async def completions(request: Request, body: CompletionRequest) -> Any:
        """Answer texts, as OpenAI's API does; labels and numbers are written as text."""
        task = await server.task(body.model)
        query = _query(task, body.prompt, generation=body.generation())
        return await _answer_texts(server, request, body, query, _Completion())

    @app.post("/v1/chat/completions", tags=["text"])
    async def chat(request: Request, body: ChatRequest) -> Any:
        """Answer a conversation, as OpenAI's API does."""
        task = await server.task(body.model)
        if task.embeds:
            raise _RefusedError(422, f"{task.name} has no task: ask /embed for vectors.", "wrong_route")
        query = Query(task, (_row_of_messages(task.form, body.messages),), generation=body.generation())
        return await _answer_texts(server, request, body, query, _Chat())


class _Completion:
    """How `/v1/completions` writes answers."""

    prefix, kind, piece_kind = "cmpl-", "text_completion", "text_completion"

    def choice(self, index: int, text: str, finished: str) -> dict[str, Any]:
        return {"index": index, "text": text, "finish_reason": finished, "logprobs": None}

    def piece(self, text: str, finished: str | None, *, first: bool) -> dict[str, Any]:
        return {"index": 0, "text": text, "finish_reason": finished, "logprobs": None}


class _Chat:
    """How `/v1/chat/completions` writes answers."""

    prefix, kind, piece_kind = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def choice(self, index: int, text: str, finished: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "finish_reason": finished, "logprobs": None}

    def piece(self, text: str, finished: str | None, *, first: bool) -> dict[str, Any]:
        delta = {**({"role": "assistant"} if first else {}), **({"content": text} if text or first else {})}
        return {"index": 0, "delta": delta, "finish_reason": finished, "logprobs": None}


async def _answer_texts(
    server: _AdapterServer,
    request: Request,
    body: CompletionRequest | ChatRequest,
    query: Query,
    style: _Completion | _Chat,
) -> Any:
    """Return the answer to a query as a route of OpenAI's API writes it, or a stream of it."""
    number = body.n or 1
    head = {"id": f"{style.prefix}{uuid.uuid4().hex}", "created": int(time.time()), "model": query.task.name}
    if body.stream:
        if number * len(query.rows) > 1:
            raise InputError("a stream is of one answer to one text: send each by itself.")
        pieces = server.stream(request, query)
        first: str | Reply = await _while_connected(request, anext(pieces))  # type: ignore[arg-type]
        usage = bool(body.stream_options and body.stream_options.include_usage)
        events = _events(style, {**head, "object": style.piece_kind}, first, pieces, usage)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
    queries = [replace(query, generation=body.generation(i)) for i in range(number)]
    replies = await asyncio.gather(*(server.answer(request, each) for each in queries))
    answers = [answer for found in zip(*(reply.answers for reply in replies), strict=True) for answer in found]
    choices = [style.choice(i, _as_text(each.value), each.finished) for i, each in enumerate(answers)]
    total = Reply(answers)
    return {**head, "object": style.kind, "choices": choices, "usage": _usage(total)}


async def _events(
    style: _Completion | _Chat,
    head: dict[str, Any],
    first: str | Reply,
    pieces: AsyncIterator[str | Reply],
    with_usage: bool,
) -> AsyncIterator[str]:
    """Yield the events of a stream."""

    def event(choices: list[Any], **others: Any) -> str:
        return f"data: {json.dumps({**head, 'choices': choices, **others}, ensure_ascii=False)}\n\n"

    is_first = True
    found: str | Reply = first
    try:
        while isinstance(found, str):
            yield event([style.piece(found, None, first=is_first)])
            is_first = False
            found = await anext(pieces)
    except Exception as error:  # the status has been sent: what is wrong is an event
        said = str(error) if isinstance(error, InputError) else "a fault of ours; the log of the server has it"
        if not isinstance(error, InputError):
            LOG.exception("a fault of ours")
        yield f"data: {json.dumps(_error_body(said, 'broken_off'))}\n\n"
        return
    yield event([style.piece("", found.answers[0].finished, first=is_first)])
    if with_usage:
        yield event([], usage=_usage(found))
    yield "data: [DONE]\n\n"
    await pieces.aclose()  # type: ignore[attr-defined]


def _add_label_routes(app: FastAPI, server: _AdapterServer) -> None:
    """Add the routes that answer with labels, numbers, or what the task has."""

    @app.post("/classify", tags=["labels and numbers"])
    async def classify(request: Request, body: ClassifyRequest) -> Any:
        """Return the likeliest label of each text, and the probabilities of all."""
        task = await server.task(body.model)
        query = _query(task, body.input, "probabilities", top=body.top)
        check_scored(task.form)
        reply = await server.answer(request, query)
        data = [
            {"index": i, "label": next(iter(answer.value)), "probabilities": answer.value}
            for i, answer in enumerate(reply.answers)
        ]
        return {"object": "list", "model": task.name, "data": data, "usage": _usage(reply)}

    @app.post("/score", tags=["labels and numbers"])
    async def score(request: Request, body: InputRequest) -> Any:
        """Return the number that answers each text."""
        task = await server.task(body.model)
        query = _query(task, body.input)
        if not isinstance(task.form.target, Numeric):
            expected = task.form.target.expected()
            raise _RefusedError(422, f"the answers of {task.name} are {expected}, not numbers.", "wrong_route")
        reply = await server.answer(request, query)
        data = [{"index": i, "score": answer.value} for i, answer in enumerate(reply.answers)]
        return {"object": "list", "model": task.name, "data": data, "usage": _usage(reply)}

    @app.post("/predict", tags=["labels and numbers"])
    async def predict(request: Request, body: PredictRequest) -> Any:
        """Answer rows of columns as `hyperadapters predict` does, whatever the task's answers are."""
        task = await server.task(body.model)
        if task.embeds:
            raise _RefusedError(422, f"{task.name} has no task: ask /embed for vectors.", "wrong_route")
        if scored := body.top != 0:
            check_scored(task.form)
        rows = tuple(_row_of(task.form, row, others=True) for row in body.rows)
        reply = await server.answer(request, Query(task, rows, "probabilities" if scored else "answers", body.top))
        values = [answer.value for answer in reply.answers]
        data = [{"prediction": next(iter(v)), "scores": v} if scored else {"prediction": v} for v in values]
        return {"model": task.name, "predictions": data, "truncated": reply.truncated, "usage": _usage(reply)}


def _add_vector_routes(app: FastAPI, server: _AdapterServer) -> None:
    """Add the routes that answer with vectors."""

    @app.post("/embed", tags=["vectors"])
    @app.post("/v1/embeddings", tags=["vectors"])
    async def embed(request: Request, body: EmbedRequest) -> Any:
        """Return the vector of each text: the mean of its tokens' last states, of length 1."""
        task = await server.task(body.model)
        if not task.embeds:
            raise _RefusedError(422, f"{task.name} answers a task: it has no vectors.", "wrong_route")
        query = _query(task, body.input, "embeddings")
        reply = await server.answer(request, query)
        write = _as_base64 if body.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": i, "embedding": write(answer.value)}
            for i, answer in enumerate(reply.answers)
        ]
        usage = {"prompt_tokens": reply.source_tokens, "total_tokens": reply.source_tokens}
        return {"object": "list", "model": task.name, "data": data, "usage": usage}


def _as_base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _add_adapter_routes(app: FastAPI, server: _AdapterServer) -> None:
    """Add the routes that list, take and drop adapters."""

    def listed(names: Iterable[str]) -> list[dict[str, Any]]:
        return [{"id": n, "object": "model", "created": server.started, "owned_by": "hyperadapters"} for n in names]

    @app.get("/v1/models", tags=["adapters"])
    async def models() -> Any:
        """List the adapters, as OpenAI's API does."""
        return {"object": "list", "data": listed(server.catalogue)}

    @app.get("/v1/models/{name:path}", tags=["adapters"])
    async def model(name: str) -> Any:
        """Say what an adapter answers, and out of which columns."""
        return _described(listed, await server.task(name))

    @app.post("/adapters", tags=["adapters"])
    async def add(body: AdapterRequest) -> Any:
        """Take an adapter from its sub-folder, or take it again where its files have changed."""
        found = await server.add(body)
        LOG.info("adapter added", extra={"fields": {"adapter": body.name, "version": found[0].version[:12]}})
        return {"object": "list", "data": [_described(listed, task) for task in found]}

    @app.delete("/adapters/{name:path}", tags=["adapters"])
    async def drop(name: str) -> Any:
        """Forget an adapter; the requests that were accepted are answered, and its files stay."""
        gone = await server.drop(name)
        LOG.info("adapter dropped", extra={"fields": {"adapter": name}})
        return {"dropped": gone}


def _described(listed: Callable[[Iterable[str]], list[dict[str, Any]]], task: ServedTask) -> dict[str, Any]:
    """Return what a client needs to know of a task."""
    (found,) = listed([task.name])
    answers = "embeddings" if task.embeds else task.form.answers
    return {**found, "version": task.version[:12], "answers": answers, "task": task.form.to_json()}


def _add_state_routes(app: FastAPI, server: _AdapterServer) -> None:
    """Add the routes that a load balancer and Prometheus ask."""

    @app.get("/health", tags=["state"])
    async def health() -> Any:
        """Say that the process lives."""
        return {"status": "ok"}

    @app.get("/ready", tags=["state"])
    async def ready() -> Any:
        """Say whether requests are taken."""
        return JSONResponse({"ready": server.ready}, 200 if server.ready else 503)

    @app.get("/metrics", tags=["state"])
    async def metrics() -> Any:
        """Return counts as Prometheus reads them."""
        text, kind = await asyncio.to_thread(partial(server.metrics.text))
        return Response(text, media_type=kind)

"""The routes of the server."""

import asyncio
import base64
import json
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from hyperadapters._utils import InputError, library_versions
from hyperadapters.server.adapter_server import _AdapterServer, _LeftError, _RefusedError, _while_connected
from hyperadapters.server.batcher import _BusyError
from hyperadapters.server.guard import _error_body, _Guard
from hyperadapters.server.log_lines import LOG
from hyperadapters.server.queries import Query, Reply, Want, _FanQuery
from hyperadapters.server.requests import (
    AdapterRequest,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbedRequest,
    FanRequest,
    InputRequest,
    PredictRequest,
)
from hyperadapters.server.rows import _row_of, _row_of_messages
from hyperadapters.server.text_stream import _as_text
from hyperadapters.serving import ServedTask, check_fans, why_unscored
from hyperadapters.tasks import Numeric

_T = TypeVar("_T")


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
    _add_errors(app, server)
    _add_text_routes(app, server)
    _add_label_routes(app, server)
    _add_fan_route(app, server)
    _add_vector_routes(app, server)
    _add_adapter_routes(app, server)
    _add_state_routes(app, server)
    return _Guard(app, server.metrics, api_key=api_key, largest_body=largest_body)


def _add_errors(app: FastAPI, server: _AdapterServer) -> None:
    """Let every error be JSON as OpenAI's API writes it."""

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, _RefusedError)
        return JSONResponse(_error_body(server.in_words(error), error.code), error.status)

    def busy(_: Request, error: Exception) -> Response:
        assert isinstance(error, _BusyError)
        body = _error_body(str(error), "queue_full", "rate_limit_error")
        return JSONResponse(body, 429, {"retry-after": str(int(error.seconds))})

    def wrong(_: Request, error: Exception) -> Response:
        return JSONResponse(_error_body(server.in_words(error), "invalid_value"), 422)

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
    said = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {said}" if place else said


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


def _counts(reply: Reply) -> dict[str, Any]:
    """Return the tokens of a reply and, where texts were longer than in training and cut, how many."""
    return {"usage": _usage(reply), **({"truncated": reply.truncated} if reply.truncated else {})}


def _add_text_routes(app: FastAPI, server: _AdapterServer) -> None:
    """Add the routes of OpenAI's API that answer with text."""

    @app.post("/v1/completions", tags=["text"])
    async def completions(request: Request, body: CompletionRequest) -> Any:
        """Answer texts, as OpenAI's API does; labels and numbers are written as text."""
        task = await server.task(body.model)
        query = _query(task, body.prompt, generation=body.generation(), number=body.n or 1)
        return await _answer_texts(server, request, body, query, _Completion())

    @app.post("/v1/chat/completions", tags=["text"])
    async def chat(request: Request, body: ChatRequest) -> Any:
        """Answer a conversation, as OpenAI's API does."""
        task = await server.task(body.model)
        if task.embeds:
            raise _RefusedError(422, f"{task.name} has no task: ask /embed for vectors.", "wrong_route")
        row = _row_of_messages(task.form, body.messages)
        query = Query(task, (row,), generation=body.generation(), number=body.n or 1)
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
    head = {"id": f"{style.prefix}{uuid.uuid4().hex}", "created": int(time.time()), "model": query.task.name}
    if body.stream:
        if query.number * len(query.rows) > 1:
            raise InputError("a stream is of one answer to one text: send each by itself.")
        pieces = server.stream(request, query)
        first: str | Reply = await _while_connected(request, anext(pieces))  # type: ignore[arg-type]
        usage = bool(body.stream_options and body.stream_options.include_usage)
        events = _events(style, {**head, "object": style.piece_kind}, first, pieces, usage)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
    reply = await server.answer(request, query)
    choices = [style.choice(i, _as_text(each.value), each.finished) for i, each in enumerate(reply.answers)]
    return {**head, "object": style.kind, "choices": choices, **_counts(reply)}


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
        """Return each text's likeliest label, or those of 1/2 or more where it has several, and the probabilities."""
        task = await server.task(body.model)
        query = _query(task, body.input, "probabilities", top=body.top)
        _check_labels(task)
        reply = await server.answer(request, query)
        data = [
            {"index": i, "label": answer.value.prediction, "probabilities": answer.value.scores}
            for i, answer in enumerate(reply.answers)
        ]
        return {"object": "list", "model": task.name, "data": data, **_counts(reply)}

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
        return {"object": "list", "model": task.name, "data": data, **_counts(reply)}

    @app.post("/predict", tags=["labels and numbers"])
    async def predict(request: Request, body: PredictRequest) -> Any:
        """Answer rows of columns as `hyperadapters predict` does, whatever the task's answers are."""
        task = await server.task(body.model)
        if task.embeds:
            raise _RefusedError(422, f"{task.name} has no task: ask /embed for vectors.", "wrong_route")
        if scored := body.top != 0:
            _check_labels(task)
        rows = tuple(_row_of(task.form, row, others=True) for row in body.rows)
        reply = await server.answer(request, Query(task, rows, "probabilities" if scored else "answers", body.top))
        values = [answer.value for answer in reply.answers]
        data = [v._asdict() if scored else {"prediction": v} for v in values]
        return {"model": task.name, "predictions": data, "truncated": reply.truncated, "usage": _usage(reply)}


def _add_fan_route(app: FastAPI, server: _AdapterServer) -> None:
    """Add the route on which several adapters answer the same texts."""

    @app.post("/fan", tags=["labels and numbers"])
    async def fan(request: Request, body: FanRequest) -> Any:
        """Let several adapters, or all, answer each text: with one pass of the backbone where they stand beside it."""
        names = list(server.catalogue) if body.models is None else body.models
        tasks = {task.name: task for task in [await server.task(name) for name in names]}
        if not tasks:
            raise InputError("there is no adapter to answer.")
        given = _rows(body.input)
        if not given:
            raise InputError("there is no text to answer.")
        check_fans(list(tasks.values()))
        rows = {name: _rows_of_task(task, given) for name, task in tasks.items()}
        found = await server.fan(request, _FanQuery(rows, tuple(tasks.values())))
        data = [
            {"index": i, "predictions": {name: reply.answers[i].value for name, reply in found.items()}}
            for i in range(len(given))
        ]
        cut = {name: reply.truncated for name, reply in found.items() if reply.truncated}
        return {"object": "list", "models": list(tasks), "data": data, **({"truncated": cut} if cut else {})}


def _rows_of_task(task: ServedTask, given: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Return rows as one of several tasks reads them.

    Raises:
        InputError: one is none of the task.
    """
    try:
        return tuple(_row_of(task.form, row, others=True) for row in given)
    except InputError as error:
        raise InputError(f"{task.name}: {error}") from error


def _check_labels(task: ServedTask) -> None:
    """Refuse to give the probabilities of a task whose answers are no labels."""
    if why := why_unscored(replace(task.form, name=task.name), encoder=task.encoder):
        raise _RefusedError(422, f"{why}.", "wrong_route")


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

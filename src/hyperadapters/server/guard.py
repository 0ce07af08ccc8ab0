"""What stands before every route: request ids, the API key, the size of bodies, and a line of log for each request."""

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from hyperadapters.server.log_lines import LOG
from hyperadapters.server.metrics import _ServerMetrics

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_OPEN = ("/health", "/ready", "/docs", "/openapi.json")
"""Routes that need no key: they tell nothing of the adapters."""


_SECONDS_OF_BODY = 60
"""How long a client may take for a part of a body."""


class _Guard:
    """An ASGI application around another."""

    def __init__(self, app: _App, metrics: _ServerMetrics, *, api_key: str = "", largest_body: int = 2**20) -> None:
        """Stand before an application.

        Args:
            app: the application.
            metrics: counts requests.
            api_key: without which a request is refused; empty: none is asked for.
            largest_body: of a request, in bytes.
        """
        self._app, self._metrics = app, metrics
        self._key, self._largest = api_key.encode(), largest_body

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        state = scope.setdefault("state", {})
        state["request_id"] = _request_id(headers.get("x-request-id", b""))
        state["log"] = {}
        sending = _Sending(send, state["request_id"])
        start = time.monotonic()
        try:
            await self._pass_on(scope, _Limited(receive, self._largest), sending, headers)
        except Exception:
            LOG.exception("a fault of ours", extra={"fields": {"request_id": state["request_id"]}})
        finally:
            self._note(scope, sending.status, time.monotonic() - start)

    async def _pass_on(self, scope: _Message, receive: "_Limited", send: "_Sending", headers: dict[str, bytes]) -> None:
        given = headers.get("authorization", b"").removeprefix(b"Bearer ")
        if self._key and scope["path"] not in _OPEN and not hmac.compare_digest(given, self._key):
            await _refuse(send, 401, "no or another API key: send `Authorization: Bearer KEY`.", "invalid_api_key")
            return
        length = headers.get("content-length", b"0")
        if not length.isdigit() or int(length) > self._largest:
            await _refuse(send, 413, f"the body is larger than {self._largest:,} bytes.", "too_large")
            return
        await self._app(scope, receive, send)

    def _note(self, scope: _Message, status: int, seconds: float) -> None:
        """Count a request, and write its line."""
        route = getattr(scope.get("route"), "path", "unknown")  # never what a client wrote: that has no bound
        self._metrics.requests.labels(route, str(status or 499)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        state = scope["state"]
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status or 499,
            "seconds": round(seconds, 4),
            **state["log"],
        }
        level = logging.DEBUG if scope["path"] in (*_OPEN, "/metrics") else logging.INFO
        LOG.log(level, "request", extra={"fields": fields})


class _Limited:
    """The messages of a request, until its body is too large."""

    def __init__(self, receive: _Receive, largest: int) -> None:
        self._receive, self._room, self._largest = receive, largest, largest
        self._whole = False

    async def __call__(self) -> _Message:
        try:
            message = await asyncio.wait_for(self._receive(), None if self._whole else _SECONDS_OF_BODY)
        except TimeoutError:
            raise HTTPException(408, "the body did not come.") from None
        self._whole = not message.get("more_body", False)
        self._room -= len(message.get("body", b""))
        if self._room < 0:
            raise HTTPException(413, f"the body is larger than {self._largest:,} bytes.")
        return message


class _Sending:
    """The messages of an answer, which says the request's id."""

    def __init__(self, send: _Send, request_id: str) -> None:
        self._send, self._id = send, request_id
        self.status = 0

    async def __call__(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self._id.encode())]
        await self._send(message)


def _request_id(given: bytes) -> str:
    """Return the id that a request gives itself, if it is a plain word, else a new one."""
    return given.decode() if re.fullmatch(rb"[\w.:-]{1,128}", given) else uuid.uuid4().hex


def _error_body(message: str, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """Return an error as OpenAI's API writes one."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def _refuse(send: _Send, status: int, message: str, code: str) -> None:
    body = json.dumps(_error_body(message, code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""A server on the loopback address, in a thread of the test's process."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2 as httpx
import uvicorn

from hyperadapters.server.adapter_server import _AdapterServer
from hyperadapters.server.app import _create_app
from hyperadapters.server.queries import Limits, _Engine
from hyperadapters.server.serving import _listen, open_catalogue, open_engine


class RunningServer(NamedTuple):
    url: str
    server: _AdapterServer
    client: httpx.Client

    def post(self, route: str, **body: Any) -> httpx.Response:
        return self.client.post(route, json=body)

    def answer(self, route: str, **body: Any) -> Any:
        found = self.post(route, **body)
        assert found.status_code == 200, found.text
        return found.json()


@contextlib.contextmanager
def serving(
    folder: Path | str,
    *,
    limits: Limits | None = None,
    watch: float = 0.0,
    from_hub: bool = False,
    engine: _Engine | None = None,
    **guard: Any,
) -> Iterator[RunningServer]:
    """A running server of a folder of adapters."""
    catalogue = open_catalogue(str(folder))
    made: list[_AdapterServer] = []

    async def main(socket: Any, started: threading.Event, stopped: asyncio.Event) -> None:
        own = _AdapterServer(
            catalogue, engine or open_engine(catalogue, limits=limits or Limits()), watch=watch, from_hub=from_hub
        )
        made.append(own)
        config = uvicorn.Config(_create_app(own, **guard), log_config=None, access_log=False, lifespan="on")
        running = uvicorn.Server(config)
        ending = asyncio.ensure_future(running._serve([socket]))
        while not running.started and not ending.done():
            await asyncio.sleep(0.01)
        loops.append(asyncio.get_running_loop())
        started.set()
        waiting = asyncio.ensure_future(stopped.wait())
        await asyncio.wait({ending, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        running.should_exit = True
        await ending

    loops: list[asyncio.AbstractEventLoop] = []
    listening, started, stopped = _listen("127.0.0.1", 0), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(main(listening, started, stopped)))
    thread.start()
    assert started.wait(60)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            yield RunningServer(url, made[0], client)
    finally:
        loops[0].call_soon_threadsafe(stopped.set)
        thread.join(60)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until something holds, for five seconds at most."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")

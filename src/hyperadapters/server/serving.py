"""The server as a process: its socket, its log, its end."""

import gc
import logging
import socket
import sys
from typing import Any

from hyperadapters._utils import InputError, console
from hyperadapters.server.adapter_server import _AdapterServer
from hyperadapters.server.app import _create_app
from hyperadapters.server.engine import _LocalEngine
from hyperadapters.server.log_lines import LOG, _JsonLines
from hyperadapters.server.queries import Limits, _Engine
from hyperadapters.serving import Catalogue
from hyperadapters.storage import locate_adapters

_SECONDS_OF_A_TURN = 0.0005
"""How long a thread of Python may keep the others waiting. The one that computes asks for its turn after every
operation of PyTorch, and would wait ten times as long for one that reads adapters or requests."""

_SECONDS_OF_END = 300
"""How long the answers to accepted requests may take at the end, and a client that never finishes its own."""

_SECONDS_OF_REST = 75
"""How long a connection without a request is kept: longer than load balancers keep theirs, which would else send a
request into one that is being closed."""


def open_catalogue(adapters: str) -> Catalogue:
    """Return the adapters of a folder or of a repository of the Hub.

    Raises:
        InputError: there is none.
    """
    return Catalogue(locate_adapters(adapters))


def open_engine(catalogue: Catalogue, backbone: str = "", limits: Limits = Limits()) -> _LocalEngine:  # noqa: B008 (frozen)
    """Return what computes in this process, with the backbone of the first adapter that can be read.

    Args:
        catalogue: of the adapters.
        backbone: another place to load the backbone from than the one that the adapters name.
        limits: how much it takes at a time.

    Raises:
        InputError: no adapter can be read, or there is no backbone.
    """
    engine, problem = _LocalEngine(backbone, limits), InputError(f"no adapter of {catalogue.where} can be read.")
    for name in catalogue:
        try:
            engine.load(catalogue.task(name))
            return engine
        except InputError as error:
            problem = error
    engine.close()
    raise next(iter(catalogue.damaged.values()), problem)


def serve_http(
    catalogue: Catalogue,
    engine: _Engine,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    watch: float = 0.0,
    from_hub: bool = False,
    api_key: str = "",
    largest_body: int = 2**20,
) -> None:
    """Serve until the process is told to end; then what was accepted is answered, and new requests are refused.

    Args:
        catalogue: of the adapters.
        engine: computes; it is closed at the end.
        host: the address to listen on.
        port: 0: any that is free.
        watch: seconds between looks for new, changed and removed adapters; 0: none.
        from_hub: whether clients may add adapters from the Hub.
        api_key: without which a request is refused; empty: none is asked for.
        largest_body: of a request, in bytes.

    Raises:
        InputError: the address cannot be listened on.
    """
    import uvicorn  # noqa: PLC0415 (of an extra)

    found = _listen(host, port)
    _log_as_json()
    sys.setswitchinterval(_SECONDS_OF_A_TURN)
    server = _AdapterServer(catalogue, engine, watch=watch, from_hub=from_hub)
    app = _create_app(server, api_key=api_key, largest_body=largest_body)
    kept: dict[str, Any] = {
        "timeout_keep_alive": _SECONDS_OF_REST,
        "server_header": False,
        "timeout_graceful_shutdown": _SECONDS_OF_END,
    }
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", **kept)
    port = found.getsockname()[1]
    tasks = f"{len(catalogue):,} task(s)" + (f", {len(catalogue.damaged)} damaged" if catalogue.damaged else "")
    console.print(f"{tasks} at http://{host}:{port} (docs at /docs); Ctrl-C or SIGTERM ends", soft_wrap=True)
    if not api_key and host not in ("127.0.0.1", "localhost", "::1"):
        console.print("there is no --api-key: whoever reaches this address may use and change the adapters")
    _keep_from_collection()
    uvicorn.Server(config).run(sockets=[found])


def _keep_from_collection() -> None:
    """Let Python's collector of garbage pass over all objects that there are now.

    Those of the libraries and of the backbone stay to the end. To look at them all takes a third of a second, in which
    no thread of Python runs, about once in a thousand requests.
    """
    gc.collect()
    gc.freeze()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InputError: the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise InputError(f"--host {host} --port {port}: {error.strerror or error}. Choose another.") from error
    return found


def _log_as_json() -> None:
    """Write the log of the server to standard error, a line of JSON for each record."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    for name in (LOG.name, "uvicorn"):
        logger: Any = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == LOG.name else logging.WARNING)

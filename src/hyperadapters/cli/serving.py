"""The command that serves adapters over HTTP."""

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from hyperadapters._utils import InputError, check_extra
from hyperadapters.cli.base import _command, _quiet_libraries
from hyperadapters.cli.options import _OtherBackbone


class _Engine(StrEnum):
    LOCAL = "local"
    RAY = "ray"


@_command("Use a saved adapter")
def serve(
    adapters: Annotated[
        str,
        typer.Argument(
            help="Folder with an adapter in each sub-folder, one adapter, or user/name of such a repository on the "
            "Hub.",
            show_default=False,
        ),
    ],
    backbone: _OtherBackbone = "",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    max_wait: Annotated[str, typer.Option(help="How long a row waits for others to share its batch.")] = "5ms",
    max_batch: Annotated[int, typer.Option(min=1, help="Rows of a batch at most.")] = 64,
    max_queue: Annotated[int, typer.Option(min=1, help="Rows that may wait; more are refused with 429.")] = 1024,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer that a request may ask for.")] = 1024,
    max_body: Annotated[int, typer.Option(min=1, help="Largest body of a request, in KiB.")] = 1024,
    resident: Annotated[int, typer.Option(min=2, help="Adapters of one method in memory at a time.")] = 256,
    alone: Annotated[int, typer.Option(min=1, help="Adapters in memory that cannot share a batch.")] = 8,
    watch: Annotated[
        bool, typer.Option("--watch", help="Take up new, changed and removed adapters by itself.")
    ] = False,
    hub: Annotated[bool, typer.Option("--hub", help="Let clients add adapters from the Hub.")] = False,
    api_key: Annotated[
        str, typer.Option(envvar="HYPERADAPTERS_API_KEY", help="Key that every request must have.", show_default=False)
    ] = "",
    engine: Annotated[_Engine, typer.Option(help="This process, or replicas on a Ray cluster.")] = _Engine.LOCAL,
    replicas: Annotated[str, typer.Option(help="With --engine ray: how many, or least:most, by the load.")] = "1",
    cpus: Annotated[float, typer.Option(min=0, help="With --engine ray: CPUs of a replica.")] = 1.0,
    gpus: Annotated[float, typer.Option(min=0, help="With --engine ray: GPUs of a replica.")] = 0.0,
) -> None:
    """Serve adapters over HTTP: text as OpenAI's API has it, labels, numbers, vectors.

    The adapter is the `model` of a request. Requests to different adapters share batches. The page /docs lists all
    routes. Needs the extra `serve`.

    Examples:
    - `hyperadapters serve adapters --port 8000`
    - `hyperadapters serve adapters --watch --host 0.0.0.0 --api-key SECRET`
    - `hyperadapters serve user/adapters --resident 1000`
    - `hyperadapters serve /shared/adapters --engine ray --replicas 1:8 --gpus 1`
    """
    check_extra("serve", "a server needs")
    wait = _seconds(max_wait)
    if engine == _Engine.LOCAL and (replicas, cpus, gpus) != ("1", 1.0, 0.0):
        raise InputError("--replicas, --cpus and --gpus go with --engine ray.")
    from hyperadapters.server import Limits, Replicas, open_catalogue, open_engine, serve_http, serve_on_ray

    _quiet_libraries()
    limits = Limits(max_batch, wait, max_queue, max_tokens, resident, alone)
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "watch": 2.0 if watch else 0.0,
        "from_hub": hub,
        "api_key": api_key,
        "largest_body": 1024 * max_body,
    }
    if engine == _Engine.RAY:
        serve_on_ray(adapters, backbone, limits, Replicas.parse(replicas, cpus, gpus), **options)
        return
    catalogue = open_catalogue(adapters)
    serve_http(catalogue, open_engine(catalogue, backbone, limits), **options)


def _seconds(text: str) -> float:
    """Return a time such as 5ms or 0.1s in seconds.

    Raises:
        InputError: it is no time, or longer than a minute.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text.strip())
    if not found:
        raise InputError(f"--max-wait {text}: write a time with its unit, such as 5ms or 0.1s.")
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    if seconds > 60:
        raise InputError(f"--max-wait {text}: at most 60s.")
    return seconds

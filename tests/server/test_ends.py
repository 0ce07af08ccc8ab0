"""A client that leaves frees its place, a full queue says when to come again, and at the end what was accepted is
answered.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_server import serving, wait_until
from saved_adapters import SENTENCES

from hyperadapters.server.queries import Limits

LONG = {"model": "free", "prompt": "a fine film", "temperature": 2.0, "max_tokens": 400}


def held(running):
    """Keep the thread that computes from computing, until the returned event is set."""
    import threading

    go = threading.Event()
    running.server.engine._batcher.between(lambda: go.wait(30))
    return go


def raw(running, route, body):
    """Send a request without reading the answer."""
    data = json.dumps(body).encode()
    host, port = running.url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)))
    head = f"POST {route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    found.sendall(head.encode() + data)
    return found


def test_a_client_that_leaves_frees_its_place(adapters):
    with serving(adapters, limits=Limits(waiting=4)) as running:
        go = held(running)
        engine = running.server.engine
        left = raw(running, "/classify", {"model": "words", "input": SENTENCES})
        wait_until(lambda: engine.gauges().waiting == 4)
        busy = running.post("/classify", model="words", input="x")
        assert busy.status_code == 429
        assert int(busy.headers["retry-after"]) >= 1
        assert busy.json()["error"]["code"] == "queue_full"
        left.close()
        wait_until(lambda: engine.gauges().waiting == 0)
        go.set()
        assert running.post("/classify", model="words", input="x").status_code == 200
        too_many = running.post("/classify", model="words", input=["x"] * 5)
        assert too_many.status_code == 422
        assert "retry-after" not in too_many.headers


@pytest.mark.parametrize("stream", [True, False])
def test_generation_ends_where_nobody_waits_any_more(adapters, stream):
    with serving(adapters) as running:
        engine = running.server.engine
        left = raw(running, "/v1/completions", {**LONG, "stream": stream, "max_tokens": 1000})
        wait_until(lambda: engine._batcher.busy)
        left.close()
        start = time.monotonic()
        wait_until(lambda: not engine._batcher.busy)
        others = running.answer("/classify", model="words", input="x")
        assert others["data"]
        assert time.monotonic() - start < 5


@pytest.mark.slow
def test_told_to_end_it_answers_what_it_accepted_and_refuses_more(adapters):
    command = [sys.executable, "-m", "hyperadapters.cli", "serve", str(adapters), "--port", "0", "--max-wait", "4s"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        lines = iter(process.stderr)
        (line,) = (line for line in [next(line for line in lines if "http://" in line)])
        url = next(word for word in line.split() if word.startswith("http://"))

        def ask(name):
            data = json.dumps({"model": name, "input": SENTENCES}).encode()
            request = urllib.request.Request(f"{url}/classify", data, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())

        def metrics():
            with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
                return answer.read().decode()

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, name) for name in ("words", "mood/first", "whole", "mix/demo/sentiment") * 2]
            wait_until(lambda: "hyperadapters_queue_rows 32.0" in metrics())
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            with pytest.raises(OSError, match="refused"):
                ask("words")
            assert all(len(each.result()["data"]) == len(SENTENCES) for each in asked)
        assert process.wait(30) == -signal.SIGTERM or process.returncode == 0
    finally:
        process.kill()
        process.stderr.close()
        process.wait()

"""What the Hub says of a repository: asked of a server on this machine, once and for a short time."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ASK = """
import sys, time
from hyperadapters._utils import ask_hub
for word in sys.argv[1:]:
    kind, _, name = word.partition(":")
    begun = time.monotonic()
    answer = ask_hub(name, "config.json", kind=kind)
    print(answer.state, answer.reason, time.monotonic() - begun < 5, sep="|")
"""


class _Hub(BaseHTTPRequestHandler):
    """Has `a/there`; says why it does not have `a/gated` and `a/bare`; is out of order for `a/broken`."""

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self.asked.append(self.path)
        name = self.path.removeprefix("/datasets").split("/resolve/")[0]
        status, code = {
            "/a/there": (200, ""),
            "/a/gated": (403, "GatedRepo"),
            "/a/bare": (404, "EntryNotFound"),
            "/a/broken": (503, ""),
        }.get(name, (404, "RepoNotFound"))
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def hub():
    _Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def answers(endpoint, *words):
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint}
    found = subprocess.run(
        [sys.executable, "-c", ASK, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "Retrying" not in found.stderr
    return [line.split("|") for line in found.stdout.splitlines()]


def test_the_hub_says_whether_it_has_a_repository_and_why_not(hub):
    wanted = ("model:a/there", "dataset:a/bare", "model:a/bare", "model:a/gated", "dataset:a/other", "model:no/na/me")
    found = answers(hub, *wanted)
    assert [state for state, *_ in found] == ["found", "found", "absent", "absent", "absent", "absent"]
    reasons = [reason for _, reason, _ in found]
    assert reasons[2] == "on the Hub it has no config.json"
    assert reasons[3].startswith("access must be granted")
    assert reasons[4].startswith("the Hub has no such data set, or it is private")
    assert reasons[5].startswith("that is no name of the Hub")
    assert len(_Hub.asked) == 5


def test_a_hub_that_is_out_of_order_is_asked_once(hub):
    found = answers(hub, "model:a/broken", "model:a/broken", "dataset:a/there")
    assert {state for state, *_ in found} == {"silent"}
    assert len(_Hub.asked) == 1


def test_a_hub_that_does_not_answer_is_known_at_once():
    ((state, reason, quick),) = answers("http://127.0.0.1:9", "model:a/there")
    assert (state, quick) == ("silent", "True")
    assert reason.startswith("the Hub at http://127.0.0.1:9 does not answer: ")

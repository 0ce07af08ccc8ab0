"""The server on a cluster of two nodes: answers are the adapters' own, and a replica that is killed loses none."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from saved_adapters import SENTENCES

from hyperadapters import InputError, load_predictor
from hyperadapters.server.queries import Limits
from hyperadapters.server.ray_serving import Replicas, _deploy

NAMES = ["mood/first", "mood/second", "words", "whole", "pairs"]
PAIR = {"sentence1": "the king saw the monk .", "sentence2": "the monk saw the king ."}


def test_replicas_are_a_number_or_two():
    assert Replicas.parse("2", 1, 0) == Replicas(2, 2, 1, 0)
    assert Replicas.parse("1:8", 0, 0.5) == Replicas(1, 8, 0, 0.5)
    for text in ("0", "2:1", "x", "1:2:3"):
        with pytest.raises(InputError, match=f"--replicas {text}: write a number"):
            Replicas.parse(text, 1, 0)
    with pytest.raises(InputError, match="needs some of a CPU or of a GPU"):
        Replicas.parse("1", 0, 0)


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.serve.shutdown()
    ray.shutdown()
    found.shutdown()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(client, name):
    """Ask as a client does that tries again where the server has no room or is away."""
    body = {"model": name, "input": [PAIR] if name == "pairs" else SENTENCES}
    for _ in range(40):
        try:
            reply = client.post("/classify", json=body)
        except httpx.TransportError:
            reply = None
        if reply is not None and reply.status_code == 200:
            return [row["probabilities"] for row in reply.json()["data"]]
        assert reply is None or reply.status_code in (429, 500, 502, 503), reply.text
        time.sleep(0.25)
    raise AssertionError(f"{name} was lost: {reply}")


def replicas(ray):
    from ray.util.state import list_actors

    return [actor for actor in list_actors(filters=[("state", "=", "ALIVE")]) if "Adapters" in (actor["name"] or "")]


@pytest.mark.cluster
def test_a_replica_that_is_killed_loses_no_request_and_answers_stay_the_adapters_own(cluster, adapters):
    import ray

    port = free_port()
    _deploy(str(adapters), "", Limits(), Replicas(2, 2), host="127.0.0.1", port=port)
    expected = {
        name: load_predictor(adapters / name).probabilities(
            [PAIR] if name == "pairs" else [{"sentence": text} for text in SENTENCES]
        )
        for name in NAMES
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        for name in NAMES:
            ask(client, name)
        found = replicas(ray)
        assert len({actor["node_id"] for actor in found}) == 2
        with ThreadPoolExecutor(6) as pool:
            asked = [(name, pool.submit(ask, client, name)) for _ in range(30) for name in NAMES]
            time.sleep(0.5)
            ray.kill(ray.get_actor(found[0]["name"], namespace="serve"))
            answers = [(name, each.result()) for name, each in asked]
        assert len(answers) == 150
        for name, rows in answers:
            for row, wanted in zip(rows, expected[name], strict=True):
                assert row == pytest.approx(wanted, abs=1e-5)
        assert client.post("/classify", json={"model": "nothing", "input": "x"}).status_code == 404
        assert client.post("/classify", json={"model": "free", "input": "x"}).status_code == 422
        whole = client.post("/v1/completions", json={"model": "free", "prompt": SENTENCES[0]}).json()
        body = {"model": "free", "prompt": SENTENCES[0], "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as stream:
            assert stream.status_code == 200
            text = "".join(stream.iter_text())
        assert whole["choices"][0]["text"] in text
        assert client.delete("/adapters/words").json() == {"dropped": ["words"]}
        assert client.post("/classify", json={"model": "words", "input": "x"}).status_code == 404
        assert client.post("/adapters", json={"name": "words"}).status_code == 200
        assert ask(client, "words")[0] == pytest.approx(expected["words"][0], abs=1e-5)

"""`predict --server` answers as `predict` does on the same adapters."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command_line import one_json, refuses, works
from http_server import serving
from saved_adapters import SENTENCES

from hyperadapters.server.queries import Limits

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of several tasks, which name them."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    pair = {"sentence1": "the king saw the monk .", "sentence2": "the monk saw the king ."}
    found = [
        {"task": task, "id": i, **(pair if task == "pairs" else {"sentence": SENTENCES[i % 4]})}
        for i, task in enumerate(["mood/first", "pairs", "words", "whole", "mix/demo/sentiment"] * 5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def answered(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("scores", [(), ("--scores",)])
def test_a_file_is_answered_as_it_is_without_a_server(running, adapters, rows, scores, tmp_path):
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    works("predict", adapters, "--file", rows, "--output", here, *scores)
    shown = works("predict", "--server", running.url, "--file", rows, "--output", there, "--json", *scores)
    assert one_json(shown)["tasks"]["words"] == 5
    for one, other in zip(answered(here), answered(there), strict=True):
        if scores:
            assert one.pop("scores") == pytest.approx(other.pop("scores"), abs=1e-5)
        assert one == other


def test_texts_are_answered_by_the_adapter_that_is_named(running, adapters):
    for words in (("words", "a fine film"), ("pairs", "a king", "a monk"), ("words", "a fine film", "--top", "2")):
        name, *others = words
        found = works("predict", name, *others, "--server", running.url, "--json")
        here = one_json(works("predict", adapters / name, *others, "--json"))
        assert one_json(found)["predictions"] == here["predictions"]


def test_what_is_wrong_is_said(running, adapters, rows, tmp_path):
    for words, why in {
        ("predict", "nothing", "x", "--server", running.url): "knows no task 'nothing'",
        ("predict", "words", "x", "--server", "localhost:80"): "give its address, such as http://localhost:8000",
        ("predict", "words", "x", "--server", "http://127.0.0.1:9"): "does not answer",
        ("predict", "words", "x", "--server", running.url, "--task", "y"): "with --server, the adapter's name",
        ("predict", "--server", running.url): "give either texts or --file",
        ("predict", "--file", str(rows)): "name an adapter: its folder",
        ("predict", "free", "x", "--server", running.url, "--scores"): "probabilities are those of labels",
        ("serve", str(tmp_path)): "there is no adapter at",
        ("serve", str(adapters), "--max-wait", "5"): "write a time with its unit, such as 5ms",
        ("serve", str(adapters), "--max-wait", "5h"): "write a time with its unit",
        ("serve", str(adapters), "--max-wait", "90s"): "at most 60s",
        ("serve", str(adapters), "--replicas", "2"): "go with --engine ray",
    }.items():
        assert why in refuses(*words)


def test_a_port_that_is_taken_is_named(running, adapters):
    port = running.url.rpartition(":")[2]
    assert f"--port {port}: Address already in use" in refuses("serve", adapters, "--port", port)


def test_where_there_is_no_room_it_asks_again(adapters, rows, tmp_path):
    with serving(adapters, limits=Limits(waiting=5, rows=2)) as running:
        output = tmp_path / "answers.jsonl"
        works("predict", "--server", running.url, "--file", rows, "--output", output)
        assert len(answered(output)) == 25
        assert 'status="429"' in running.client.get("/metrics").text


def test_a_key_is_sent(adapters):
    with serving(adapters, api_key="secret") as running:
        assert "no or another API key" in refuses("predict", "words", "x", "--server", running.url)
        works("predict", "words", "x", "--server", running.url, "--api-key", "secret")


@pytest.mark.slow  # starts a process
def test_the_load_test_of_the_examples_asks_all_adapters_of_one_column(running):
    command = [sys.executable, EXAMPLES / "load_test.py", running.url, "--requests", "40", "--connections", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("8 adapters, 40 answers,")
    assert "failed: none" in done.stdout


def test_the_files_of_the_examples_name_commands_and_files_that_are_there():
    compose = yaml.safe_load((EXAMPLES / "docker-compose.yml").read_text())
    assert (EXAMPLES.parents[1] / compose["services"]["adapters"]["build"]["dockerfile"]).is_file()
    for service in ("balancer", "prometheus"):
        own = [volume.split(":")[0] for volume in compose["services"][service]["volumes"]]
        assert all((EXAMPLES / name).is_file() for name in own if name not in ("./key", "./adapters"))
    options = {word for word in compose["services"]["adapters"]["command"] if word.startswith("--")}
    docker = (EXAMPLES / "Dockerfile").read_text()
    options |= {word.strip('",]') for word in docker.split("ENTRYPOINT")[1].split() if word.startswith('"--')}
    shown = works("serve", "--help").stdout
    assert {"--watch", "--host"} <= options
    assert all(option in shown for option in options)
    yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    assert runpy.run_path(str(EXAMPLES / "load_test.py"))["TEXTS"]

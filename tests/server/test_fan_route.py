"""`POST /fan`: every adapter answers each text as it does alone, with one pass of the backbone where that can be."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from command_line import one_json, refuses, works
from http_server import serving
from saved_adapters import SENTENCES, save

from hyperadapters import SideAdapter, load_backbone, load_predictor
from hyperadapters.delta.saving import TENSORS
from hyperadapters.server.queries import Limits

PAIR = {"sentence1": "the king saw the monk .", "sentence2": "the monk saw the king ."}
ROWS = [{"sentence": text, **PAIR} for text in SENTENCES]


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Three adapters beside the backbone."""
    folder = tmp_path_factory.mktemp("beside")
    backbone, _ = load_backbone()
    torch.manual_seed(0)
    for name in "abc":
        save(folder / name, backbone, SideAdapter(bottleneck=16))
    return folder


def alone(folder, names, rows):
    """What each adapter answers without a server."""
    found = {name: load_predictor(folder / name)(rows) for name in names}
    return [{name: found[name][i] for name in names} for i in range(len(rows))]


def test_adapters_of_every_kind_answer_as_each_does_alone(running, adapters):
    names = ["mood/first", "mood/second", "words", "number", "beams", "pairs", "whole", "free"]
    reply = running.answer("/fan", models=names, input=ROWS)
    assert reply["models"] == names
    assert [row["predictions"] for row in reply["data"]] == alone(adapters, names, ROWS)
    assert [row["index"] for row in reply["data"]] == [0, 1, 2, 3]


def test_all_adapters_answer_where_none_is_named(running):
    reply = running.answer("/fan", input=ROWS[0])
    assert reply["models"] == [model["id"] for model in running.client.get("/v1/models").json()["data"]]
    assert {*reply["data"][0]["predictions"]} == {*reply["models"]}


def test_the_encoder_passes_once_for_adapters_beside_it(beside):
    with serving(beside) as running:
        found = running.answer("/fan", input=SENTENCES)  # finds the frozen layers
        loaded = running.server.engine._loaded
        (group,) = loaded._groups.values()
        calls = []
        layer = group.delta.backbone.encoder.block[0].layer[1]
        handle = layer.register_forward_hook(lambda module, args, output: calls.append(len(output)))
        assert running.answer("/fan", input=SENTENCES) == found
        handle.remove()
    assert calls == [len(SENTENCES)]
    assert [row["predictions"] for row in found["data"]] == alone(beside, "abc", [{"sentence": t} for t in SENTENCES])


def test_requests_of_the_same_adapters_share_a_batch_and_stand_beside_others(beside):
    with serving(beside, limits=Limits(wait=0.3)) as running, ThreadPoolExecutor(8) as pool:
        wanted = running.answer("/fan", input=SENTENCES)["data"]
        single = running.answer("/classify", model="a", input=SENTENCES)["data"]
        asked = [("/fan", {"input": text}) for text in SENTENCES] + [("/classify", {"model": "a", "input": SENTENCES})]
        replies = list(pool.map(lambda each: running.answer(each[0], **each[1]), asked))
        metrics = running.client.get("/metrics").text
    assert [reply["data"][0]["predictions"] for reply in replies[:4]] == [row["predictions"] for row in wanted]
    assert [row["label"] for row in replies[4]["data"]] == [row["label"] for row in single]
    assert 'hyperadapters_adapter_rows_total{adapter="b"} 8.0' in metrics


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": "x", "models": ["nothing"]}, 404, "knows no task 'nothing'"),
        ({"input": [], "models": ["words"]}, 422, "no text to answer"),
        ({"input": "x", "models": []}, 422, "models"),
        ({"input": "x", "models": ["words", "pairs"]}, 422, "pairs: the task has 2 columns"),
        ({"input": {"sentence": "x"}, "models": ["words", "pairs"]}, 422, "pairs: a row lacks sentence1, sentence2"),
        ({"input": "x", "models": ["words"], "top": 3}, 422, "top"),
    ],
)
def test_a_request_that_not_all_can_answer_is_refused(running, body, status, message):
    found = running.post("/fan", **body)
    assert (found.status_code, message in found.text) == (status, True), found.text


def test_an_adapter_that_is_damaged_meanwhile_refuses_the_request_and_a_replaced_one_answers_anew(beside, tmp_path):
    for name in "ab":
        shutil.copytree(beside / name, tmp_path / "adapters" / name)
    with serving(tmp_path / "adapters") as running:
        tensors = tmp_path / "adapters" / "b" / TENSORS
        for file in (beside / "c").iterdir():
            shutil.copy(file, tmp_path / "adapters" / "a" / file.name)
        found = running.answer("/fan", input=SENTENCES)["data"]
        wanted = alone(beside, "cb", [{"sentence": text} for text in SENTENCES])
        assert [[*row["predictions"].values()] for row in found] == [[*row.values()] for row in wanted]
        tensors.write_bytes(tensors.read_bytes()[:-8])
        shutil.rmtree(tmp_path / "adapters" / "a")
        assert running.client.delete("/adapters/a").status_code == 200
        running.server.engine._loaded.forget(["b"])
        assert running.post("/fan", input="x").status_code == 422


def test_nothing_is_kept_of_adapters_that_made_room(adapters):
    """Those that cannot share a batch are attached one at a time here."""
    with serving(adapters, limits=Limits(alone=1)) as running:
        names = ["whole", "mix/demo/sentiment", "whole"]
        found = [running.answer("/fan", models=[name], input=ROWS[:1])["data"][0]["predictions"] for name in names]
        assert found[0] == found[2]
        engine = running.server.engine
        assert {*engine._passes._groups} <= {*engine._loaded._groups}


@pytest.mark.parametrize("name", ["", "mix"])
def test_predict_asks_a_server_for_all_tasks(running, adapters, tmp_path, name):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    rows.write_text("".join(json.dumps({**row, "id": i}) + "\n" for i, row in enumerate(ROWS * 20)))
    words = [*([name] if name else []), "--server", running.url, "--all-tasks"]
    assert one_json(works("predict", *words, "--file", rows, "--output", output, "--json"))["rows"] == 80
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in found] == [*range(80)]
    names = ["mix/demo/paraphrase", "mix/demo/sentiment"]
    assert name == "" or sorted(found[0]["predictions"]) == names
    wanted = alone(adapters, ["words"], ROWS) if not name else []
    assert all(row["predictions"]["words"] == own["words"] for row, own in zip(found, wanted, strict=False))


def test_predict_shows_what_all_tasks_of_a_server_answer(running):
    assert "knows no adapter nosuch" in refuses("predict", "nosuch", "a text", "--server", running.url, "--all-tasks")
    shown = works("predict", "mood", "a fine film", "--server", running.url, "--all-tasks")
    assert "mood/first" in shown.stdout
    assert "mood/second" in shown.stdout

"""What the server answers is what the adapter answers by itself, whatever stands in the batch; else it refuses."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from http_server import serving, wait_until
from saved_adapters import SENTENCES, save, save_task
from tiny_encoders import tiny_encoder

from hyperadapters import METHODS, attach, load_backbone, load_predictor
from hyperadapters.delta.saving import CONFIG, TENSORS
from hyperadapters.server.queries import Limits
from hyperadapters.tasks.targets import AnswerSpan, FreeText, Labels, LabelSet, TagSequence
from hyperadapters.tasks.task_format import TaskFormat

PAIR = {"sentence1": "the king saw the monk .", "sentence2": "the monk saw the king ."}
PLACES = {
    "mood/first": ("mood/first", ""),
    "second": ("mood/second", ""),
    "words": ("words", ""),
    "pairs": ("pairs", ""),
    "whole": ("whole", ""),
    "mix/demo/sentiment": ("mix", "demo/sentiment"),
    "mix/demo/paraphrase": ("mix", "demo/paraphrase"),
}
"""The labelled tasks: the folder of each, and its name inside."""


def rows_of(name):
    return [PAIR] if name == "pairs" or name.endswith("paraphrase") else [{"sentence": text} for text in SENTENCES]


@pytest.fixture(scope="module")
def expected(adapters):
    """The probabilities of every labelled task's rows, by its adapter alone."""
    found = {}
    for name, (folder, inner) in PLACES.items():
        found[name] = load_predictor(adapters / folder, task=inner).probabilities(rows_of(name))
    return found


def test_mixed_requests_get_the_answers_of_each_adapter_by_itself(running, expected):
    asked = [name for _ in range(4) for name in PLACES]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda name: running.answer("/classify", model=name, input=rows_of(name)), asked))
    for name, reply in zip(asked, found, strict=True):
        assert reply["model"].endswith(name)
        for row, wanted in zip(reply["data"], expected[name], strict=True):
            assert row["probabilities"] == pytest.approx(wanted, abs=1e-5)
            assert row["label"] == next(iter(row["probabilities"]))
    assert running.server.engine.gauges().held >= 5


def test_a_batch_mixes_requests_of_several_adapters(adapters):
    with serving(adapters, limits=Limits(wait=0.5)) as running, ThreadPoolExecutor(3) as pool:
        names = ["mood/first", "mood/second", "words"]
        list(pool.map(lambda name: running.answer("/classify", model=name, input=SENTENCES), names))
        metrics = running.client.get("/metrics").text
    assert 'hyperadapters_batch_rows_bucket{le="8.0"} 0.0' in metrics
    assert 'hyperadapters_batch_rows_bucket{le="16.0"} 3.0' in metrics


def test_only_as_many_labels_are_given_as_are_wanted(running):
    (row,) = running.answer("/classify", model="words", input="a fine film", top=2)["data"]
    assert len(row["probabilities"]) == 2


def test_rows_are_answered_as_predict_answers_them(running, adapters):
    rows = [{"sentence": text, "id": i} for i, text in enumerate(SENTENCES)]
    for name in ("free", "number", "beams", "words"):
        alone = load_predictor(adapters / name)(rows)
        reply = running.answer("/predict", model=name, rows=rows)
        assert [row["prediction"] for row in reply["predictions"]] == alone
    reply = running.answer("/predict", model="words", rows=rows, top=None)
    assert [row["scores"] for row in reply["predictions"]] == [
        pytest.approx(each, abs=1e-5) for each in load_predictor(adapters / "words").probabilities(rows)
    ]


def test_numbers_are_scores(running, adapters):
    reply = running.answer("/score", model="number", input=SENTENCES)
    assert [row["score"] for row in reply["data"]] == load_predictor(adapters / "number")(
        [{"sentence": text} for text in SENTENCES]
    )


def test_texts_are_completed_as_the_adapter_was_evaluated(running, adapters):
    for name in ("free", "beams", "words"):
        alone = load_predictor(adapters / name)([{"sentence": text} for text in SENTENCES])
        reply = running.answer("/v1/completions", model=name, prompt=SENTENCES)
        assert [choice["text"] for choice in reply["choices"]] == alone
        assert reply["usage"]["total_tokens"] == sum(
            reply["usage"][key] for key in ("prompt_tokens", "completion_tokens")
        )


def events(running, route="/v1/completions", **body):
    with running.client.stream("POST", route, json={"stream": True, **body}) as answer:
        assert answer.status_code == 200
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "seed": 7}, {"temperature": 2.0, "seed": 1, "stop": ["e"]}, {"max_tokens": 2}]
)
def test_a_stream_in_pieces_is_the_whole_answer(running, settings):
    whole = running.answer("/v1/completions", model="free", prompt="a fine film", **settings)
    (choice,) = whole["choices"]
    pieces = events(running, model="free", prompt="a fine film", stream_options={"include_usage": True}, **settings)
    assert "".join(piece["choices"][0]["text"] for piece in pieces[:-1]) == choice["text"]
    assert pieces[-2]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert pieces[-1]["usage"] == whole["usage"]


def test_a_drawn_answer_does_not_depend_on_the_rest_of_its_batch(running):
    settings = {"temperature": 1.5, "top_p": 0.9, "seed": 11, "max_tokens": 8}
    alone = running.answer("/v1/completions", model="free", prompt="a fine film", **settings)["choices"][0]["text"]
    texts = [*SENTENCES, "a fine film"]
    together = running.answer("/v1/completions", model="free", prompt=texts, **settings)["choices"]
    assert together[-1]["text"] == alone
    several = running.answer("/v1/completions", model="free", prompt="a fine film", n=4, **settings)["choices"]
    assert several[0]["text"] == alone
    assert len({choice["text"] for choice in several}) > 1


@pytest.mark.parametrize(
    ("route", "body", "status", "message"),
    [
        ("/classify", {"model": "nothing", "input": "x"}, 404, "knows no task 'nothing'. It knows beams, free"),
        ("/classify", {"model": "../adapters/words", "input": "x"}, 404, "knows no task"),
        ("/v1/completions", {"model": "", "prompt": "x"}, 404, "without a task"),
        ("/classify", {"model": "free", "input": "x"}, 422, "those of labels, but the answers of free are a text."),
        ("/classify", {"model": "pairs", "input": "x"}, 422, "2 columns .sentence1, sentence2.: send an object"),
        ("/classify", {"model": "pairs", "input": {"sentence1": "x", "b": "y"}}, 422, "lacks sentence2 and has b,"),
        ("/classify", {"model": "words", "input": {"sentence": ["x"]}}, 422, "'sentence' holds list, not a text"),
        ("/classify", {"model": "words", "input": []}, 422, "there is no text to answer"),
        ("/classify", {"model": "words", "input": [[1, 2]]}, 422, "input"),
        ("/classify", {"model": "words", "input": "x", "tpo": 3}, 422, "'tpo' is not known here"),
        ("/classify", {"input": "x"}, 422, "model: Field required"),
        ("/score", {"model": "words", "input": "x"}, 422, "not numbers"),
        ("/embed", {"model": "words", "input": "x"}, 422, "answers a task: it has no vectors"),
        ("/v1/completions", {"model": "free", "prompt": "x", "logprobs": 3}, 422, "'logprobs' is not supported here"),
        ("/v1/completions", {"model": "free", "prompt": "x", "max_tokens": 0}, 422, "max_tokens"),
        ("/v1/completions", {"model": "free", "prompt": ["x", "y"], "stream": True}, 422, "a stream is of one answer"),
        ("/v1/completions", {"model": "words", "prompt": "x", "temperature": 1}, 422, "chosen among labels"),
        ("/v1/completions", {"model": "beams", "prompt": "x", "temperature": 1}, 422, "found by beams"),
        ("/v1/completions", {"model": "nothing", "prompt": "x", "stream": True}, 404, "knows no task"),
        ("/v1/chat/completions", {"model": "free", "messages": []}, 422, "messages"),
        (
            "/v1/chat/completions",
            {"model": "free", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]},
            422,
            "was not trained on conversations",
        ),
        ("/predict", {"model": "pairs", "rows": [{"sentence1": "x"}]}, 422, "lacks sentence2"),
        ("/adapters", {"name": "../words"}, 422, "no name of a sub-folder"),
        ("/adapters", {"name": "/etc"}, 422, "no name of a sub-folder"),
        ("/adapters", {"name": "a\\..\\b"}, 422, "no name of a sub-folder"),
        ("/adapters", {"name": "nothing"}, 422, "there is no adapter at nothing: no such folder"),
        ("/adapters", {"name": "é" * 200}, 422, "no name of a sub-folder"),
        ("/v1/completions", {"model": "free", "prompt": ["x"] * 80, "n": 16}, 422, "1,280 rows at once"),
        (
            "/v1/chat/completions",
            {"model": "free", "messages": [], "verbosity": "high"},
            422,
            "'verbosity' is not supported",
        ),
        ("/adapters", {"name": "x", "repository": "someone/adapter"}, 403, "takes no adapters from the Hub"),
        ("/adapters", {"name": "x", "path": "/etc"}, 422, "path: Extra inputs are not permitted"),
        ("/predict", {"model": "words", "rows": [{"sentence": "a\ud800"}]}, 422, "a lone surrogate"),
        ("/classify", {"model": "words", "input": "a\ud800"}, 422, "surrogate|unicode"),
        ("/classify", {"model": "wo\ud800rds", "input": "a"}, 422, "unicode"),
        ("/v1/completions", {"model": "free", "prompt": "x", "stop": ""}, 422, "stop"),
        ("/v1/completions", {"model": "free", "prompt": "x", "stop": list("abcde")}, 422, "at most 4"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)
def test_what_cannot_be_answered_is_refused_and_said_why(running, route, body, status, message):
    content = json.dumps(body).encode()
    found = running.client.post(route, content=content, headers={"content-type": "application/json"})
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error["message"])
    assert len(error["message"]) < 500


def test_a_damaged_or_foreign_adapter_is_refused_and_the_others_answer(adapters, tmp_path):
    folder = tmp_path / "adapters"
    shutil.copytree(adapters, folder)
    (folder / "pairs" / CONFIG).write_text("{")
    data = bytearray((folder / "words" / TENSORS).read_bytes())
    data[-3] ^= 1
    (folder / "words" / TENSORS).write_bytes(data)
    (folder / "free" / TENSORS).unlink()
    other, _ = load_backbone()
    with torch.no_grad():
        other.shared.weight.add_(1.0)
    save(folder / "foreign", other, METHODS["compacter++"])
    with serving(folder) as running:
        for name, why in {
            "pairs": "is not JSON",
            "words": "a bit of it has changed|was changed",
            "free": "does not exist",
            "foreign": "trained on",
        }.items():
            with ThreadPoolExecutor(2) as pool:
                good = pool.submit(running.answer, "/classify", model="mood/first", input=SENTENCES)
                bad = pool.submit(running.post, "/predict", model=name, rows=[{"sentence": "x"}]).result()
            assert bad.status_code == 422, bad.text
            with pytest.raises(AssertionError, match=why):
                raise AssertionError(bad.text)
            assert len(good.result()["data"]) == 4


def probabilities(running, name):
    return running.answer("/classify", model=name, input=SENTENCES[0])["data"][0]["probabilities"]


def saved_anew(folder, seed):
    """Write an adapter with other weights, and return what it answers."""
    torch.manual_seed(seed)
    save(folder, load_backbone()[0], METHODS["compacter++"])
    return load_predictor(folder).probabilities([{"sentence": SENTENCES[0]}])[0]


def test_an_adapter_is_added_taken_anew_and_dropped_while_others_are_asked(adapters, tmp_path):
    folder = tmp_path / "adapters"
    shutil.copytree(adapters / "mood", folder / "mood")
    with serving(folder) as running:
        before = probabilities(running, "mood/first")
        first = saved_anew(folder / "new", 1)
        assert running.post("/classify", model="new", input="x").status_code == 404
        (described,) = running.answer("/adapters", name="new")["data"]
        assert (described["id"], described["answers"]) == ("new", "labels")
        assert probabilities(running, "new") == pytest.approx(first, abs=1e-5)
        second = saved_anew(folder / "new", 2)
        assert second != pytest.approx(first, abs=1e-3)
        assert probabilities(running, "new") == pytest.approx(first, abs=1e-5)  # as it was taken
        running.answer("/adapters", name="new")
        assert probabilities(running, "new") == pytest.approx(second, abs=1e-5)
        (folder / "new" / TENSORS).write_bytes(b"nothing")
        assert running.post("/adapters", name="new").status_code == 422
        assert running.client.delete("/adapters/new").json() == {"dropped": ["new"]}
        assert running.post("/classify", model="new", input="x").status_code == 404
        assert running.client.delete("/adapters/new").status_code == 404
        assert "new" not in running.client.get("/metrics").text
        assert probabilities(running, "mood/first") == before


def test_rows_of_an_old_and_a_new_version_of_an_adapter_share_a_batch(adapters, tmp_path):
    """The old one is in memory; where it is not any more, its rows are answered with the new one."""
    folder = tmp_path / "adapters"
    shutil.copytree(adapters / "mood", folder / "mood")
    first = saved_anew(folder / "new", 1)
    with serving(folder, limits=Limits(resident=2)) as running, ThreadPoolExecutor(3) as pool:
        engine = running.server.engine
        for leave in (False, True):
            assert probabilities(running, "new") == pytest.approx(first, abs=1e-5)
            go = threading.Event()
            engine._batcher.between(go.wait)  # nothing is computed until then
            other = pool.submit(probabilities, running, "mood/first")
            old = pool.submit(probabilities, running, "new")
            wait_until(lambda: engine.gauges().waiting == 2)
            second = saved_anew(folder / "new", 2 + leave)
            if leave:
                engine._loaded.forget(["new"])
            running.server.catalogue.take(running.server.catalogue.read("new"))
            new = pool.submit(probabilities, running, "new")
            wait_until(lambda: engine.gauges().waiting == 3)
            go.set()
            assert new.result() == pytest.approx(second, abs=1e-5)
            assert old.result() == pytest.approx(second if leave else first, abs=1e-5)
            assert other.result()
            first = second


@pytest.mark.parametrize("name", ["mood/first", "whole"])
def test_an_adapter_of_another_task_in_the_place_of_one_is_refused_until_it_is_taken(adapters, tmp_path, name):
    """Its rows were read as those of the first one's task; the rows of others in their batch are answered."""
    folder = tmp_path / "adapters"
    for kept in ("mood/first", "mood/second", "whole", "free"):
        shutil.copytree(adapters / kept, folder / kept)
    with serving(folder, limits=Limits(resident=2, wait=0.2)) as running:
        assert running.answer("/predict", model="mood/second", rows=[{"sentence": "x"}])
        running.client.get(f"/v1/models/{name}")
        running.server.engine._batcher.between(
            lambda: running.server.engine._loaded.forget(["mood/first", "whole"])
        ).result()
        shutil.rmtree(folder / name)
        shutil.copytree(folder / "free", folder / name)
        with ThreadPoolExecutor(2) as pool:
            good = pool.submit(running.post, "/classify", model="mood/second", input="x")
            bad = pool.submit(running.post, "/classify", model=name, input="x")
        assert good.result().status_code == 200
        assert (bad.result().status_code, "was replaced" in bad.result().text) == (422, True)
        assert running.answer("/adapters", name=name)["data"][0]["answers"] != "labels"
        assert running.answer("/v1/completions", model=name, prompt="x")["choices"]


def test_two_versions_that_wait_do_not_disturb_the_batch_before_them(adapters, tmp_path):
    folder = tmp_path / "adapters"
    shutil.copytree(adapters / "mood", folder / "mood")
    shutil.copytree(adapters / "words", folder / "words")
    shutil.copytree(adapters / "mood" / "second", folder / "new")
    with serving(folder, limits=Limits(rows=2)) as running, ThreadPoolExecutor(4) as pool:
        engine, go = running.server.engine, threading.Event()
        running.answer("/classify", model="new", input="x")
        engine._batcher.between(go.wait)
        asked = [pool.submit(running.post, "/classify", model=name, input="x") for name in ("words", "mood/first")]
        wait_until(lambda: engine.gauges().waiting == 2)
        asked.append(pool.submit(running.post, "/classify", model="new", input="x"))
        wait_until(lambda: engine.gauges().waiting == 3)
        saved_anew(folder / "new", 5)
        running.server.catalogue.take(running.server.catalogue.read("new"))
        asked.append(pool.submit(running.post, "/classify", model="new", input="x"))
        wait_until(lambda: engine.gauges().waiting == 4)
        go.set()
        assert [each.result().status_code for each in asked] == [200] * 4


def test_a_watched_folder_is_followed(adapters, tmp_path):
    folder = tmp_path / "adapters"
    shutil.copytree(adapters / "mood", folder / "mood")
    with serving(folder, watch=0.05) as running:

        def wait_for(wanted):
            for _ in range(200):
                reply = running.post("/classify", model="new", input=SENTENCES[0])
                found = reply.json()["data"][0]["probabilities"] if reply.status_code == 200 else reply.status_code
                if found == wanted or (isinstance(found, dict) and found == pytest.approx(wanted, abs=1e-5)):
                    return
            raise AssertionError(f"{found}, not {wanted}")

        wait_for(404)
        wait_for(saved_anew(folder / "new", 1))
        wait_for(saved_anew(folder / "new", 2))
        shutil.rmtree(folder / "new")
        wait_for(404)
        assert running.client.delete("/adapters/mood/first").status_code == 200
        before = probabilities(running, "mood/second")
        folder.rename(tmp_path / "away")  # a disk is away for a moment
        time.sleep(0.3)
        assert probabilities(running, "mood/second") == pytest.approx(before, abs=1e-5)
        (tmp_path / "away").rename(folder)
        saved_anew(folder / "new", 3)
        wait_for(saved_anew(folder / "new", 3))
        assert running.post("/classify", model="mood/first", input="x").status_code == 404  # dropped by hand


def test_a_key_is_asked_for_but_by_the_routes_of_a_load_balancer(adapters):
    with serving(adapters, api_key="secret") as running:
        assert running.client.get("/v1/models").status_code == 401
        wrong = running.client.get("/v1/models", headers={"authorization": "Bearer secret2"})
        assert wrong.json()["error"]["code"] == "invalid_api_key"
        assert running.client.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
        assert running.client.get("/health").json() == {"status": "ok"}
        assert running.client.get("/ready").json() == {"ready": True}


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(adapters):
    with serving(adapters, largest_body=2000) as running:
        assert running.post("/classify", model="words", input="x" * 3000).status_code == 413
        pieces = (b"x" * 500 for _ in range(10))
        assert running.client.post("/classify", content=pieces).status_code == 413
        assert running.post("/classify", model="words", input="x").status_code == 200


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": NaN}', b"null"])
def test_what_is_no_request_is_refused_as_one(running, content):
    headers = {"content-type": "application/json"}
    for route in ("/classify", "/v1/chat/completions", "/adapters"):
        found = running.client.post(route, content=content, headers=headers)
        assert found.status_code in (400, 422), (found.status_code, found.text)
        assert found.json()["error"]["message"]


def test_every_request_has_an_id_its_own_if_it_is_a_word(running):
    own = running.client.get("/health", headers={"x-request-id": "mine-1"})
    assert own.headers["x-request-id"] == "mine-1"
    other = running.client.get("/health", headers={"x-request-id": 'no "word"'})
    assert len(other.headers["x-request-id"]) == 32


def test_the_page_of_the_api_has_every_route_and_examples(running):
    found = running.client.get("/openapi.json").json()
    routes = {"/v1/completions", "/v1/chat/completions", "/classify", "/score", "/embed", "/predict", "/v1/models"}
    assert routes | {"/adapters", "/adapters/{name}", "/health", "/ready", "/metrics"} <= {*found["paths"]}
    assert found["components"]["schemas"]["CompletionRequest"]["examples"]


def test_counts_are_kept_for_each_adapter(adapters):
    with serving(adapters) as running:
        running.answer("/classify", model="words", input=SENTENCES)
        running.post("/classify", model="nothing", input="x")
        text = running.client.get("/metrics").text
    for line in (
        'hyperadapters_adapter_rows_total{adapter="words"} 4.0',
        'hyperadapters_adapter_seconds_count{adapter="words"} 1.0',
        'hyperadapters_requests_total{route="/classify",status="200"} 1.0',
        'hyperadapters_requests_total{route="/classify",status="404"} 1.0',
        "hyperadapters_queue_rows 0.0",
        "hyperadapters_adapters_known 10.0",
    ):
        assert line in text
    assert "nothing" not in text


def test_adapters_without_a_task_give_vectors(tmp_path):
    model, _ = load_backbone(str(tiny_encoder(tmp_path / "encoder")), head="none")
    for name in ("one", "two"):
        delta = attach(model, METHODS["compacter++"], name=name)
        with torch.no_grad():
            for tensor in delta.trained().values():
                tensor.add_(0.3 * torch.randn_like(tensor))
        delta.save(tmp_path / "adapters" / name)
        delta.detach()
    with serving(tmp_path / "adapters") as running:
        found = {n: running.answer("/embed", model=n, input=SENTENCES)["data"] for n in ("one", "two")}
        assert running.post("/classify", model="one", input="x").status_code == 422
        assert running.post("/v1/completions", model="one", prompt="x").status_code == 422
    vectors = torch.tensor([row["embedding"] for row in found["one"]])
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(4), atol=1e-5)
    assert not torch.allclose(vectors, torch.tensor([row["embedding"] for row in found["two"]]), atol=1e-2)


def test_conversations_are_answered_by_the_adapters_that_were_trained_on_them(tmp_path):
    model, tokenizer = load_backbone()
    tokenizer.chat_template = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }} {% endfor %}"
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "backbone")
    model, _ = load_backbone(str(tmp_path / "backbone"))
    save_task(
        tmp_path / "adapters" / "chat", model, TaskFormat("chat", ("messages",), FreeText(), style="conversation")
    )
    turns = [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "a film"},
        {"role": "assistant", "content": "a fine film"},
        {"role": "user", "content": [{"type": "text", "text": "and "}, {"type": "text", "text": "this one ?"}]},
    ]
    plain = [{**turn, "content": "and this one ?"} if isinstance(turn["content"], list) else turn for turn in turns]
    predictor = load_predictor(tmp_path / "adapters" / "chat")
    with serving(tmp_path / "adapters") as running:
        found = running.answer("/v1/chat/completions", model="chat", messages=turns)
        assert found["choices"][0]["message"]["content"] == predictor([{"messages": plain}])[0]
        text = running.answer("/v1/completions", model="chat", prompt="a film")["choices"][0]["text"]
        assert text == predictor(predictor.rows(["a film"]))[0]
        wrong = running.post("/v1/chat/completions", model="chat", messages=[{"role": "robot", "content": "x"}])
        assert wrong.status_code == 422


CALL = {"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("audio", {"voice": "alloy"}),
        ("best_of", 2),
        ("echo", True),
        ("frequency_penalty", 0.5),
        ("function_call", {"name": "search"}),
        ("functions", [{"name": "search"}]),
        ("logit_bias", {"5": 100}),
        ("logprobs", 0),
        ("logprobs", True),
        ("min_p", 0.1),
        ("modalities", ["text", "audio"]),
        ("presence_penalty", -1),
        ("reasoning_effort", "high"),
        ("repetition_penalty", 1.2),
        ("response_format", {"type": "json_object"}),
        ("suffix", "end"),
        ("tool_choice", "required"),
        ("tools", [{"type": "function"}]),
        ("top_k", 5),
        ("top_logprobs", 3),
        ("web_search_options", {}),
    ],
)
def test_a_setting_that_would_change_the_answer_and_is_not_done_is_refused(setting, value, running):
    chat = {"model": "free", "messages": [{"role": "user", "content": "x"}]}
    for route, body in {"/v1/completions": {"model": "free", "prompt": "x"}, "/v1/chat/completions": chat}.items():
        reply = running.post(route, **body, **{setting: value})
        assert reply.status_code == 422
        assert f"'{setting}' is not " in reply.json()["error"]["message"]


def test_settings_that_ask_for_nothing_change_nothing(running):
    nothing = {
        **{"best_of": 1, "echo": False, "frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}},
        **{"logprobs": None, "suffix": None, "tools": [], "tool_choice": "auto", "functions": None, "top_logprobs": 0},
        **{"response_format": {"type": "text"}, "parallel_tool_calls": True, "user": "someone", "store": False},
    }
    for route, body in {
        "/v1/completions": {"prompt": SENTENCES[0]},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": SENTENCES[0]}]},
    }.items():
        plain = running.answer(route, model="free", **body)
        assert running.answer(route, model="free", **body, **nothing)["choices"] == plain["choices"]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"tool_calls": [CALL]}, "messages.0: 'tool_calls' is not supported here"),
        ({"content": None, "tool_calls": [CALL]}, "messages.0: 'tool_calls' is not supported here"),
        ({"function_call": {"name": "search"}}, "'function_call' is not supported here"),
        ({"tool_call_id": "1", "refusal": "no"}, "'tool_call_id' is not supported here; 'refusal' is not supported"),
        ({"reasoning_content": "because"}, "'reasoning_content' is not supported here"),
        ({"weight": 0}, "'weight' is not known here"),
        ({"name": 3}, "name"),
        ({"content": [{"type": "text", "text": "x", "image": "y"}]}, "image: Extra inputs are not permitted"),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "content"),
    ],
)
def test_what_a_message_holds_beside_its_text_is_refused(others, said, running):
    message = {"role": "user", "content": "x", **others}
    reply = running.post("/v1/chat/completions", model="free", messages=[message])
    assert reply.status_code == 422
    assert said in reply.json()["error"]["message"]


def test_a_message_may_have_a_name_and_fields_that_say_nothing(running):
    nothing = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    plain = {"role": "user", "content": SENTENCES[0]}
    given, wanted = (
        running.answer("/v1/chat/completions", model="free", messages=[message])["choices"]
        for message in ({**plain, "name": "anna", **nothing}, plain)
    )
    assert given == wanted


def test_a_stream_is_not_obfuscated(running):
    body = {"model": "free", "prompt": "x", "stream": True}
    assert running.post("/v1/completions", **body, stream_options={"include_obfuscation": True}).status_code == 422
    assert running.post("/v1/completions", **body, stream_options={"include_obfuscation": False}).status_code == 200


def test_one_server_has_encoders_with_heads_of_every_kind(tmp_path):
    place = tiny_encoder(tmp_path / "encoder")
    own = {
        "labels": ("sequence", TaskFormat("l", ("text",), Labels(("no", "yes")), style="bare")),
        "wide": ("sequence", TaskFormat("w", ("text",), Labels(tuple("abcdefg")), style="bare")),
        "several": ("sequence", TaskFormat("s", ("text",), LabelSet(("x", "y", "z")), style="bare")),
        "tags": ("token", TaskFormat("t", ("words",), TagSequence(("O", "B-X", "I-X")), style="words")),
        "span": ("token", TaskFormat("q", ("question", "context"), AnswerSpan())),
    }
    for name, (head, form) in own.items():
        save_task(tmp_path / "adapters" / name, load_backbone(str(place), head=head)[0], form)
    rows = {
        "tags": [{"words": ["the", "king", "left"]}],
        "span": [{"question": "who left ?", "context": "the tall king left the shy monk ."}],
    }
    with serving(tmp_path / "adapters") as running:
        for name in own:
            asked = rows.get(name, [{"text": text} for text in SENTENCES])
            found = running.answer("/predict", model=name, rows=asked)["predictions"]
            assert [row["prediction"] for row in found] == load_predictor(tmp_path / "adapters" / name)(asked)
        assert len(running.server.engine._loaded._models) == 2
        wide = running.answer("/classify", model="wide", input="a film")["data"][0]["probabilities"]
        assert len(wide) == 7
        asked = [{"text": text} for text in SENTENCES]
        wanted = load_predictor(tmp_path / "adapters" / "several").scored(asked, top=2)
        found = running.answer("/predict", model="several", rows=asked, top=2)["predictions"]
        assert [row["prediction"] for row in found] == [one.prediction for one in wanted]
        assert [row["scores"] for row in found] == [pytest.approx(one.scores, rel=1e-5) for one in wanted]
        classes = running.answer("/classify", model="several", input=SENTENCES)["data"]
        assert [one["label"] for one in classes] == [one.prediction for one in wanted]
        words = running.answer("/v1/completions", model="tags", prompt="the king left")["choices"][0]["text"]
        assert (
            json.loads(words)
            == running.answer("/predict", model="tags", rows=rows["tags"])["predictions"][0]["prediction"]
        )

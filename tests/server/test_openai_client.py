"""OpenAI's own client talks to the server."""

import asyncio

import openai
import pytest
from http_server import serving
from saved_adapters import SENTENCES
from tiny_encoders import tiny_encoder

from hyperadapters import METHODS, attach, load_backbone, load_predictor


@pytest.fixture
def client(running):
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_adapters_are_its_models(client):
    assert {model.id for model in client.models.list()} >= {"words", "mix/demo/sentiment"}
    assert client.models.retrieve("mix/demo/sentiment").id == "mix/demo/sentiment"
    with pytest.raises(openai.NotFoundError, match="knows no task 'nothing'"):
        client.models.retrieve("nothing")


def test_completions_and_chats_are_answered_whole_and_as_a_stream(client, adapters):
    alone = load_predictor(adapters / "free")([{"sentence": SENTENCES[0]}])[0]
    found = client.completions.create(model="free", prompt=SENTENCES[0])
    assert (found.choices[0].text, found.choices[0].finish_reason) == (alone, "stop")
    messages = [{"role": "user", "content": SENTENCES[0]}]
    chat = client.chat.completions.create(model="free", messages=messages, temperature=0, user="someone")
    assert (chat.choices[0].message.content, chat.choices[0].message.role) == (alone, "assistant")
    assert chat.usage.completion_tokens > 0
    pieces = list(client.chat.completions.create(model="free", messages=messages, stream=True))
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == alone
    pair = {"sentence1": "a king", "sentence2": "a monk"}
    labels = client.completions.create(model="pairs", prompt="", extra_body={"prompt": pair})
    assert labels.choices[0].text == load_predictor(adapters / "pairs")([pair])[0]


def test_what_is_wrong_is_the_clients_own_error(client):
    with pytest.raises(openai.UnprocessableEntityError, match="logprobs"):
        client.completions.create(model="free", prompt="x", logprobs=2)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nothing", prompt="x", stream=True)


def test_many_requests_at_once_are_answered_by_their_own_adapters(running, adapters):
    names = ["mood/first", "mood/second", "free", "beams", "whole"]
    asked = [(name, text) for text in SENTENCES for name in names] * 2

    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(client.completions.create(model=n, prompt=text) for n, text in asked))

    found = asyncio.run(ask())
    expected = {name: load_predictor(adapters / name) for name in names}
    for (name, text), reply in zip(asked, found, strict=True):
        assert reply.choices[0].text == expected[name]([{"sentence": text}])[0]


def test_vectors_are_embeddings(tmp_path):
    model, _ = load_backbone(str(tiny_encoder(tmp_path / "encoder")), head="none")
    attach(model, METHODS["compacter++"], name="search").save(tmp_path / "adapters" / "search")
    with serving(tmp_path / "adapters") as running:
        plain = running.answer("/embed", model="search", input=SENTENCES)["data"]
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none") as client:
            found = client.embeddings.create(model="search", input=SENTENCES).data
    for row, other in zip(found, plain, strict=True):
        assert row.embedding == pytest.approx(other["embedding"], abs=1e-6)

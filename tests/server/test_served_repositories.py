"""Adapters in repositories of the Hub are served, those that are pushed later too."""

import shutil

import pytest
import torch
from http_server import serving
from hub_server import hub_server
from hub_settings import hub_settings
from saved_adapters import SENTENCES, save

from hyperadapters import METHODS, load_backbone, load_predictor
from hyperadapters.delta import Upload
from hyperadapters.storage import push_adapters


@pytest.fixture
def hub(tmp_path):
    with hub_server() as (address, state), hub_settings(address, tmp_path / "home"):
        yield state


def probabilities(running, name):
    return running.answer("/classify", model=name, input=SENTENCES[0])["data"][0]["probabilities"]


def alone(folder):
    return pytest.approx(load_predictor(folder).probabilities([{"sentence": SENTENCES[0]}])[0], abs=1e-5)


def test_a_repository_is_served_and_what_is_pushed_to_it_later(hub, adapters, tmp_path):
    folder = tmp_path / "adapters"
    shutil.copytree(adapters / "mood", folder / "mood")
    push_adapters(str(folder), Upload(repository="me/all"))
    with serving("me/all") as running:
        assert probabilities(running, "mood/first") == alone(folder / "mood" / "first")
        torch.manual_seed(3)
        save(folder / "new", load_backbone()[0], METHODS["compacter++"])
        push_adapters(str(folder), Upload(repository="me/all"))
        assert running.post("/classify", model="new", input="x").status_code == 404
        running.answer("/adapters", name="new")
        assert probabilities(running, "new") == alone(folder / "new")
        assert probabilities(running, "mood/second") == alone(folder / "mood" / "second")
        assert running.post("/adapters", name="nothing").status_code == 422


def test_clients_add_adapters_of_repositories_where_they_may(hub, adapters, tmp_path):
    push_adapters(str(adapters / "words"), Upload(repository="me/words"))
    shutil.copytree(adapters / "mood", tmp_path / "adapters" / "mood")
    with serving(tmp_path / "adapters", from_hub=True, watch=0.05) as running:
        running.answer("/adapters", name="theirs", repository="me/words")
        assert probabilities(running, "theirs") == alone(adapters / "words")
        missing = running.post("/adapters", name="other", repository="me/nothing")
        assert (missing.status_code, missing.json()["error"]["code"]) == (503, "hub_unavailable")
        assert running.post("/adapters", name="other", repository="/etc").status_code == 422
        assert running.client.delete("/adapters/theirs").status_code == 200
        assert running.post("/classify", model="theirs", input="x").status_code == 404

"""Adapters on the Hub: pushed to, and loaded from, a stand-in of it on this machine, its cache, or neither."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hub_server import TOKEN, HubState, hub_server
from hub_settings import hub_settings
from huggingface_hub import ModelCard, hf_api
from transformers import Trainer, TrainingArguments

from hyperadapters import Delta, InputError, attach, load, load_backbone
from hyperadapters.delta import Upload
from hyperadapters.storage import locate_adapter, push_adapters
from hyperadapters.storage.repositories import _parse_repository

CLOSED = "http://127.0.0.1:9"
"""An address where nothing answers."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An adapter of the package's T5, with a run's files beside it, and its tensors' sum."""
    backbone, _ = load_backbone()
    folder = tmp_path_factory.mktemp("runs") / "mine"
    attach(backbone, "compacter++", name="mine", seed=3).save(folder)
    (folder / "experiment.json").write_text(json.dumps({"data": "/home/me/secret"}))
    (folder / "checkpoint.pt").write_bytes(b"x")
    return folder


class Hub(NamedTuple):
    """The stand-in, and the folder of what is fetched from it."""

    address: str
    state: HubState
    home: Path

    def asked(self, action, *values, endpoint="", token=TOKEN, offline=False):
        """Return what an action gives, or what it says against it, with the stand-in as the Hub of this process."""
        with hub_settings(endpoint or self.address, self.home, token=token, offline=offline):
            try:
                return action(*values)
            except InputError as error:
                return f"{type(error).__name__}: {error}"


@pytest.fixture
def hub(tmp_path):
    with hub_server() as (address, state):
        yield Hub(address, state, tmp_path / "home")


def push(hub, folder, *, repository="me/mine", as_token=TOKEN, endpoint="", offline=False, **options):
    upload = Upload(repository=repository, **options)
    said = hub.asked(push_adapters, str(folder), upload, token=as_token, endpoint=endpoint, offline=offline)
    return said if isinstance(said, str) else said.address


def fetch(hub, *places, **settings):
    return [str(hub.asked(locate_adapter, place, **settings)) for place in places]


def total(delta):
    return float(sum(tensor.detach().double().abs().sum() for tensor in delta.tensors().values()))


LOAD = """
import json
import hyperadapters as ha
delta = ha.load("me/mine")
print(json.dumps([delta.name, float(sum(t.detach().double().abs().sum() for t in delta.tensors().values()))]))
"""


def loaded_elsewhere(hub):
    """The name and the sum of an adapter that a process of its own loads, which knows the Hub by its environment."""
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(hub.home), "HF_HUB_CACHE": str(hub.home / "hub")}
    own |= {"HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    words = [sys.executable, "-c", LOAD]
    done = subprocess.run(words, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Retrying" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_pushed_adapter_loads_from_the_hub_and_later_without_it(hub, saved):
    assert push(hub, saved).startswith(f"{hub.address}/me/mine/commit/")
    files = hub.state.files("me/mine")
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert files["adapter_model.safetensors"] == (saved / "adapter_model.safetensors").read_bytes()
    assert loaded_elsewhere(hub) == ["mine", total(load(saved))]
    (place,) = fetch(hub, "me/mine", endpoint=CLOSED)
    assert (Path(place) / "adapter_model.safetensors").read_bytes() == files["adapter_model.safetensors"]
    assert fetch(hub, "me/mine", offline=True) == [place]


def test_the_card_on_the_hub_says_where_the_adapter_is_and_under_what_licence(hub, saved):
    push(hub, saved, revision="v2", license="apache-2.0", language="en")
    card = ModelCard(hub.state.files("me/mine", "v2")["README.md"].decode())
    assert 'ha.load("me/mine@v2")' in card.text
    assert "PATH_OF_THIS_FOLDER" not in card.text
    assert (card.data.license, card.data.language) == ("apache-2.0", "en")
    assert hub.state.files("me/mine", "main") == {}


def test_revisions_are_branches_and_commits(hub, saved):
    push(hub, saved, revision="feature/x")
    commit = hub.state.branches["me/mine"]["feature/x"]
    main, branch, exact, absent = fetch(hub, "me/mine", "me/mine@feature/x", f"me/mine@{commit}", "me/mine@v9")
    assert "on the Hub it has no adapter_config.json" in main
    assert branch == exact
    assert branch.endswith(commit)
    assert "me/mine@v9" in absent
    assert "on the Hub it has no such revision" in absent


def test_a_live_delta_is_pushed_as_it_would_be_saved(hub):
    backbone, _ = load_backbone()
    delta = attach(backbone, "compacter++", name="live", seed=0)
    address = hub.asked(lambda: delta.push_to_hub("me/live", private=True, license="mit"))
    assert address.startswith(f"{hub.address}/me/live/commit/")
    assert hub.state.private["me/live"]
    assert sorted(hub.state.files("me/live")) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    again = hub.asked(load, "me/live")
    assert all((delta.tensors()[key] == tensor).all() for key, tensor in again.tensors().items())
    (found,) = fetch(hub, "me/live", token="hf_other")
    assert "in the local Hub cache" not in found  # it was fetched above: the cache serves it


def test_a_public_repository_does_not_take_what_is_to_be_private(hub, saved):
    hub.state.make("me/mine", private=False)
    assert "the repository me/mine exists and is public" in push(hub, saved, private=True)
    assert hub.state.files("me/mine") == {}


def test_the_hub_says_why_it_has_no_adapter(hub, saved):
    push(hub, saved, private=True)
    hub.state.make("me/gated", private=False)
    hub.state.gated.add("me/gated")
    places = ("me/none", "me/gated", "me/mine")
    found = fetch(hub, *places, token="hf_other")
    assert all(
        text.startswith(f"UnavailableError: there is no adapter at {p}") for p, text in zip(places, found, strict=True)
    )
    assert "the Hub has no such model, or it is private" in found[0]
    assert "access must be granted on its page" in found[1]
    assert "or it is private: then `hf auth login`" in found[2]
    assert all(text.count("\n") == 0 for text in found)


def test_a_hub_that_does_not_answer_is_said_in_seconds(hub, saved):
    (found,) = fetch(hub, "me/mine", endpoint=CLOSED)
    assert "the Hub at http://127.0.0.1:9 does not answer" in found
    text = push(hub, saved, endpoint=CLOSED)
    assert text.startswith("UnavailableError: me/mine cannot be uploaded to")
    text = push(hub, saved, offline=True)
    assert text == "UnavailableError: me/mine cannot be uploaded to: HF_HUB_OFFLINE is set."


def test_an_account_that_may_not_write_and_a_bad_card_upload_nothing(hub, saved):
    text = push(hub, saved, as_token="hf_other")
    assert "the Hub says" in text
    assert "hf auth login" in text
    assert "the model card (README.md) cannot be uploaded" in push(hub, saved, license="my: own")
    assert hub.state.branches == {}


@pytest.mark.parametrize("damage", ["both", "config", "tensors"])
def test_a_folder_that_is_no_whole_adapter_is_not_pushed(hub, saved, tmp_path, damage):
    folder = tmp_path / "copy"
    folder.mkdir()
    if damage != "config":
        (folder / "adapter_config.json").write_bytes((saved / "adapter_config.json").read_bytes())
    if damage == "tensors":
        (folder / "adapter_model.safetensors").write_bytes((saved / "adapter_model.safetensors").read_bytes()[:-4])
    assert push(hub, folder).startswith("InputError")
    assert hub.state.asked == []


@pytest.mark.parametrize("name", ["name", "a/b/c", "a b/c", "me/na:me", "", "/x", "me/..", "-a/b"])
def test_what_is_no_name_of_a_repository_is_refused(name, tiny):
    delta: Delta = attach(tiny, "bitfit")
    with pytest.raises(InputError, match="is no name of a repository of the Hub"):
        delta.push_to_hub(name)


def test_a_folder_comes_before_the_hub_and_other_paths_are_not_looked_for_there(tmp_path, monkeypatch, saved):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "mine").symlink_to(saved)
    assert locate_adapter("me/mine").samefile(saved)
    for place in ("nothing", "a/b/c", "./a/b", str(tmp_path / "a"), "a/ b", "a@b", "~/a"):
        with pytest.raises(InputError, match=r"there is no adapter at .*: no such folder\.$"):
            locate_adapter(place)
    (tmp_path / "me" / "file").write_text("")
    with pytest.raises(InputError, match=r"no such folder\.$"):
        locate_adapter("me/file")


def test_a_name_may_have_a_revision():
    assert _parse_repository("me/mine@refs/pr/1") == ("me/mine", "refs/pr/1")
    assert _parse_repository("me/mine") == ("me/mine", "")
    assert _parse_repository("me/mine@") is None


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of how huggingface_hub uploads
def test_a_trainer_pushes_the_card_of_the_delta(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hf_api.api, "endpoint", hub.address)  # of the Hub's functions, which transformers calls
    backbone, tokenizer = load_backbone()
    delta = attach(backbone, "compacter++", name="mine", seed=0)
    rows = [{**tokenizer("a king"), "labels": tokenizer("a monk").input_ids}] * 4
    options = {"max_steps": 1, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True}
    options |= {"hub_model_id": "me/trained", "disable_tqdm": True, "dataloader_pin_memory": False}
    trainer = Trainer(backbone, TrainingArguments(str(tmp_path / "out"), **options), train_dataset=rows)
    trainer.train()
    hub.asked(lambda: trainer.push_to_hub(license="mit", language="en", tags="news"))
    loaded = hub.asked(load, "me/trained")
    assert all((delta.tensors()[key] == tensor).all() for key, tensor in loaded.tensors().items())
    files = hub.state.files("me/trained")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
    content = hub.state.blobs.get(files["README.md"], files["README.md"])
    card = ModelCard(content if isinstance(content, str) else content.decode())
    assert (card.data.library_name, card.data.license, card.data.language) == ("hyperadapters", "mit", "en")
    assert {"adapter", "news"} <= set(card.data.tags)
    assert 'ha.load("me/trained"' in card.text
    with delta.disabled():
        trainer.create_model_card()
    assert "library_name: transformers" in (tmp_path / "out" / "README.md").read_text()

"""Adapters on the Hub: pushed to, and loaded from, a stand-in of it on this machine, its cache, or neither."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import TOKEN, hub_server
from huggingface_hub import ModelCard

from hyperadapters import Delta, InputError, attach, load, load_backbone
from hyperadapters.storage.repositories import _parse_repository, locate_adapter

BEGIN = """
import json, sys
import hyperadapters as ha
from hyperadapters.storage import locate_adapter
def said(action, *values, **options):
    try:
        return str(action(*values, **options))
    except ha.InputError as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An adapter of the package's T5, with a run's files beside it, and its tensors' sum."""
    backbone, _ = load_backbone()
    folder = tmp_path_factory.mktemp("runs") / "mine"
    attach(backbone, "compacter++", name="mine", seed=3).save(folder)
    (folder / "experiment.json").write_text(json.dumps({"data": "/home/me/secret"}))
    (folder / "checkpoint.pt").write_bytes(b"x")
    return folder


@pytest.fixture
def hub(tmp_path):
    """Runs Python with the stand-in as the Hub and a cache of its own; gives the JSON of the last line."""
    with hub_server() as (address, state):

        def run(script, *words, endpoint=address, token=TOKEN, offline="0"):
            own = {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": offline}
            own |= {"HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
            done = subprocess.run(
                [sys.executable, "-c", BEGIN + script, *map(str, words)],
                env={**os.environ, **own},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            assert "Retrying" not in done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        run.state, run.address = state, address
        yield run


PUSH = """
from hyperadapters.delta import Upload
from hyperadapters.storage import push_adapters
options = json.loads(sys.argv[2])
print(json.dumps(said(lambda: push_adapters(sys.argv[1], Upload(**options)).address)))
"""


def push(hub, folder, **options):
    token = options.pop("as_token", TOKEN)
    return hub(PUSH, folder, json.dumps({"repository": "me/mine", **options}), token=token)


FETCH = "print(json.dumps([said(locate_adapter, place) for place in sys.argv[1:]]))"


def test_a_pushed_adapter_loads_from_the_hub_and_later_without_it(hub, saved, tmp_path):
    assert push(hub, saved).startswith(f"{hub.address}/me/mine/commit/")
    files = hub.state.files("me/mine")
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert files["adapter_model.safetensors"] == (saved / "adapter_model.safetensors").read_bytes()
    script = """
delta = ha.load("me/mine")
print(json.dumps([delta.name, float(sum(t.detach().double().abs().sum() for t in delta.tensors().values()))]))
"""
    name, total = hub(script)
    delta = load(saved)
    assert (name, total) == ("mine", float(sum(t.detach().double().abs().sum() for t in delta.tensors().values())))
    (place,) = hub(FETCH, "me/mine", endpoint="http://127.0.0.1:9")
    assert (Path(place) / "adapter_model.safetensors").read_bytes() == (
        saved / "adapter_model.safetensors"
    ).read_bytes()
    assert hub(FETCH, "me/mine", offline="1") == [place]


def test_the_card_on_the_hub_says_where_the_adapter_is_and_under_what_licence(hub, saved):
    push(hub, saved, revision="v2", license="apache-2.0", language="en")
    card = ModelCard(hub.state.files("me/mine", "v2")["README.md"].decode())
    assert 'ha.load("me/mine@v2")' in card.text
    assert "PATH_OF_THIS_FOLDER" not in card.text
    assert (card.data.license, card.data.language) == ("apache-2.0", "en")
    assert hub.state.files("me/mine", "main") == {}


@pytest.mark.slow
def test_revisions_are_branches_and_commits(hub, saved):
    push(hub, saved, revision="feature/x")
    commit = hub.state.branches["me/mine"]["feature/x"]
    main, branch, exact, absent = hub(FETCH, "me/mine", "me/mine@feature/x", f"me/mine@{commit}", "me/mine@v9")
    assert "on the Hub it has no adapter_config.json" in main
    assert branch == exact
    assert branch.endswith(commit)
    assert "me/mine@v9" in absent
    assert "on the Hub it has no such revision" in absent


@pytest.mark.slow
def test_a_live_delta_is_pushed_as_it_would_be_saved(hub):
    script = """
backbone, _ = ha.load_backbone()
delta = ha.attach(backbone, "compacter++", name="live", seed=0)
address = delta.push_to_hub("me/live", private=True, license="mit")
again = ha.load("me/live")
same = all((delta.tensors()[key] == tensor).all() for key, tensor in again.tensors().items())
print(json.dumps([address, bool(same)]))
"""
    address, same = hub(script)
    assert same
    assert address.startswith(f"{hub.address}/me/live/commit/")
    assert hub.state.private["me/live"]
    assert sorted(hub.state.files("me/live")) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    (found,) = hub(FETCH, "me/live", token="hf_other")
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
    found = hub(FETCH, *places, token="hf_other")
    assert all(
        text.startswith(f"UnavailableError: there is no adapter at {p}") for p, text in zip(places, found, strict=True)
    )
    assert "the Hub has no such model, or it is private" in found[0]
    assert "access must be granted on its page" in found[1]
    assert "or it is private: then `hf auth login`" in found[2]
    assert all(text.count("\n") == 0 for text in found)


@pytest.mark.slow  # tests/backbones/test_locations.py has a Hub that does not answer
def test_a_hub_that_does_not_answer_is_said_in_seconds(hub, saved):
    (found,) = hub(FETCH, "me/mine", endpoint="http://127.0.0.1:9")
    assert "the Hub at http://127.0.0.1:9 does not answer" in found
    text = hub(PUSH, saved, json.dumps({"repository": "me/mine"}), endpoint="http://127.0.0.1:9")
    assert text.startswith("UnavailableError: me/mine cannot be uploaded to")
    text = hub(PUSH, saved, json.dumps({"repository": "me/mine"}), offline="1")
    assert text == "UnavailableError: me/mine cannot be uploaded to: HF_HUB_OFFLINE is set."


@pytest.mark.slow
def test_an_account_that_may_not_write_and_a_bad_card_upload_nothing(hub, saved):
    text = push(hub, saved, as_token="hf_other")
    assert "the Hub says" in text
    assert "hf auth login" in text
    assert "the model card (README.md) cannot be uploaded" in push(hub, saved, license="my: own")
    assert hub.state.branches == {}


@pytest.mark.parametrize(
    "damage", ["both", *(pytest.param(name, marks=pytest.mark.slow) for name in ("config", "tensors"))]
)
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


TRAIN = """
import torch
from transformers import Trainer, TrainingArguments
backbone, tokenizer = ha.load_backbone()
delta = ha.attach(backbone, "compacter++", name="mine", seed=0)
rows = [{**tokenizer("a king"), "labels": tokenizer("a monk").input_ids}] * 4
arguments = TrainingArguments(
    "out", max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, hub_model_id="me/trained",
    disable_tqdm=True, dataloader_pin_memory=False,
)
trainer = Trainer(backbone, arguments, train_dataset=rows)
trainer.train()
trainer.push_to_hub(license="mit", language="en", tags="news")
loaded = ha.load("me/trained")
same = all((delta.tensors()[key] == tensor).all() for key, tensor in loaded.tensors().items())
with delta.disabled():
    trainer.create_model_card()
print(json.dumps([bool(same), open("out/README.md").read()]))
"""


@pytest.mark.slow
def test_a_trainer_pushes_the_card_of_the_delta(hub):
    same, without_delta = hub(TRAIN)
    assert same
    files = hub.state.files("me/trained")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
    content = hub.state.blobs.get(files["README.md"], files["README.md"])
    card = ModelCard(content if isinstance(content, str) else content.decode())
    assert (card.data.library_name, card.data.license, card.data.language) == ("hyperadapters", "mit", "en")
    assert {"adapter", "news"} <= set(card.data.tags)
    assert 'ha.load("me/trained"' in card.text
    assert "library_name: transformers" in without_delta

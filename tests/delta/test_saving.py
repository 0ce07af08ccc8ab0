"""Where a Delta is saved, and what transformers and PEFT find there."""

import copy
import json

import pytest
from transformers import AutoModelForSeq2SeqLM

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach, load


@pytest.fixture
def delta(tiny):
    return attach(tiny, METHODS["compacter++"])


def test_a_folder_that_holds_a_model_takes_no_adapter_and_its_model_still_loads(delta, tiny, tmp_path):
    with delta.disabled():
        tiny.save_pretrained(tmp_path / "model")
    before = sorted(path.name for path in (tmp_path / "model").iterdir())
    with pytest.raises(
        InputError, match=r"holds a model \(model.safetensors, config.json\).*Save the adapter in a folder"
    ):
        delta.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == before
    delta.save(tmp_path / "model" / "adapter")
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").config.d_model == tiny.config.d_model
    load(tmp_path / "model" / "adapter", AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model"))


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"])
def test_weights_alone_are_a_model_too(name, delta, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="holds a model"):
        delta.save(tmp_path)


def test_a_config_of_something_else_is_no_model(delta, tmp_path):
    (tmp_path / "config.json").write_text('{"colour": "red"}')
    delta.save(tmp_path)
    delta.save(tmp_path)  # over itself


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # peft asks it
def test_the_files_say_what_transformers_and_peft_look_for(delta, tiny, tmp_path):
    """PEFT opens it, and where transformers would load it layer by layer, PEFT refuses the type by its name."""
    peft = pytest.importorskip("peft")
    with delta.disabled():
        tiny.save_pretrained(tmp_path / "model")
    backbone = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    attach(backbone, METHODS["compacter++"]).save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "model")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    assert peft.PeftModel.from_pretrained(again, tmp_path / "adapter").active_adapters == ["default"]
    with pytest.raises(ValueError, match="HYPERADAPTERS"):
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "adapter")


def test_a_state_of_a_delta_of_another_name_is_refused_and_one_that_lacks_some_is_not(tiny):
    """Trainer goes on from a checkpoint without `strict`: the Delta would keep what it has."""
    one = attach(tiny, "houlsby", "one")
    state = dict(tiny.state_dict())
    other = make_tiny()
    attach(other, "houlsby", "other")
    with pytest.raises(InputError, match=r"holds the Delta\(s\) one, and the backbone has other"):
        other.load_state_dict(state, strict=False)
    again = make_tiny()
    attach(again, "houlsby", "one")
    again.load_state_dict(state)
    attach(again, "houlsby", "two")
    again.load_state_dict(state, strict=False)
    again.load_state_dict({}, strict=False)
    copied = copy.deepcopy(again)
    copied.load_state_dict(state, strict=False)
    assert one.in_use

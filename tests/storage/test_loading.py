"""Adapters on disk: what is written, and every way a file can be wrong."""

import json
import struct

import pytest
import torch
from families import FAMILIES
from safetensors.torch import load_file, save_file

from conftest import make_tiny
from hyperadapters import METHODS, InputError, Pool, attach, load, load_backbone, method_named
from hyperadapters._utils import read_json, read_tensors, write_json
from hyperadapters._utils.tensor_files import _tensors_digest
from hyperadapters.delta.saving import CONFIG, TENSORS


@pytest.fixture
def saved(tiny, tmp_path):
    return attach(tiny, METHODS["compacter"], name="mrpc").save(tmp_path / "mrpc")


def edit(folder, **changes):
    """Change the config as one that was saved like this."""
    write_json(folder / CONFIG, {**read_json(folder / CONFIG), **changes})


def refuses(folder, match, backbone=None):
    """Loading fails with this message, and the backbone is as it was."""
    backbone = backbone or make_tiny()
    keys, random = list(backbone.state_dict()), torch.get_rng_state()
    with pytest.raises(InputError, match=match) as caught:
        load(folder, backbone)
    assert list(backbone.state_dict()) == keys
    assert torch.equal(torch.get_rng_state(), random)
    return str(caught.value)


def test_a_folder_holds_config_tensors_and_card(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", CONFIG, TENSORS]
    config = json.loads((saved / CONFIG).read_text())
    assert config["method"] == {
        "type": "Compacter",
        "bottleneck": 24,
        "positions": ["attention", "feed_forward"],
        "stacks": ["encoder", "decoder"],
        "first_layer": 0,
        "activation": "gelu_new",
        "norms": True,
        "output_layer": False,
        "placement": "in_line",
        "scaling": 1.0,
        "post_norm": False,
        "n": 4,
        "rank": 1,
        "shared_slow": True,
        "train_slow": True,
        "factorized_slow": False,
    }
    assert config["backbone"]["architecture"]["d_model"] == 48
    assert len(config["backbone"]["weights"]) == 64
    assert {"torch", "transformers", "hyperadapters"} <= set(config["versions"])
    card = (saved / "README.md").read_text()
    assert "Compacter" in card
    assert "ha.load(" in card


def test_shared_tensors_are_stored_once(saved):
    tensors = load_file(saved / TENSORS)
    assert [name for name in tensors if "slow" in name] == ["adapters.matrices.slow.weight"]


def test_compacter_plus_plus_for_t5_base_fits_in_450_kilobytes(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    with torch.device("meta"):
        backbone = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    delta = attach(backbone, METHODS["compacter++"])
    save_file({name: torch.zeros(t.shape) for name, t in delta.tensors().items()}, tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").stat().st_size <= 450_000


def test_frozen_slow_weights_come_back(tiny, batch, tmp_path):
    delta = attach(tiny, method_named("compacter", {"train_slow": False}))
    folder = delta.save(tmp_path / "a")
    fresh = make_tiny()
    load(folder, fresh)
    assert torch.equal(fresh(**batch).logits, tiny(**batch).logits)


def test_loading_draws_no_random_numbers(saved):
    backbone, before = make_tiny(), torch.get_rng_state()
    load(saved, backbone)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_said_about_an_adapter_survives(tiny, tmp_path):
    delta = attach(tiny, METHODS["compacter"])
    delta.about = {"scores": {"test": {"accuracy": 0.5}}}
    loaded = load(delta.save(tmp_path / "a"), make_tiny())
    assert loaded.about == delta.about
    assert "accuracy 50.00" in (tmp_path / "a" / "README.md").read_text()


def test_another_architecture_is_named(saved):
    refuses(saved, "trained on another backbone.*num_layers is 3, not 2", make_tiny(num_layers=3))


def test_other_weights_are_told_by_their_hash(saved):
    other = make_tiny()
    with torch.no_grad():
        other.encoder.block[0].layer[0].SelfAttention.q.weight.mul_(1.1)
    refuses(saved, "the weights are others", other)


def test_the_same_backbone_in_bfloat16_is_the_same(saved):
    load(saved, make_tiny().to(torch.bfloat16))


def test_full_fine_tuning_is_told_by_the_backbone_it_started_from(tiny, batch, tmp_path):
    delta = attach(tiny, METHODS["full"])
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.01)
    expected = tiny(**batch).logits
    folder = delta.save(tmp_path / "full")
    fresh = make_tiny()
    load(folder, fresh)
    assert torch.equal(fresh(**batch).logits, expected)
    refuses(folder, "num_layers", make_tiny(num_layers=3))


def test_a_missing_folder_or_config_is_said(tmp_path):
    refuses(tmp_path / "nothing", "no such folder")
    refuses(tmp_path, f"it has no {CONFIG}")


def test_a_newer_format_asks_for_an_update(saved):
    edit(saved, format=99)
    refuses(saved, "format 99; this version reads up to 1. Update: pip install -U hyperadapters")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "does not say its format"),
        ({"method": "compacter"}, "damaged: method"),
        (
            {"backbone": {}},
            "backbone.name, backbone.architecture, backbone.weights, backbone.pooler, backbone.precision, "
            "backbone.head, backbone.pooling missing",
        ),
        ({"backbone": {"precision": "int3"}}, "backbone.precision, backbone.head, backbone.pooling missing or of a"),
        ({"backbone": {"pooling": ["mean"]}}, "backbone.pooling missing or of a wrong type"),
        ({"backbone": {"precision": ["fp32"], "outputs": "2", "layout": 3}}, "backbone.outputs, backbone.precision"),
        ({"precision": {}}, "damaged: precision"),
        ({"method": {"type": ["Compacter"]}}, "damaged: method.type"),
        ({"method": {"type": "Kompacter"}}, "Did you mean Compacter"),
        ({"method": {"type": "FullFineTuning", "lr": 1}}, "method.lr: FullFineTuning has no such field"),
    ],
)
def test_a_damaged_config_is_refused(saved, changes, message):
    edit(saved, **changes)
    refuses(saved, message)


def test_a_config_that_is_no_json_is_refused(saved):
    (saved / CONFIG).write_text("{")
    refuses(saved, "is not JSON")
    (saved / CONFIG).write_text("[]")
    refuses(saved, "holds a list, not a JSON object")


@pytest.mark.parametrize("field", ["bottleneck", "n", "rank"])
def test_a_config_that_asks_for_absurd_sizes_takes_no_memory(saved, field):
    config = json.loads((saved / CONFIG).read_text())
    edit(saved, method={**config["method"], field: 24 * 10**11})
    refuses(saved, "n must divide|does not fit|impossible sizes")


def test_truncated_tensors_are_refused(saved):
    whole = (saved / TENSORS).read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        (saved / TENSORS).write_bytes(whole[:length])
        refuses(saved, "not a whole safetensors file")


def test_tensors_with_more_behind_them_are_refused(saved):
    (saved / TENSORS).write_bytes((saved / TENSORS).read_bytes() + b"more")
    refuses(saved, "not a whole safetensors file")


def test_a_header_that_promises_gigabytes_is_refused_before_memory_is_taken(saved):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (saved / TENSORS).write_bytes(struct.pack("<Q", len(header)) + header)
    refuses(saved, "not a whole safetensors file")


def test_every_bad_tensor_is_in_one_error(saved):
    tensors = load_file(saved / TENSORS)
    del tensors["norms.weight"]
    tensors["adapters.up_bias"] = torch.zeros(1, 2)
    tensors["adapters.down_bias"] = tensors["adapters.down_bias"].to(torch.int32)
    tensors["stranger"] = torch.zeros(1)
    save_file(tensors, saved / TENSORS)
    message = refuses(saved, "does not fit")
    assert "norms.weight: missing" in message
    assert "adapters.up_bias: shape [1, 2], expected [1, 8, 48]" in message
    assert "adapters.down_bias: type I32, expected floating point" in message
    assert "stranger: not part of this method" in message


def test_a_backbone_that_is_not_there_says_where_was_looked(tmp_path):
    with pytest.raises(InputError, match="Looked for a folder.*local Hub cache.*or use 'embedded'"):
        load_backbone("no/such-model")
    with pytest.raises(InputError, match="no config.json in"):
        load_backbone(str(tmp_path))
    with pytest.raises(InputError, match="no config.json in"):
        load_backbone(str(tmp_path / "absent"))


def test_a_backbone_that_is_no_model_of_text_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(InputError, match="is a 'vit', which is no model of text"):
        load_backbone(str(tmp_path))


def test_a_backbone_whose_files_lack_weights_of_the_model_is_refused(tmp_path):
    make_tiny().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.final_layer_norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 weights of T5.*encoder.final_layer_norm.weight"):
        load_backbone(str(tmp_path))


def test_what_an_encoder_lacks_is_the_same_at_every_load(tmp_path):
    from transformers import BertModel

    backbone, tokenizer = FAMILIES["bert"].make(), load_backbone()[1]
    BertModel(backbone.config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    one, other = (load_backbone(str(tmp_path))[0].state_dict() for _ in range(2))
    assert {"classifier.weight", "bert.pooler.dense.weight"} <= set(one)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_pickled_weights_are_not_read(tmp_path):
    backbone = make_tiny()
    backbone.save_pretrained(tmp_path)
    torch.save(backbone.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="could not be loaded"):
        load_backbone(str(tmp_path))


def test_a_flipped_bit_of_the_tensors_is_noticed(saved):
    data = bytearray((saved / TENSORS).read_bytes())
    data[-1001] ^= 0x40
    (saved / TENSORS).write_bytes(data)
    refuses(saved, "was changed after it was written: its checksum does not fit its content")


@pytest.mark.parametrize("key", ["name", "scores", "precision"])
def test_a_config_that_was_edited_is_refused(tiny, tmp_path, key):
    delta = attach(tiny, METHODS["compacter"], name="mrpc")
    delta.about = {"scores": {"test": {"accuracy": 0.5}}}
    folder = delta.save(tmp_path / "a")
    text = (folder / CONFIG).read_text()
    change = {"name": ('"mrpc"', '"mrpx"'), "scores": ("0.5", "0.7"), "precision": ('"fp32"', '"bf16"')}[key]
    (folder / CONFIG).write_text(text.replace(*change))
    refuses(folder, "adapter_config.json was changed after it was written")
    values = json.loads(text)
    del values["checksum"]
    (folder / CONFIG).write_text(json.dumps(values))
    refuses(folder, "adapter_config.json has no checksum")


def test_the_two_files_of_an_adapter_are_of_one_delta(tiny, tmp_path):
    labels = {}
    for name, order in {"one": ["a", "b"], "other": ["b", "a"]}.items():
        delta = attach(tiny, METHODS["compacter"], name=name)
        delta.about = {"task": {"name": "t", "target": {"labels": order}}}
        labels[name] = delta.save(tmp_path / name)
        delta.detach()
    (labels["one"] / CONFIG).write_bytes((labels["other"] / CONFIG).read_bytes())
    refuses(labels["one"], "are not of one adapter")
    with pytest.raises(InputError, match="are not of one adapter"):
        Pool(make_tiny(), {"a": labels["one"]})


def test_scores_that_are_written_later_leave_an_adapter_that_opens(saved):
    edit(saved, name="another", scores={"test": {"accuracy": 0.5}})
    assert load(saved, make_tiny()).about["scores"] == {"test": {"accuracy": 0.5}}


def test_what_is_not_finite_is_neither_saved_nor_loaded(tiny, tmp_path):
    delta = attach(tiny, METHODS["compacter"], name="a")
    with torch.no_grad():
        delta.trained()["adapters.up_bias"].view(-1)[0] = float("nan")
    with pytest.raises(InputError, match="was not written: NaN or infinity in adapters.up_bias"):
        delta.save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_nan_and_a_checksum_that_fits_is_refused(saved):
    tensors, metadata = read_tensors(saved / TENSORS)
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["norms.weight"].view(-1)[3] = float("inf")
    metadata["checksum"] = _tensors_digest(changed, metadata)
    save_file(changed, saved / TENSORS, metadata=metadata)
    refuses(saved, "holds NaN or infinity in norms.weight")
    with pytest.raises(InputError, match="holds NaN or infinity in norms.weight"):
        Pool(make_tiny(), {"a": saved})

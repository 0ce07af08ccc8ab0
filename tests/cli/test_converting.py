"""`hyperadapters convert`: to LoRA exactly or by learning, to AdapterHub's library and back, from Compacter's code."""

import json

import pytest
import torch
from command_line import one_json, refuses, works
from safetensors.torch import load_file

from hyperadapters import Adapter, attach, load, load_backbone

BATCH = {"input_ids": torch.tensor([[5, 6, 7, 8, 1]]), "decoder_input_ids": torch.tensor([[0, 9]])}


def rows_of(path, count):
    rows = [{"text": f"{'bad' if i % 2 else 'good'} film number {i}", "label": "ab"[i % 2]} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def logits(model):
    with torch.no_grad():
        return model.eval()(**BATCH).logits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run with adapters that are not linear, and its rows."""
    folder = tmp_path_factory.mktemp("run")
    rows = rows_of(folder / "rows.jsonl", 40)
    short = ("--set", "training.steps=30", "--set", "training.min_steps=1", "--lr", "1e-2", "--batch-size", "8")
    own = ("--train", rows, "--validation", rows, "--text", "text", "--label", "label")
    works("train", *own, "--method", "houlsby", "--output", folder / "out", *short)
    return folder / "out", rows


@pytest.fixture
def linear(tmp_path):
    """An adapter without a non-linearity, saved, and the logits that it gives."""
    backbone, _ = load_backbone("embedded")
    delta = attach(backbone, Adapter(activation="identity", bottleneck=8), "linear", seed=0)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    return delta.save(tmp_path / "linear"), logits(backbone)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed", "ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_linear_adapter_becomes_lora_that_peft_opens(linear, tmp_path):
    peft = pytest.importorskip("peft")
    folder, expected = linear
    said = works("convert", folder, tmp_path / "lora", "--to", "lora")
    assert f"peft.PeftModel.from_pretrained(backbone, '{tmp_path / 'lora'}')" in said.stdout
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["lora_bias"]) == ("LORA", 8, 8, True)
    opened = peft.PeftModel.from_pretrained(load_backbone("embedded")[0], tmp_path / "lora")
    torch.testing.assert_close(logits(opened), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_learned_lora_is_scored_beside_the_adapter_on_rows_that_it_did_not_see(trained, tmp_path):
    folder, rows = trained
    words = ("convert", folder, tmp_path / "lora", "--to", "lora", "--fit", rows, "--steps", "20", "--rank", "4")
    value = one_json(works(*words, "--json"))
    assert value["fit"]["rows"] == {"train": 32, "test": 8}
    assert value["fit"]["adapter"]["metrics"].keys() == value["fit"]["lora"]["metrics"].keys()
    tensors = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert {tensor.shape[0] for name, tensor in tensors.items() if name.endswith("lora_A.weight")} == {4}
    again = works(*words[:2], tmp_path / "again", *words[3:-4], "--steps", "1").stdout
    assert "8 rows that the LoRA did not learn from" in again
    assert "difference" in again


def test_without_rows_an_adapter_that_is_not_linear_is_refused(tmp_path):
    folder = attach(load_backbone("embedded")[0], "houlsby").save(tmp_path / "bent")
    said = refuses("convert", folder, tmp_path / "lora", "--to", "lora")
    assert "activation='gelu_new' is not linear" in said
    assert not (tmp_path / "lora").exists()


def test_an_adapter_goes_to_adapterhubs_form_and_back(tmp_path):
    backbone, _ = load_backbone("embedded")
    attach(backbone, Adapter(norms=False, bottleneck=8), "there", seed=0).save(tmp_path / "ours")
    expected = logits(backbone)
    said = works("convert", tmp_path / "ours", tmp_path / "theirs", "--to", "adapterhub").stdout
    assert "use_safetensors=True" in said
    where = ("--backbone", "embedded", "--to", "hyperadapters")
    works("convert", tmp_path / "theirs", tmp_path / "back", *where)
    fresh, _ = load_backbone("embedded")
    assert load(tmp_path / "back", fresh).method == Adapter(norms=False, bottleneck=8)
    torch.testing.assert_close(logits(fresh), expected)


def test_a_checkpoint_of_compacters_code_is_converted(tmp_path):
    backbone, _ = load_backbone("embedded")
    width, adapters = backbone.config.d_model, {}
    for stack, last in (("encoder", 1), ("decoder", 2)):
        for layer in range(len(backbone.get_submodule(f"{stack}.block"))):
            for sub in (0, last):
                path = f"{stack}.block.{layer}.layer.{sub}.adapter_controller.adapters.mrpc"
                for sampler, sizes in (("down_sampler", (8, width)), ("up_sampler", (width, 8))):
                    adapters[f"{path}.{sampler}.weight"] = torch.randn(sizes)
                    adapters[f"{path}.{sampler}.bias"] = torch.zeros(sizes[0])
    (tmp_path / "run").mkdir()
    torch.save({**backbone.state_dict(), **adapters}, tmp_path / "run" / "pytorch_model.bin")
    words = ("convert", tmp_path / "run", tmp_path / "ours", "--from", "compacter", "--backbone", "embedded")
    assert "--allow-bin" in refuses(*words, "--to", "hyperadapters")
    works(*words, "--to", "hyperadapters", "--allow-bin")
    delta = load(tmp_path / "ours", backbone)
    assert delta.method == Adapter(norms=False, bottleneck=8)
    own = adapters["encoder.block.0.layer.0.adapter_controller.adapters.mrpc.down_sampler.weight"]
    assert torch.equal(delta.tensors()["adapters.matrices.down"][0, 0], own.T)


def test_options_that_do_not_go_together_are_named_at_once(linear, tmp_path):
    said = refuses("convert", linear[0], tmp_path / "x", "--to", "onnx", "--from", "peft", "--fit", "gone")
    for part in ("--to onnx", "--from peft", "needs --backbone", "goes with --to lora", "gone does not exist"):
        assert part in said
    said = refuses("convert", linear[0], tmp_path / "x", "--to", "lora", "--rank", "4", "--activation", "relu")
    assert "--rank goes with --fit" in said
    assert "--activation goes with --from compacter" in said
    assert "not empty" in refuses("convert", linear[0], linear[0], "--to", "lora")
    assert not (tmp_path / "x").exists()

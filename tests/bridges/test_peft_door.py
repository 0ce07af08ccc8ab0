"""Our methods inside PEFT: what PEFT's own tests ask of its methods, and that both sides read each other's folders."""

import copy
import importlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from contract_methods import METHODS
from families import FAMILIES
from safetensors.torch import load_file, save_file
from short_trainers import trainer_of
from transformers import BertModel

from conftest import make_batch, make_tiny, slow_but_for
from hyperadapters import InputError, Peft, PeftConfig, attach, attached, load

peft = pytest.importorskip("peft", minversion="0.21", reason="peft 0.21 is not installed")
from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # peft asks it


def wrapped(method="compacter", backbone=None, adapter_name="default", **options):
    """A PeftModel of a tiny backbone with an adapter of ours."""
    config = PeftConfig.of(METHODS.get(method, method), seed=0, **options)
    return peft.get_peft_model(backbone or make_tiny(), config, adapter_name)


def trained(model, batch, rate=0.1):
    """The model after one large step."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def logits(model, batch=None):
    with torch.no_grad():
        return model(**(batch or make_batch(2))).logits


def files_in(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


@slow_but_for(("compacter", "hyperformer++", "bitfit", "full", "prompt-r"), METHODS)
def test_every_method_trains_and_both_sides_write_and_read_the_same_folder(name, tmp_path, batch):
    before = logits(make_tiny())
    model = trained(wrapped(name, task_type="SEQ_2_SEQ_LM"), batch)
    after = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(model), after)
    assert not torch.equal(after, before)

    model.save_pretrained(tmp_path / "theirs")
    delta = load(tmp_path / "theirs", make_tiny())
    assert torch.equal(logits(delta.backbone), after)
    delta.save(tmp_path / "ours")
    assert files_in(tmp_path / "ours") == files_in(tmp_path / "theirs")
    assert files_in(tmp_path / "ours").keys() == {"README.md", "adapter_config.json", "adapter_model.safetensors"}

    again = peft.PeftModel.from_pretrained(make_tiny(), tmp_path / "ours")
    assert torch.equal(logits(again), after)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert again.peft_config["default"].inference_mode


def test_shared_tensors_are_in_the_file_once(tmp_path):
    model = wrapped("compacter")
    model.save_pretrained(tmp_path)
    (delta,) = attached(model.get_base_model())
    kept = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in kept.values()) == model.get_nb_trainable_parameters()[0]
    assert kept.keys() == delta.tensors().keys()


def test_several_adapters_are_switched_and_only_the_active_one_trains(batch):
    model = wrapped("compacter")
    model.add_adapter("other", PeftConfig.of("houlsby", bottleneck=12))
    assert model.active_adapters == ["default"]
    first = logits(model)
    model.set_adapter("other")
    second = logits(model)
    assert not torch.equal(first, second)
    training = {name.split(".")[3] for name, p in model.named_parameters() if p.requires_grad}
    assert training == {"other"}
    model.set_adapter("default", inference_mode=True)
    assert torch.equal(logits(model), first)
    assert not any(p.requires_grad for p in model.parameters())
    model.set_requires_grad("default")
    assert any(p.requires_grad for p in model.parameters())
    for wrong in (["default", "other"], "nobody"):
        with pytest.raises(ValueError, match="nobody|one adapter is active"):
            model.base_model.set_adapter(wrong)


def test_disabled_adapters_stay_disabled_while_another_is_added():
    model = wrapped("compacter")
    before = logits(make_tiny())
    with model.disable_adapter():
        model.add_adapter("other", PeftConfig.of("bitfit"))
        assert torch.equal(logits(model), before)


def test_status_says_which_adapters_there_are():
    model = wrapped("compacter")
    model.add_adapter("other", PeftConfig.of("bitfit"))
    status = model.get_model_status()
    assert status.enabled is True
    assert status.available_adapters == ["default", "other"]
    assert status.active_adapters == ["default"]
    assert status.requires_grad == {"default": True, "other": False}
    assert status.trainable_params == model.get_nb_trainable_parameters()[0]
    with model.disable_adapter():
        assert model.get_model_status().enabled is False


def test_deleting_an_adapter(batch):
    model = wrapped("compacter")
    first = logits(model)
    model.add_adapter("other", PeftConfig.of("bitfit"))
    model.set_adapter("other")
    model.delete_adapter("other")
    assert model.active_adapters == ["default"]
    assert torch.equal(logits(model), first)
    with pytest.raises(ValueError, match="does not exist"):
        model.delete_adapter("other")
    model.delete_adapter("default")
    assert model.active_adapters == []
    assert torch.equal(logits(model.base_model), logits(make_tiny()))


def test_unloading_gives_the_model_back_as_it_was(batch):
    backbone = make_tiny()
    before, keys = logits(backbone), list(backbone.state_dict())
    model = trained(wrapped("houlsby", backbone), batch)
    given_back = model.unload()
    assert given_back is backbone
    assert torch.equal(logits(backbone), before)
    assert list(backbone.state_dict()) == keys
    assert not hasattr(backbone, "peft_config")
    assert not any(isinstance(module, BaseTunerLayer) for module in backbone.modules())


def test_merging_an_adapter_without_a_non_linearity():
    backbone, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    model = wrapped("houlsby", backbone, activation="identity").eval()
    before = logits(model, batch)
    assert model.merge_and_unload() is backbone
    assert not attached(backbone)
    torch.testing.assert_close(logits(backbone, batch), before)


def test_the_base_models_own_tensors_can_be_told_from_the_adapters():
    backbone = make_tiny()
    own = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    model = wrapped("compacter", backbone)
    found = peft.get_base_model_state_dict(model)
    assert found.keys() == own.keys()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1.0)
    peft.set_base_model_state_dict(model, own)
    assert all(torch.equal(tensor, own[key]) for key, tensor in peft.get_base_model_state_dict(model).items())


def test_names_of_adapters_that_are_parts_of_each_other_do_not_mix(tmp_path):
    model = wrapped("compacter")
    count = len(peft.get_peft_model_state_dict(model))
    for name in ("default2", "other_default", "efaul", "encoder", "parts"):
        model.add_adapter(name, PeftConfig.of("compacter"))
    model.save_pretrained(tmp_path)
    assert len(load_file(tmp_path / "adapter_model.safetensors")) == count
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(model.peft_config) - {"default"}
    again = peft.PeftModel.from_pretrained(make_tiny(), tmp_path / "efaul", adapter_name="a")
    assert again.load_adapter(tmp_path / "parts", "b").missing_keys == []
    model.set_adapter("parts")
    again.set_adapter("b")
    assert torch.equal(logits(again), logits(model))


def test_generating_with_beams_gives_what_our_side_gives(tmp_path, batch):
    model = trained(wrapped("compacter", task_type="SEQ_2_SEQ_LM"), batch, rate=5.0)
    model.save_pretrained(tmp_path)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    options = {"num_beams": 3, "max_new_tokens": 6, "min_new_tokens": 6}
    ours = load(tmp_path, make_tiny()).backbone.generate(**inputs, **options)
    assert torch.equal(model.generate(**inputs, **options), ours)
    with model.disable_adapter():
        assert torch.equal(model.generate(**inputs, **options), make_tiny().generate(**inputs, **options))


def test_generating_in_half_precision(batch):
    model = wrapped("compacter", make_tiny().to(torch.bfloat16), task_type="SEQ_2_SEQ_LM")
    out = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=3)
    assert len(out) == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(reentrant, batch):
    def gradients(checkpointing):
        backbone = make_tiny()
        if checkpointing:
            backbone.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model = wrapped("compacter", backbone).train()
        if checkpointing:
            backbone.enable_input_require_grads()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*use_reentrant|None of the inputs")
            model(**batch).loss.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}

    plain = gradients(checkpointing=False)
    for name, gradient in gradients(checkpointing=True).items():
        torch.testing.assert_close(gradient, plain[name])


def test_a_deep_copy_is_a_model_of_its_own(batch):
    model = wrapped("compacter")
    twin = copy.deepcopy(model)
    before = logits(model)
    trained(twin, batch)
    assert torch.equal(logits(model), before)
    assert not torch.equal(logits(twin), before)


def test_a_copy_as_trl_makes_it_computes_the_same():
    model = wrapped("compacter")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    model.add_adapter("ref", model.peft_config["default"])
    copied = [name for name, _ in model.named_parameters() if ".default." in name]
    for name in copied:
        model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(model.get_parameter(name).data)
    before = logits(model)
    model.set_adapter("ref")
    assert copied
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("low", [True, False])
def test_low_memory_loading_and_continuing_to_train(low, tmp_path, batch):
    model = trained(wrapped("hyperformer"), batch)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(make_tiny(), tmp_path, low_cpu_mem_usage=low, is_trainable=True)
    assert torch.equal(logits(again.eval()), logits(model))
    trained(again, batch)
    trained(model, batch)
    torch.testing.assert_close(logits(again), logits(model))


@pytest.mark.parametrize(
    ("family", "task", "opener"),
    [
        ("bert", "SEQ_CLS", "AutoPeftModelForSequenceClassification"),
        ("llama", "CAUSAL_LM", "AutoPeftModelForCausalLM"),
        ("t5", "SEQ_2_SEQ_LM", "AutoPeftModelForSeq2SeqLM"),
    ],
)
def test_an_adapter_opens_with_its_base_model_by_itself(family, task, opener, tmp_path):
    FAMILIES[family].make().save_pretrained(tmp_path / "base")
    backbone = type(FAMILIES[family].make()).from_pretrained(tmp_path / "base").eval()
    outputs = 5 if task == "SEQ_CLS" else None
    delta = attach(backbone, "compacter", outputs=outputs, seed=0)
    delta.save(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["task_type"] == task
    model = getattr(peft, opener).from_pretrained(tmp_path / "adapter")
    batch = FAMILIES[family].batch()
    assert torch.equal(logits(model, batch), logits(backbone, batch))


def test_a_classifier_has_a_head_of_its_own(tmp_path):
    backbone = FAMILIES["bert"].make()
    model = wrapped("compacter", backbone, task_type="SEQ_CLS", outputs=5)
    batch = FAMILIES["bert"].batch()
    assert logits(model, batch).shape == (2, 5)
    with model.disable_adapter():
        assert logits(model, batch).shape == (2, 2)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(FAMILIES["bert"].make(), tmp_path)
    assert torch.equal(logits(again, batch), logits(model, batch))


def test_an_adapter_that_was_made_without_a_head_leaves_the_head_as_it_is(tmp_path):
    classifier, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    bare = BertModel(classifier.config)
    bare.load_state_dict(classifier.bert.state_dict(), strict=False)
    attach(bare.eval(), "compacter", seed=0).save(tmp_path)
    model = peft.PeftModel.from_pretrained(classifier, tmp_path)
    (delta,) = attached(classifier)
    assert delta.outputs is None
    ours = FAMILIES["bert"].make()
    load(tmp_path, ours)
    assert torch.equal(logits(model, batch), logits(ours, batch))


def test_what_cannot_be_is_refused_with_what_to_do(tmp_path):
    for wrong, message in (
        ({"method": "compactor"}, "Did you mean"),
        ({"method": Peft(kind="lora")}, "a method of PEFT itself"),
        ({"method": "compacter", "n": "many"}, "n"),
        ({"method": "compacter", "bottel": 3}, "bottel"),
    ):
        with pytest.raises(InputError, match=message):
            PeftConfig.of(**wrong)
    with pytest.raises(InputError, match="names no method"):
        PeftConfig()
    with pytest.raises(InputError, match="has no rank"):
        PeftConfig(method={"type": "Compacter"}, rank=4)
    with pytest.raises(ValueError, match="Invalid task type"):
        PeftConfig.of("compacter", task_type="TALKING")
    model = wrapped("compacter")
    with pytest.raises(InputError, match="n must divide"):
        model.add_adapter("odd", PeftConfig.of("compacter", n=7))
    assert list(model.peft_config) == ["default"]
    with pytest.raises(InputError, match="a word of its own"):
        model.add_adapter("train", PeftConfig.of("compacter"))
    with pytest.raises(InputError, match="one set"):
        model.add_adapter("whole", PeftConfig.of("full"))
    assert [delta.name for delta in attached(model.get_base_model())] == ["default"]
    assert attached(model.get_base_model())[0].in_use
    with pytest.raises(InputError, match="not linear"):
        model.merge_and_unload()
    with pytest.raises(InputError, match="for a while"):
        model.merge_adapter()
    with pytest.raises(InputError, match="switched, not mixed"):
        model(**make_batch(2), adapter_names=["default", "__base__"])


def test_damaged_and_foreign_adapters_are_refused(tmp_path):
    model = wrapped("compacter")
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="trained on another backbone"):
        peft.PeftModel.from_pretrained(make_tiny(d_ff=32), tmp_path)

    config, tensors = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    whole = tensors.read_bytes()
    values = load_file(tensors)
    save_file({"adapters.down_bias": values["adapters.down_bias"][:, :1], "more": torch.ones(1)}, tensors)
    with pytest.raises(InputError, match=r"(?s)missing.*more: not part.*adapters.down_bias: shape"):
        peft.PeftModel.from_pretrained(make_tiny(), tmp_path)
    tensors.write_bytes(whole)

    text = config.read_text()
    config.write_text(text.replace('"precision": "fp32"', '"precision": "fp16"', 1))
    with pytest.raises(InputError, match="changed|checksum"):
        peft.PeftModel.from_pretrained(make_tiny(), tmp_path)
    config.write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="pip install -U hyperadapters"):
        peft.PeftModel.from_pretrained(make_tiny(), tmp_path)


def test_a_configuration_alone_is_written_and_read(tmp_path):
    config = PeftConfig.of("compacter", n=2, outputs=3, task_type="SEQ_CLS")
    config.save_pretrained(tmp_path)
    again = peft.PeftConfig.from_pretrained(tmp_path)
    assert again == config
    assert again.method["n"] == 2
    assert copy.deepcopy(again) == config


def test_a_checkpoint_of_trainer_is_the_adapter_and_resumes_to_the_bit(tmp_path):
    model = wrapped("compacter")
    trainer_of(model, tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, load_best_model_at_end=True).train()
    checkpoint = tmp_path / "checkpoint-2"
    assert not list(checkpoint.glob("model*"))
    delta = load(tmp_path / "checkpoint-4", make_tiny())

    again = wrapped("compacter")
    trainer_of(again, tmp_path, max_steps=4).train(resume_from_checkpoint=str(checkpoint))
    (resumed,) = attached(again.get_base_model())
    for key, tensor in delta.tensors().items():
        assert torch.equal(resumed.tensors()[key], tensor)


@pytest.mark.slow
def test_either_package_may_be_imported_first_and_the_model_compiles(tmp_path):
    wrapped("compacter").save_pretrained(tmp_path / "adapter")
    make_tiny().save_pretrained(tmp_path / "base")
    program = f"""
import peft
from transformers import T5ForConditionalGeneration
base = T5ForConditionalGeneration.from_pretrained({str(tmp_path / "base")!r})
try:
    peft.PeftModel.from_pretrained(base, {str(tmp_path / "adapter")!r})
    raise SystemExit("peft knows the type without us")
except KeyError as error:
    assert "HYPERADAPTERS" in str(error), error
import hyperadapters
import torch
model = peft.PeftModel.from_pretrained(base, {str(tmp_path / "adapter")!r})
ids = torch.arange(3, 12)[None]
with torch.no_grad():
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(input_ids=ids, labels=ids).logits, model(input_ids=ids, labels=ids).logits)
    with model.disable_adapter():
        torch.testing.assert_close(compiled(input_ids=ids, labels=ids).logits, base(input_ids=ids, labels=ids).logits)
print("good")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("good"), done.stderr[-2000:]


def test_the_entries_for_pefts_comparison_are_what_the_script_writes(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(root)
    importlib.import_module("experiments.peft_entries").write(tmp_path)
    kept = root / "experiments" / "method_comparison"
    written = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*.json")}
    assert written.keys() == {path.relative_to(kept) for path in kept.rglob("*.json")}
    for name, path in written.items():
        versionless = [json.loads(file.read_text()) for file in (path, kept / name)]
        for values in versionless:
            values.pop("peft_version", None)
        assert versionless[0] == versionless[1]
        if name.name == "adapter_config.json":
            model = peft.get_peft_model(FAMILIES["llama"].make(), peft.PeftConfig.from_pretrained(path.parent))
            assert model.get_nb_trainable_parameters()[0] > 0

"""TRL's trainers with a configuration of ours as `peft_config=`: one model, adapters alone in checkpoints."""

import pytest
import torch
from families import FAMILIES

from hyperadapters import PeftConfig, attached, load, load_backbone

trl = pytest.importorskip("trl", reason="trl is not installed")
from datasets import Dataset  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

TEXTS = ["the cat sat", "a dog ran home", "birds sing", "the sun is warm", "he reads a book", "rain fell"]


@pytest.fixture
def tokenizer():
    _, found = load_backbone("embedded")
    found.padding_side = "left"
    return found


def tiny_llama(tokenizer):
    """A decoder of random weights."""
    return FAMILIES["llama"].make(vocab_size=len(tokenizer))


def options(folder, **changes):
    """What all trainers are told."""
    return {
        "output_dir": str(folder), "max_steps": 4, "save_steps": 2, "per_device_train_batch_size": 2, "report_to": [],
        "learning_rate": 1e-2, "use_cpu": True, "bf16": False, "disable_tqdm": True, "seed": 0, **changes,
    }  # fmt: skip


def is_adapter(checkpoint):
    """Whether a checkpoint holds an adapter and no model."""
    return (checkpoint / "adapter_model.safetensors").is_file() and not list(checkpoint.glob("model*"))


def adapters(model):
    return {delta.name: delta for delta in attached(model.get_base_model())}


def supervised(folder, tokenizer, **changes):
    return trl.SFTTrainer(
        model=tiny_llama(tokenizer),
        args=trl.SFTConfig(**options(folder, max_length=16, **changes)),
        train_dataset=Dataset.from_dict({"text": TEXTS * 2}),
        processing_class=tokenizer,
        peft_config=PeftConfig.of("compacter", task_type="CAUSAL_LM", seed=0),
    )


def test_supervised_fine_tuning_saves_adapters_and_resumes_to_the_bit(tmp_path, tokenizer):
    trainer = supervised(tmp_path, tokenizer)
    base = {name: tensor.clone() for name, tensor in tiny_llama(tokenizer).state_dict().items()}
    trainer.train()
    assert is_adapter(tmp_path / "checkpoint-2")
    own = trainer.model.get_base_model().state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in base.items())
    (delta,) = adapters(trainer.model).values()
    opened = load(tmp_path / "checkpoint-4", tiny_llama(tokenizer))
    assert all(torch.equal(tensor, delta.tensors()[name]) for name, tensor in opened.tensors().items())

    again = supervised(tmp_path, tokenizer)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    (resumed,) = adapters(again.model).values()
    assert all(torch.equal(tensor, delta.tensors()[name]) for name, tensor in resumed.tensors().items())


PAIRS = {
    "prompt": [text.split()[0] for text in TEXTS],
    "chosen": [" ".join(text.split()[1:]) for text in TEXTS],
    "rejected": [" ".join(reversed(text.split()[1:])) + " no" for text in TEXTS],
}


def preferring(folder, tokenizer, model=None, peft_config=None, **changes):
    return trl.DPOTrainer(
        model=model or tiny_llama(tokenizer),
        args=trl.DPOConfig(**options(folder, max_length=16, **changes)),
        train_dataset=Dataset.from_dict(PAIRS),
        processing_class=tokenizer,
        peft_config=peft_config,
    )


def test_preferences_need_no_second_model(tmp_path, tokenizer):
    trainer = preferring(tmp_path, tokenizer, peft_config=PeftConfig.of("compacter", task_type="CAUSAL_LM", seed=0))
    assert trainer.ref_model is None
    trainer.train()
    assert is_adapter(tmp_path / "checkpoint-4")
    assert adapters(trainer.model)["default"].in_use


def test_the_reference_of_a_trained_adapter_is_a_copy_of_it(tmp_path, tokenizer):
    import peft

    model = peft.get_peft_model(tiny_llama(tokenizer), PeftConfig.of("compacter", task_type="CAUSAL_LM", seed=0))
    with torch.no_grad():
        for tensor in adapters(model)["default"].trained().values():
            tensor.add_(0.05 * torch.randn_like(tensor))
    trainer = preferring(tmp_path, tokenizer, model=model)
    assert trainer.ref_model is None
    found = adapters(trainer.model)
    assert found.keys() == {"default", "ref"}
    for name, tensor in found["default"].tensors().items():
        assert torch.equal(found["ref"].tensors()[name], tensor)
    inputs = tokenizer(TEXTS[:1], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        of_default = trainer.model.eval()(inputs).logits
        trainer.model.set_adapter("ref")
        assert torch.equal(trainer.model(inputs).logits, of_default)
        trainer.model.set_adapter("default")
    before = {name: tensor.clone() for name, tensor in found["ref"].tensors().items()}
    trainer.train()
    assert all(torch.equal(found["ref"].tensors()[name], tensor) for name, tensor in before.items())
    assert not all(torch.equal(found["default"].tensors()[name], tensor) for name, tensor in before.items())


def test_online_learning_generates_with_the_adapter(tmp_path, tokenizer):
    trainer = trl.GRPOTrainer(
        model=tiny_llama(tokenizer),
        args=trl.GRPOConfig(
            **options(tmp_path, max_steps=2, per_device_train_batch_size=4),
            num_generations=4,
            max_completion_length=4,
            beta=0.1,
        ),
        train_dataset=Dataset.from_dict({"prompt": PAIRS["prompt"]}),
        reward_funcs=lambda completions, **_: [float(len(text)) for text in completions],
        processing_class=tokenizer,
        peft_config=PeftConfig.of("compacter", task_type="CAUSAL_LM", seed=0),
    )
    assert trainer.ref_model is None
    before = {name: tensor.clone() for name, tensor in adapters(trainer.model)["default"].tensors().items()}
    trainer.train()
    assert is_adapter(tmp_path / "checkpoint-2")
    after = adapters(trainer.model)["default"].tensors()
    assert not all(torch.equal(after[name], tensor) for name, tensor in before.items())

"""What a Delta does on its backbone: one in use, rest, detach, copies, and passes that overlap."""

import copy
from contextlib import nullcontext

import pytest
import torch
from families import FAMILIES

import hyperadapters as ha
from conftest import make_batch, make_tiny
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.delta.saving import describe_delta

SMALL = {"bottleneck": 8}


def houlsby():
    return ha.method_named("houlsby", SMALL)


def drawn(delta):
    """The same Delta with weights that change what the backbone gives."""
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return delta


def logits(backbone, batch):
    with torch.no_grad():
        return backbone(**batch).logits


def test_detaching_twice_leaves_another_of_the_same_name_alone(tiny):
    first = ha.attach(tiny, houlsby())
    first.detach()
    second = ha.attach(tiny, houlsby())
    first.detach()
    assert ha.attached(tiny) == [second]
    assert second.in_use


def test_a_detached_one_is_attached_again_by_its_use_unless_its_name_is_taken(tiny, batch):
    first = drawn(ha.attach(tiny, houlsby()))
    expected = logits(tiny, batch)
    first.detach()
    first.use()
    assert ha.attached(tiny) == [first]
    assert torch.equal(logits(tiny, batch), expected)
    first.detach()
    second = ha.attach(tiny, houlsby())
    with pytest.raises(ha.InputError, match="has a Delta 'default' already"):
        first.use()
    assert second.in_use
    assert not first.in_use


def test_one_that_is_detached_while_it_is_disabled_stays_away(tiny, batch):
    base = logits(tiny, batch)
    delta = drawn(ha.attach(tiny, houlsby()))
    with delta.disabled():
        delta.detach()
    assert not ha.attached(tiny)
    assert torch.equal(logits(tiny, batch), base)


def test_one_at_rest_is_neither_told_its_rows_nor_scored_nor_trained():
    backbone, tokenizer = ha.load_backbone("embedded")
    data = ha.load_data("demo/paraphrase", tokenizer, text=ha.Text(train_rows=8, evaluation_rows=8))
    first = ha.attach(backbone, houlsby(), "first", tasks=["a", "b"])
    ha.attach(backbone, houlsby(), "second")
    with pytest.raises(ha.InputError, match="the Delta 'first' is at rest"), first.rows("a"):
        pass
    for use in (
        lambda: ha.evaluate(first, data, "test"),
        lambda: ha.fit(first, data, ha.Training(lr=1e-3), quiet=True),
        lambda: ha.measure(first, data, batch_size=2),
    ):
        with pytest.raises(ha.InputError, match="the Delta 'first' is at rest"):
            use()


def test_what_a_user_froze_stays_frozen_through_rest(tiny):
    delta = ha.attach(tiny, houlsby())
    delta.trained()["adapters.up_bias"].requires_grad_(False)
    with delta.disabled():
        assert not any(tensor.requires_grad for tensor in delta.trained().values())
    ha.attach(tiny, houlsby(), "other")
    delta.use()
    frozen = [name for name, tensor in delta.trained().items() if not tensor.requires_grad]
    assert frozen == ["adapters.up_bias"]


def test_a_copy_trains_the_one_task_that_the_original_does(tiny, batch):
    delta = ha.attach(tiny, houlsby(), tasks=["a", "b"])
    delta.train_only("a")
    (mine,) = ha.attached(copy.deepcopy(tiny))
    with mine.rows(["a", "b"]):
        mine.backbone(**batch).loss.backward()
    assert mine.trained_task == "a"
    for name, tensor in mine.trained().items():
        assert (len(tensor), tensor.grad.abs().sum() > 0) == (1, True), name
    assert all(tensor.grad is None for tensor in mine.parts.parameters())


def test_one_made_or_loaded_without_gradients_works_with_them_too(tiny, batch, tmp_path):
    with torch.inference_mode():
        delta = ha.attach(tiny, houlsby())
        tiny(**batch)
    delta.save(tmp_path)
    tiny(**batch).loss.backward()
    delta.detach()
    with torch.inference_mode():
        loaded = ha.load(tmp_path, tiny)
        tiny(**batch)
    tiny(**batch).loss.backward()
    assert all(tensor.grad is not None for tensor in loaded.trained().values())


@pytest.mark.parametrize("method", ["houlsby", "compacter", "bitfit", "norms", "hyperformer++", "intrinsic-said"])
@pytest.mark.parametrize("name", ["t5", "llama"])
def test_checkpointed_layers_are_computed_again_with_the_weights_of_their_own_pass(name, method):
    """Two passes before one backward, of other rows or without gradients or without the Delta."""
    family, found = FAMILIES[name], []
    batch = {**family.batch(), "use_cache": False}
    for again in (False, True):
        torch.manual_seed(0)
        backbone = family.make()
        changes = {"intrinsic_dim": 50} if method == "intrinsic-said" else {}
        tasks = () if changes else ("a", "b")
        delta = drawn(ha.attach(backbone, ha.method_named(method, changes), tasks=tasks))
        if again:
            _enable_checkpointing(backbone.train())
        total = 0.0
        for task in tasks or (None, None):
            with delta.rows(task) if task else nullcontext():
                total = total + backbone(**batch).logits.square().mean()
                with torch.no_grad():
                    backbone(**batch)
        with torch.no_grad(), delta.disabled():
            backbone(**batch)
        total.backward()
        found.append({key: tensor.grad for key, tensor in delta.trained().items()})
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-4, atol=1e-6, msg=key)


def test_a_decoder_called_by_itself_must_be_told_the_rows_as_a_whole_pass_must(tiny, batch):
    delta = ha.attach(tiny, houlsby(), tasks=["a", "b"])
    with torch.no_grad(), delta.rows(["a", "b"]):
        encoded = tiny.get_encoder()(batch["input_ids"])
    with torch.no_grad(), pytest.raises(ha.InputError, match="was not told which of them the rows use"):
        tiny(encoder_outputs=encoded, decoder_input_ids=batch["labels"])


def test_weights_made_under_autocast_serve_no_pass_outside_it(tiny, batch):
    drawn(ha.attach(tiny, ha.method_named("compacter")))
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            encoded = tiny.get_encoder()(batch["input_ids"])
        states = encoded.last_hidden_state.float()
        found = tiny(encoder_outputs=(states,), decoder_input_ids=batch["labels"]).logits
        tiny(**batch)
        expected = tiny(encoder_outputs=(states,), decoder_input_ids=batch["labels"]).logits
    assert torch.equal(found, expected)


def test_rows_of_a_family_with_tokens_first_must_be_of_one_task():
    import transformers as hf

    config = hf.FSMTConfig(
        langs=["en", "de"], src_vocab_size=96, tgt_vocab_size=96, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48,
    )  # fmt: skip
    backbone = hf.FSMTForConditionalGeneration(config).eval()
    delta = ha.attach(backbone, houlsby(), tasks=["a", "b"])
    ids = torch.randint(3, 90, (2, 8))
    with delta.rows("a"):
        backbone(input_ids=ids, decoder_input_ids=ids)
    with delta.rows(["a", "b"]), pytest.raises(ha.InputError, match="cannot use different tasks here"):
        backbone(input_ids=ids, decoder_input_ids=ids)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "albert"])
@pytest.mark.parametrize("outputs", [1, 4])
def test_the_backbones_own_loss_is_that_of_the_deltas_head(name, outputs):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    said = copy.deepcopy(backbone.config.to_dict())
    delta = ha.attach(backbone, ha.method_named("houlsby", SMALL), outputs=outputs)
    rows = len(batch["input_ids"])
    labels = torch.rand(rows) if outputs == 1 else torch.randint(0, outputs, (rows,))
    found = backbone(**{**batch, "labels": labels})
    expected = (
        torch.nn.functional.mse_loss(found.logits.squeeze(-1), labels)
        if outputs == 1
        else torch.nn.functional.cross_entropy(found.logits, labels)
    )
    torch.testing.assert_close(found.loss, expected)
    with delta.disabled():
        assert backbone.config.to_dict() == said
    delta.detach()
    assert backbone.config.to_dict() == said


def test_a_backbone_in_float16_is_recorded_and_loaded_as_such(tmp_path):
    delta = ha.attach(make_tiny().half(), houlsby())
    assert describe_delta(delta)["backbone"]["precision"] == "fp16"
    backbone, _ = ha.load_backbone("embedded", precision="fp16")
    assert next(backbone.parameters()).dtype == torch.float16
    with pytest.raises(ha.InputError, match="precision='fp99': one of fp32, bf16, fp16"):
        ha.load_backbone("embedded", precision="fp99")


def test_no_pass_leaves_a_gradient_to_a_pools_slots(tiny, batch, tmp_path):
    ha.attach(tiny, houlsby()).save(tmp_path)
    ha.attached(tiny)[0].detach()
    pool = ha.Pool(tiny, {"a": tmp_path})
    with pytest.raises(ha.InputError, match="n must divide"):
        ha.attach(tiny, ha.Compacter(n=7), "new")
    assert pool.delta.in_use
    assert not any(tensor.requires_grad for tensor in pool.delta.trained().values())
    with pool.rows("a"):
        assert not tiny(**make_batch(2)).logits.requires_grad

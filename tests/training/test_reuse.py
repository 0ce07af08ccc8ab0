"""Reused states: frozen layers are computed once; gradients, answers and interrupted runs are what they would be."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_methods import METHODS as CONTRACT
from disturbed import disturb
from families import DECODER, ENCODER, FAMILIES, PAIR
from training_runs import EXACT, SHORT, same, toy

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    Adapter,
    Evaluation,
    InputError,
    Interrupted,
    PromptTuning,
    SideAdapter,
    attach,
    evaluate,
    fit,
)
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.reuse import ReusedStates
from hyperadapters.training.trainer import Trainer

TOP_HALF = Adapter(bottleneck=4, first_layer=1, norms="above")
DECODER_ALONE = Adapter(bottleneck=4, stacks=("decoder",), norms="above")
REUSING = dataclasses.replace(SHORT, reuse="fp32")


def rows_for(family: Any, count: int = 6) -> list[Encoded]:
    """Rows of different lengths, with targets as this kind of model learns them."""
    generator = torch.Generator().manual_seed(0)
    answers: list[Any] = [[0], [1]] if family.loader == ENCODER else [[11, 12, 1], [13, 1]]
    lengths = [4 + number for number in range(count)]
    sources = [torch.randint(3, 90, (length,), generator=generator).tolist() for length in lengths]
    return [Encoded(source, answers[number % 2]) for number, source in enumerate(sources)]


def prepared(delta: Any, rows: list[Encoded], root: Path | None = None, **options: Any) -> ReusedStates:
    states = ReusedStates(delta, 0, dtype=options.pop("dtype", torch.float32), root=root, **options)
    states.prepare(rows)
    states.compute(rows)
    return states


def gradients(delta: Any, rows: list[Encoded], states: ReusedStates) -> dict[str, torch.Tensor]:
    """Of the summed losses of a batch, in training mode."""
    delta.backbone.train()
    torch.manual_seed(0)  # dropout of the heads
    loss = states._encoding.losses(delta.backbone, delta.backbone, rows, 0).sum()
    tensors = delta.trained()
    found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
    delta.backbone.eval()
    return {name: each for name, each in zip(tensors, found, strict=True) if each is not None}


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].loader in (ENCODER, DECODER, PAIR)])
def test_gradients_are_those_of_passes_that_compute_every_layer(name: str) -> None:
    family = FAMILIES[name]
    rows = rows_for(family)
    delta = disturb(attach(family.make(), TOP_HALF))
    if family.layers == 1:
        with pytest.raises(InputError, match="nothing can be kept"):
            prepared(delta, rows)
        return
    states = prepared(delta, rows)
    wanted = gradients(delta, rows, states)
    with states:
        found = gradients(delta, rows, states)
        assert states.passes == (len(states.frozen), 0)
    assert found.keys() == wanted.keys()
    difference = torch.stack([(found[key] - gradient).norm() for key, gradient in wanted.items()]).norm()
    assert difference <= 1e-6 * torch.stack([gradient.norm() for gradient in wanted.values()]).norm()


def test_frozen_layers_are_not_computed(tiny: Any) -> None:
    delta = attach(tiny, DECODER_ALONE)
    rows = toy().splits["train"]
    states = prepared(delta, rows)
    assert [len(layers.paths) for layers in states.frozen.values()] == [2]
    calls = []
    for path in ("encoder.block.0.layer.0", "encoder.block.1.layer.1", "decoder.block.0.layer.0"):
        tiny.get_submodule(path).register_forward_hook(lambda *given, path=path: calls.append(path))
    with states:
        gradients(delta, rows[:4], states)
    assert calls == ["decoder.block.0.layer.0"]


def test_what_feeds_frozen_layers_alone_is_not_computed_either() -> None:
    family = FAMILIES["bert"]
    rows = rows_for(family)
    delta = attach(family.make(), TOP_HALF)
    states = prepared(delta, rows)
    assert states.frozen["encoder"].feed == "bert.embeddings"
    calls = []
    delta.backbone.get_submodule("bert.embeddings.LayerNorm").register_forward_hook(lambda *given: calls.append(1))
    with states:
        gradients(delta, rows, states)
    assert not calls


def test_embeddings_that_something_else_reads_are_computed() -> None:
    """As where a model adds them to its last states."""
    family = FAMILIES["bert"]
    rows = rows_for(family)
    delta = disturb(attach(family.make(), TOP_HALF))
    kept: list[torch.Tensor] = []
    delta.backbone.get_submodule("bert.embeddings").register_forward_hook(lambda *given: kept.append(given[-1]))

    def add(module: Any, given: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state + kept.pop()
        return output

    delta.backbone.get_submodule("bert.encoder").register_forward_hook(add)
    states = prepared(delta, rows)
    assert states.frozen["encoder"].feed == ""
    wanted = gradients(delta, rows, states)
    with states:
        found = gradients(delta, rows, states)
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()))


def test_dropout_does_not_reach_the_states() -> None:
    delta = attach(make_tiny(dropout_rate=0.5), TOP_HALF)
    rows = toy().splits["train"]
    delta.backbone.train()
    states = prepared(delta, rows)
    assert delta.backbone.training
    again = prepared(attach(make_tiny(), TOP_HALF), rows)
    for key in states._store._kept:
        torch.testing.assert_close(states._store._kept[key], again._store._kept[key])


def test_a_row_that_is_not_known_has_all_of_its_batch_computed(tiny: Any) -> None:
    delta = disturb(attach(tiny, TOP_HALF))
    rows = toy().splits["train"]
    states = prepared(delta, rows[:4])
    wanted = gradients(delta, rows[2:6], states)
    with states:
        found = gradients(delta, rows[2:6], states)
        assert states.passes == (0, 1)  # the decoder reads what is trained in the encoder
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("reuse", ["fp32", "bf16"])
@pytest.mark.parametrize("method", [TOP_HALF, DECODER_ALONE, SideAdapter(bottleneck=8)])
def test_training_with_reuse_ends_where_training_without_it_does(method: Any, reuse: Any, tmp_path: Path) -> None:
    ends = []
    for kept in ("none", reuse):
        torch.manual_seed(3)
        delta = attach(make_tiny(), method)
        result = fit(delta, toy(), dataclasses.replace(SHORT, reuse=kept), output=tmp_path / kept, quiet=True)
        ends.append((delta, result))
    (plain, wanted), (reused, found) = ends
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if reuse == "fp32" else {"rtol": 0.1, "atol": 2e-2}
    same(plain, reused, **tolerance)
    assert found.steps == wanted.steps


def test_the_backbone_is_as_before_after_training(tiny: Any) -> None:
    delta = attach(tiny, TOP_HALF)
    fit(delta, toy(), REUSING, quiet=True)
    assert not any("forward" in module.__dict__ for module in tiny.modules())
    hooks = len(tiny.encoder._forward_pre_hooks)
    delta.detach()
    assert len(tiny.encoder._forward_pre_hooks) == hooks - 1 - 1  # those of the Delta


@pytest.mark.parametrize("lost", [False, True], ids=["states are there", "states are lost"])
def test_an_interrupted_run_ends_with_the_same_bits(lost: bool, tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = attach(make_tiny(), TOP_HALF)
    fit(whole, toy(), REUSING, output=tmp_path / "whole", quiet=True)
    torch.manual_seed(3)
    first = attach(make_tiny(), TOP_HALF)
    trainer = Trainer(first, toy(), REUSING, Evaluation(), tmp_path / "parts", quiet=True)
    step = trainer.step

    def stops(rows: list[Encoded]) -> float:
        loss = step(rows)
        if trainer.state.step == 7:
            trainer._asked_to_stop.set()
        return loss

    trainer.step = stops  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        trainer.run(resume=False)
    files = list((tmp_path / "parts" / "states").rglob("*.safetensors"))
    assert files
    for file in files if lost else ():
        file.unlink()
    torch.manual_seed(3)
    second = attach(make_tiny(), TOP_HALF)
    fit(second, toy(), REUSING, output=tmp_path / "parts", resume=True, quiet=True)
    same(whole, second, **EXACT)


def test_runs_that_share_a_folder_compute_states_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = toy().splits["train"]
    prepared(attach(make_tiny(), TOP_HALF), rows, tmp_path)
    before = len(list(tmp_path.rglob("*.safetensors")))
    other = ReusedStates(attach(make_tiny(), TOP_HALF), 0, dtype=torch.float32, root=tmp_path)
    other.prepare(rows)
    calls: list[Any] = []
    monkeypatch.setattr("hyperadapters.training.reuse.captured_pass", lambda captured, compute: calls.append(captured))
    other.compute(rows)
    assert calls == []
    assert len(list(tmp_path.rglob("*.safetensors"))) == before > 0


def test_states_of_another_backbone_are_not_used(tmp_path: Path) -> None:
    rows = toy().splits["train"]
    one = prepared(attach(make_tiny(), TOP_HALF), rows, tmp_path)
    backbone = make_tiny()
    backbone.encoder.block[0].layer[0].SelfAttention.q.weight.data += 0.1
    other = prepared(attach(backbone, TOP_HALF), rows, tmp_path)
    assert one._store.folder != other._store.folder


def test_trained_layers_at_the_bottom_leave_nothing_to_reuse(tiny: Any) -> None:
    for method in (METHODS["compacter++"], PromptTuning(prompt_length=2)):
        delta = attach(tiny, method)
        with pytest.raises(InputError, match=r"nothing can be kept.*first_layer"):
            fit(delta, toy(), REUSING, quiet=True)
        delta.detach()


def test_frozen_adapters_in_lower_layers_are_no_frozen_layers(tiny: Any) -> None:
    """They change what the layers return, which the backbone alone does not tell."""
    delta = disturb(attach(tiny, Adapter(bottleneck=4, norms=False)), by=0.5)
    for name, tensor in delta.trained().items():
        tensor.requires_grad_("up_bias" in name)
    sites = len(delta.parts["adapters"].sites)
    assert sites == 8
    with pytest.raises(InputError, match="nothing can be kept"):
        prepared(delta, toy().splits["train"])


def test_reuse_and_compilation_exclude_each_other(tiny: Any) -> None:
    training = dataclasses.replace(REUSING, compile=True)
    with pytest.raises(InputError, match="do not go together"):
        fit(attach(tiny, TOP_HALF), toy(), training, quiet=True)


def test_a_model_called_with_more_than_rows_computes_every_layer(tiny: Any, batch: dict[str, torch.Tensor]) -> None:
    delta = attach(tiny, TOP_HALF)
    rows = [
        Encoded(ids[mask.bool()].tolist(), labels.tolist())
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    ]
    states = prepared(delta, rows)
    with states, torch.no_grad():
        tiny(**batch)
        assert states.passes == (1, 0)
        tiny(**batch, output_hidden_states=True)
        embeds = tiny.get_input_embeddings()(batch["input_ids"])
        tiny(inputs_embeds=embeds, attention_mask=batch["attention_mask"], labels=batch["labels"])
        left = {"input_ids": batch["input_ids"].flip(1), "attention_mask": batch["attention_mask"].flip(1)}
        tiny(**left, labels=batch["labels"])
        assert states.passes == (1, 3)


def test_several_tasks_share_states(tiny: Any) -> None:
    delta = disturb(
        attach(tiny, dataclasses.replace(METHODS["hyperformer++"], first_layer=1, norms="above"), tasks=["a", "b"])
    )
    rows = [row._replace(task="ab"[number % 2]) for number, row in enumerate(toy().splits["train"][:6])]
    states = prepared(delta, rows)
    with delta.rows([row.task for row in rows]):
        wanted = gradients(delta, rows, states)
        with states:
            found = gradients(delta, rows, states)
            assert states.passes == (1, 0)
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-6)


def test_validation_with_reused_states_answers_what_it_answers_without(tiny: Any) -> None:
    delta = disturb(attach(tiny, DECODER_ALONE))
    data = toy()
    states = prepared(delta, data.splits["validation"])
    wanted = evaluate(delta, data, "validation")
    with states:
        found = evaluate(delta, data, "validation")
        assert states.passes[0] > 0
    assert found.answers == wanted.answers


def test_equal_texts_are_computed_once(tiny: Any) -> None:
    delta = attach(tiny, DECODER_ALONE)
    rows = toy().splits["train"][:4]
    states = prepared(delta, [*rows, *(row._replace(task="other") for row in rows)])
    assert len(states._store) == len(rows)  # of the encoder; the decoder trains


@pytest.mark.parametrize("name", ["t5", "bert", "llama"])
def test_beside_the_backbone_no_layer_is_computed(name: str) -> None:
    """A ladder reads what was kept of every layer, with gradients that are those of whole passes."""
    family = FAMILIES[name]
    rows = rows_for(family)
    delta = disturb(attach(family.make(), SideAdapter(bottleneck=8)))
    states = prepared(delta, rows)
    assert all(len(layers.paths) == family.layers for layers in states.frozen.values())
    wanted = gradients(delta, rows, states)
    with states:
        found = gradients(delta, rows, states)
        assert states.passes == (len(states.frozen), 0)
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()))


def test_an_adapter_that_does_nothing_yet_is_no_frozen_layer(tiny: Any) -> None:
    """Another adapter of the same pool may do something there: values decide nothing."""
    delta = attach(tiny, Adapter(bottleneck=4, norms=False))
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.zero_()
            tensor.requires_grad_(False)
    with pytest.raises(InputError, match="nothing can be kept"):
        prepared(delta, toy().splits["train"])
    assert not any(tensor.requires_grad for tensor in delta.trained().values())


def test_a_model_that_is_set_to_return_hidden_states_computes_them(tiny: Any) -> None:
    delta = attach(tiny, TOP_HALF)
    rows = toy().splits["train"]
    states = prepared(delta, rows)
    tiny.config.output_hidden_states = True
    with states:
        gradients(delta, rows[:4], states)
        assert states.passes == (0, 1)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_method_is_reused_rightly_or_refused(name: str, tiny: Any) -> None:
    """Of the presets, only those beside the backbone leave a layer alone."""
    delta = disturb(attach(tiny, CONTRACT[name]))
    rows = toy().splits["train"]
    if "side" not in name:
        with pytest.raises(InputError, match="nothing can be kept"):
            prepared(delta, rows)
        return
    states = prepared(delta, rows)
    wanted = gradients(delta, rows[:4], states)
    with states:
        found = gradients(delta, rows[:4], states)
        assert states.passes[0] > 0
    assert found.keys() == wanted.keys()
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_heads_of_different_sizes_are_compared_where_they_answer() -> None:
    family = FAMILIES["bert"]
    delta = disturb(attach(family.make(), TOP_HALF, tasks=["a", "b"], outputs={"a": 2, "b": 3}))
    rows = [row._replace(task="ab"[number % 2]) for number, row in enumerate(rows_for(family))]
    assert [len(layers.paths) for layers in prepared(delta, rows).frozen.values()] == [1]

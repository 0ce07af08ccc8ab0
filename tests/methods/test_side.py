"""The ladder beside a backbone: its equations, written out, and what it leaves alone."""

from typing import Any

import pytest
import torch
from disturbed import disturb
from families import FAMILIES

from conftest import make_batch
from hyperadapters import (
    CompacterProjections,
    DenseProjections,
    HyperSideAdapter,
    InputError,
    LowRankProjections,
    PHMProjections,
    SideAdapter,
    attach,
    count_parameters,
    method_named,
)

ENCODER = ["bert", "roberta", "deberta-v2", "distilbert", "modernbert"]
PROJECTIONS = [DenseProjections(), LowRankProjections(rank=2), PHMProjections(n=2), CompacterProjections(n=2)]


def norm(x: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 at every place."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def states_in(output: Any) -> torch.Tensor:
    """What a layer returns first."""
    return output[0] if isinstance(output, tuple) else output


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """Softmax attention, head by head and place by place."""
    found = torch.zeros_like(q)
    width = q.shape[-1] // heads
    for row in range(len(q)):
        kept = mask[row].bool()
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[row, :, part] @ k[row, kept, part].T / width**0.5
            found[row, :, part] = scores.softmax(-1) @ v[row, kept, part]
    return found


def expected_change(
    delta: Any, states: list[torch.Tensor], mask: torch.Tensor, source: torch.Tensor | None, heads: int
):
    """What is added to the last layer's output, from the Delta's tensors alone."""
    held = {name.removeprefix("ladder."): tensor[0].detach() for name, tensor in delta.tensors().items()}
    down, up = held["matrices.down"], held["matrices.up"][0]
    memory = None if source is None else norm(norm(source) @ down[len(states)])
    state = torch.zeros(*states[0].shape[:2], up.shape[0])
    for rung, hidden in enumerate(states):
        read = torch.relu(norm(hidden) @ down[rung] + held["down_bias"][rung])
        keep = torch.sigmoid(held["gate"][rung])
        state = keep * state + (1 - keep) * read
        if heads:
            own = norm(state)
            of = own if memory is None else memory
            q, k, v = own @ held["query"][rung], of @ held["key"][rung], of @ held["value"][rung]
            state = state + attended(q, k, v, mask, heads) @ held["mix"][rung]
    return state @ up + held["up_bias"]


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_last_state_is_changed_as_the_equations_say(name: str, heads: int) -> None:
    family = FAMILIES[name]
    model = family.make()
    delta = disturb(attach(model, SideAdapter(bottleneck=8, heads=heads)), by=0.3)
    (part,) = [part for _, part in delta._named_parts() if part.reads()]
    outputs: list[torch.Tensor] = []
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda module, args, output: outputs.append(states_in(output)),
            prepend=True,
        )
        for path in part.reads()
    ]
    changed: list[torch.Tensor] = []
    handles.append(
        model.get_submodule(part.reads()[-1]).register_forward_hook(
            lambda module, args, output: changed.append(states_in(output))
        )
    )
    batch = family.batch()
    with torch.no_grad():
        model(**batch)
        source = model.get_encoder()(batch["input_ids"], batch["attention_mask"])[0] if name == "t5" else None
    for handle in handles:
        handle.remove()
    own = heads if name != "llama" else 0
    wanted = outputs[-1] + expected_change(delta, outputs[: len(part.reads())], batch["attention_mask"], source, own)
    torch.testing.assert_close(changed[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["t5", "llama", *ENCODER])
def test_no_gradient_enters_the_backbone(name: str) -> None:
    family = FAMILIES[name]
    model = family.make()
    delta = attach(model, SideAdapter(bottleneck=8))
    (part,) = [part for _, part in delta._named_parts() if part.reads()]
    needed: list[bool] = []
    for path in part.reads():
        model.get_submodule(path).register_forward_hook(
            lambda module, args, output: needed.append(
                (output[0] if isinstance(output, tuple) else output).requires_grad
            ),
            prepend=True,
        )
    assert model(**family.batch()).logits.requires_grad
    assert needed
    assert not any(needed)


@pytest.mark.parametrize("projections", PROJECTIONS, ids=lambda each: type(each).__name__)
def test_every_parametrisation_trains_and_is_saved(projections: Any, tiny: Any, tmp_path: Any) -> None:
    from hyperadapters import load

    method = SideAdapter(projections=projections, bottleneck=8)
    delta = attach(tiny, method)
    tiny(**make_batch(2)).loss.backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in delta.trained().values())
    delta.save(tmp_path / "saved")
    delta.detach()
    assert load(tmp_path / "saved", tiny).method == method


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_the_count_is_that_of_the_formula(name: str) -> None:
    """L rungs of d·w + w + 1 and, with attention, 4w²; w·d + d up; beside a decoder above an encoder d·w more."""
    width, model = 8, FAMILIES[name].make()
    delta = attach(model, SideAdapter(bottleneck=width))
    d, layers = 32, 2
    attention = 4 * width**2 if name != "llama" else 0
    wanted = layers * (d * width + width + 1 + attention) + width * d + d + (d * width if name == "t5" else 0)
    assert count_parameters(delta).by_kind["adapter"] == wanted


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_a_written_ladder_answers_as_the_ladder_that_is_baked_of_it(name: str) -> None:
    """The ladder's equations are tested above: of each task, and in a batch that mixes them."""
    family = FAMILIES[name]
    model, batch = family.make(), family.batch()
    count = len(batch["input_ids"])
    tasks = [["a", "b"][row % 2] for row in range(count)]
    whole = disturb(attach(model, HyperSideAdapter(bottleneck=8, heads=2), tasks=["a", "b"]))
    with torch.no_grad():
        with whole.rows(tasks):
            mixed = model(**batch).logits
        for number, task in enumerate("ab"):
            with whole.rows(task):
                alone = model(**batch).logits
            plain = whole.bake(task)
            plain.use()
            assert plain.method == SideAdapter(bottleneck=8, heads=2)
            torch.testing.assert_close(model(**batch).logits, alone, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(mixed[number::2], alone[number::2], rtol=1e-4, atol=1e-5)
            whole.use()


def test_a_written_ladder_has_an_embedding_for_each_task_and_networks_for_all() -> None:
    """Inputs 64 + 2 · 64, a projector to 128 and 64, a norm, and a map to a rung's numbers; the same for the end."""
    width, d, layers = 8, 32, 2
    delta = attach(FAMILIES["bert"].make(), HyperSideAdapter(bottleneck=width), tasks=["a", "b", "c"])
    counts = count_parameters(delta).by_kind
    network = (192 * 128 + 128) + (128 * 64 + 64) + 2 * 64 + 64
    rung, end = d * width + width + 1 + 4 * width**2, width * d + d
    assert counts["adapter"] == 3 * 64
    assert counts["shared"] == 2 * network + 65 * (rung + end) + 64 * (layers + 1)


def test_first_layer_leaves_out_the_rungs_below() -> None:
    model = FAMILIES["bert"].make()
    delta = attach(model, SideAdapter(bottleneck=8, first_layer=1))
    assert delta.parts["ladder"].reads() == ("bert.encoder.layer.1",)
    delta.detach()
    assert attach(model, SideAdapter(bottleneck=8, first_layer=9)).parts["ladder"].reads() == ("bert.encoder.layer.1",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bottleneck": 0}, "1 or more"),
        ({"heads": 3}, "divide"),
        ({"first_layer": -1}, "count from 0"),
        ({"projections": CompacterProjections(n=7)}, "n must divide"),
        ({"projections": LowRankProjections(rank=0)}, "rank"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str, tiny: Any) -> None:
    before = [*tiny.state_dict()]
    with pytest.raises(InputError, match=said):
        attach(tiny, SideAdapter(**changes))
    assert [*tiny.state_dict()] == before


def test_the_command_line_sets_its_fields() -> None:
    assert method_named("side", {"bottleneck": "16", "heads": "2"}) == SideAdapter(bottleneck=16, heads=2)


def test_a_mask_of_another_shape_is_refused() -> None:
    model = FAMILIES["bert"].make()
    attach(model, SideAdapter(bottleneck=8))
    batch = FAMILIES["bert"].batch()
    with pytest.raises(InputError, match=r"\(rows, tokens\)"):
        model(input_ids=batch["input_ids"], attention_mask=torch.ones(2, 1, 9, 9))

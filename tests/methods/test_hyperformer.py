"""HyperFormer and its family: counts of the paper, the equations written out, baking, and new tasks."""

from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from told_tasks import told

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach, load, method_named
from hyperadapters.layers.adapter_index import AdapterIndex
from hyperadapters.methods.hyperformer import HyperMethod
from hyperadapters.methods.registry import count_parameters

TASKS = ("mrpc", "rte", "cola")
ROWS = ("rte", "cola")
HYPER = [name for name, method in METHODS.items() if isinstance(method, HyperMethod)]
BAKED = [*HYPER, "adapters-multitask", "houlsby", "compacter"]


@pytest.mark.parametrize(
    ("name", "trained"),
    [("adapters-multitask", 14_581_248), ("hyperformer", 122_404_672), ("hyperformer++", 5_211_056)],
)
def test_t5_base_trains_what_the_papers_table_says(name, trained):
    assert count_parameters(METHODS[name], backbone="t5-base", tasks=8).trained == trained


def test_hyperformer_plus_plus_is_a_third_of_a_percent_a_task():
    assert round(count_parameters(METHODS["hyperformer++"], backbone="t5-base", tasks=8).percent / 8, 3) == 0.292


@pytest.mark.parametrize("size", [(512, 6, 16), (768, 12, 24)])
def test_counts_are_their_closed_forms_at_small_and_base(size):
    h, layers, d = size
    backbone = {512: "t5-small", 768: "t5-base"}[h]
    norms, vectors, tasks = h * (5 * layers + 2), d + 3 * h, 8

    def count(name):
        return count_parameters(method_named(name, {"bottleneck": d}), backbone=backbone, tasks=tasks).trained

    def stacks(out):
        return 2 * (layers * 64 + 2 * 64 + 192 * 128 + 128 + 128 * 64 + 64 + 2 * 64 + 65 * out) + tasks * 64 + norms

    dense = 2 * h * d + vectors
    assert count("hyperformer++") == stacks(dense)
    assert count("hyperformer") == tasks * 512 + 512 * 128 + 128 + 128 * 64 + 64 + 4 * layers * 65 * dense + norms
    assert count("hyper-compacter") == stacks(2 * (h + d) + vectors) + 4**3
    assert count("hyper-phm") == stacks(2 * h * d // 4 + vectors) + 4**3
    assert count("adapters-multitask") == 4 * layers * (tasks * (2 * h * d + d + h) + 2 * h) + norms


def test_the_compacter_form_has_a_tenth_of_the_generators():
    written = [sum(attach(make_tiny(d_model=96, d_kv=24), METHODS[name]).parts["adapters"].networks["encoder"]
                   .generator.sizes) for name in ("hyperformer++", "hyper-compacter")]  # fmt: skip
    assert written[1] < 0.2 * written[0]


def moved(name, backbone, **changes):
    torch.manual_seed(4)
    delta = told(attach(backbone, method_named(name, changes), name="mix", tasks=TASKS))
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return delta


def test_hyperformer_is_the_papers_equations(tiny):
    """§2.2 written out for one task, site and row of tokens."""
    delta = moved("hyperformer", tiny)
    part, site, d, h = delta.parts["adapters"], 3, 24, 48
    z, network = part.tasks[1], part.networks["sites"]
    first, _, second = network.projector
    embedding = second(torch.relu(first(z)))
    written = embedding @ network.generator.weight[site] + network.generator.bias[site, 0]
    down, up, down_bias, up_bias, scale, shift = torch.split(written, [h * d, d * h, d, h, h, h])
    y = torch.randn(2, 5, h)
    inner = F.gelu(y @ down.view(h, d) + down_bias, approximate="tanh") @ up.view(d, h) + up_bias
    expected = scale * F.layer_norm(inner, (h,)) + shift + y
    with delta.rows("rte"):
        delta._generation.renew()
    found = part.adapt(lambda: delta._generation.current.made["adapters"][site], None, (), y)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_hyperformer_plus_plus_is_the_papers_equations(tiny):
    """§2.3: the embedding of task, layer and position, normalised, for the decoder's second feed-forward."""
    delta = moved("hyperformer++", tiny)
    part = delta.parts["adapters"]
    network = part.networks["decoder"]
    assert [(s.stack, s.layer, s.position) for s in part.sites][7] == ("decoder", 1, "feed_forward")
    mlp, norm = network.projector
    embedding = norm(mlp(torch.cat([part.tasks[2], network.layer[1], network.position[1]])))
    written = embedding @ network.generator.weight[0] + network.generator.bias[0, 0]
    found = part.written(part.tasks[[2]])
    torch.testing.assert_close(found["down"][0, 7].flatten(), written[: 48 * 24], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["shift"][0, 7], written[-48:], rtol=1e-4, atol=1e-5)


def test_hyper_compacter_writes_sums_of_kronecker_products(tiny):
    delta = moved("hyper-compacter", tiny)
    part = delta.parts["adapters"]
    present = torch.tensor([1])
    found, weights = part.written(part.tasks[present]), part.weights(AdapterIndex(present))
    dense = sum(
        torch.kron(part.slow[0, 0, i], found["down_left"][0, 5, i] @ found["down_right"][0, 5, i]) for i in range(4)
    )
    torch.testing.assert_close(weights.down[0, 5], dense, rtol=1e-4, atol=1e-5)


def _all_written(delta):
    part = delta.parts["adapters"]
    return part.written(part.tasks)


@pytest.mark.parametrize("projector", [True, False])
def test_fast_weights_start_as_wide_as_compacters(projector, tiny):
    method = method_named("hyper-compacter", {"task_projector": projector})
    written = _all_written(attach(tiny, method, name="a"))["down_left"]
    plain = attach(tiny, METHODS["compacter"], name="b").parts["adapters"].matrices.down_left
    assert written.std().item() == pytest.approx(plain.std().item(), rel=0.25)


ABLATIONS = {"adapter_blocks": False, "conditional_norm": False, "task_projector": False, "norms": False}
FIELDS = {**ABLATIONS, "bottleneck": 12, "positions": ["attention"], "stacks": ["encoder"], "first_layer": 1,
          "activation": "relu", "n": 2, "rank": 2, "projector_init": "linear",
          "task_source": "description"}  # fmt: skip


@pytest.mark.parametrize("name", [*HYPER, "adapters-multitask"])
def test_every_field_changes_behaviour(name, tiny, batch):
    def behaviour(**changes):
        delta = moved(name, tiny, **changes)
        with torch.no_grad(), delta.rows(ROWS):
            found = {key: tuple(t.shape) for key, t in delta.trained().items()}, tiny(**batch).logits
        delta.detach()
        return found

    shapes, output = behaviour()
    for field in fields(METHODS[name]):
        changed_shapes, changed = behaviour(**{field.name: FIELDS[field.name]})
        assert changed_shapes != shapes or not torch.equal(changed, output), field.name


@pytest.mark.parametrize("name", HYPER)
@pytest.mark.parametrize("field", ABLATIONS)
def test_every_ablation_trains(name, field, tiny, batch):
    delta = attach(tiny, method_named(name, {field: False}), tasks=TASKS)
    with delta.rows(ROWS):
        tiny(**batch).loss.backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in delta.trained().values())


def test_writing_nothing_is_refused(tiny):
    with pytest.raises(InputError, match="writes nothing"):
        attach(tiny, method_named("hyperformer", {"adapter_blocks": False, "conditional_norm": False}))


@pytest.mark.parametrize("name", BAKED)
def test_a_baked_task_gives_the_same_logits_from_its_own_file_without_a_hypernetwork(name, tiny, batch, tmp_path):
    delta = moved(name, tiny)
    with torch.no_grad(), delta.rows("rte"):
        expected = tiny(**batch).logits
    plain = delta.bake("rte")
    assert (plain.name, plain.in_use, plain.tasks) == ("rte", True, ())
    plain.save(tmp_path / "rte")
    fresh = make_tiny()
    loaded = load(tmp_path / "rte", fresh)
    assert not [key for key in loaded.tensors() if "network" in key]
    with torch.no_grad():
        torch.testing.assert_close(fresh(**batch).logits, expected, rtol=0, atol=1e-6)


def test_baking_draws_nothing_and_names_the_delta_without_dots(tiny):
    delta = attach(tiny, METHODS["hyperformer++"], tasks=["rte", "own/data.v2"])
    before = torch.get_rng_state()
    assert delta.bake("data.v2").name == "data-v2"
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_baked_says_so(tiny):
    delta = attach(tiny, METHODS["hyperformer++"], tasks=TASKS)
    with pytest.raises(InputError, match="knows no task 'mnli'. It knows mrpc, rte, cola"):
        delta.bake("mnli")
    with pytest.raises(InputError, match="nothing to bake"):
        attach(tiny, METHODS["full-multitask"], name="whole", tasks=TASKS).bake("rte")


@pytest.mark.parametrize("name", BAKED)
def test_a_new_task_starts_where_it_is_told_and_leaves_the_others_as_they_were(name, tiny, batch, tmp_path):
    delta = moved(name, tiny)

    def logits(task):
        with torch.no_grad(), delta.rows(task):
            return tiny(**batch).logits

    before = {task: logits(task) for task in TASKS}
    delta.add_task("scitail", like="rte")
    delta.add_task("imdb")
    assert delta.tasks == (*TASKS, "scitail", "imdb")
    assert all(torch.equal(logits(task), before[task]) for task in TASKS)
    torch.testing.assert_close(logits("scitail"), before["rte"])
    assert not torch.allclose(logits("imdb"), before["rte"])
    delta.save(tmp_path / "more")
    assert load(tmp_path / "more", make_tiny()).tasks == delta.tasks
    with pytest.raises(InputError, match="cannot add task 'rte'"):
        delta.add_task("rte")
    with pytest.raises(InputError, match="task 'mnli'"):
        delta.add_task("new", like="mnli")


@pytest.mark.parametrize("name", BAKED)
def test_with_the_rest_frozen_only_the_new_tasks_own_entries_move(name, tiny, batch):
    delta = moved(name, tiny)
    delta.add_task("scitail", like="rte")
    before = {key: tensor.detach().clone() for key, tensor in delta.tensors().items()}
    delta.train_only("scitail")
    trained = [tensor for tensor in delta.trained().values() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.0)
    with delta.rows(["scitail", "rte"]):
        tiny(**batch).loss.backward()
    optimizer.step()
    own = {f"{part}.{key}" for part, held in delta.parts.items() for key in held.per_adapter()}
    assert sorted(delta.trained()) == sorted(own)
    for key, tensor in delta.tensors().items():
        assert torch.equal(tensor[:3] if key in own else tensor, before[key][:3] if key in own else before[key])
    assert any(not torch.equal(delta.tensors()[key][3], before[key][3]) for key in own)

"""Adapters that read the residual stream compute what their formula says, wherever it can be seen."""

import copy
import threading
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES

from hyperadapters import Adapter, Compacter, InputError, attach, load
from hyperadapters.backbones import read_structure, residual_of, with_checkpointing

KNOWN = ["bart", "bert", "distilbert", "electra", "gpt2", "llama", "mistral", "mt5", "roberta", "t5", "t5-v1.1"]
NORMED = {"bart", "bert", "distilbert", "electra", "roberta"}
"""Families whose sub-layers end with their norm."""


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def disturb(delta):
    """Give every trained tensor other values."""
    with torch.no_grad():
        for number, tensor in enumerate(delta.trained().values()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)) * 0.1)
    return delta


def first_site(backbone, batch, position):
    """What a pass without adapters shows of a stack's last site: y, x, and what follows their sum."""
    structure = read_structure(backbone)
    site = [s for s in structure.sites if s.position == position and s.stack == structure.stacks[0]][-1]
    found = residual_of(backbone, site)
    seen = {}

    def keep_x(module, args, kwargs):
        seen["x"] = args[found.argument] if len(args) > found.argument else kwargs["hidden_states"]

    def keep_y(module, args, output):
        seen["y"] = output

    def keep_sum(module, args):
        seen["sum"] = args[0]

    handles = [
        backbone.get_submodule(found.module).register_forward_pre_hook(keep_x, with_kwargs=True),
        backbone.get_submodule(site.module).register_forward_hook(keep_y),
    ]
    if found.norm:
        handles.append(backbone.get_submodule(found.norm).register_forward_pre_hook(keep_sum))
    logits(backbone, batch)
    for handle in handles:
        handle.remove()
    return site, found, seen


@pytest.mark.parametrize("position", ["attention", "feed_forward"])
@pytest.mark.parametrize("name", KNOWN)
def test_the_residual_stream_is_what_a_sub_layers_output_is_added_to(name, position):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    site, found, seen = first_site(backbone, batch, position)
    assert bool(found.norm) == (name in NORMED)
    if found.norm:
        assert torch.equal(seen["sum"], seen["y"] + seen["x"])
    else:  # the sum is what the next module reads, or the block returns
        block = site.linear[: site.linear.index(f".{site.layer}.") + len(f".{site.layer}")]
        caught = []
        modules = [block, *(f"{block}.{n}" for n, _ in backbone.get_submodule(block).named_modules() if n)]
        handles = [
            backbone.get_submodule(path).register_forward_hook(lambda m, a, o: caught.append((a, o)))
            for path in modules
        ]
        logits(backbone, batch)
        for handle in handles:
            handle.remove()
        tensors = [t for pair in caught for part in pair for t in (part if isinstance(part, tuple) else (part,))]
        wanted = seen["y"] + seen["x"]
        assert any(isinstance(t, torch.Tensor) and t.shape == wanted.shape and torch.equal(t, wanted) for t in tensors)


@pytest.mark.parametrize("placement", ["after_sum", "parallel"])
@pytest.mark.parametrize("position", ["attention", "feed_forward"])
@pytest.mark.parametrize("name", ["bert", "t5", "bart", "gpt2"])
def test_the_adapter_adds_its_formula_to_the_sub_layers_output(name, position, placement):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    site, found, seen = first_site(backbone, batch, position)
    x = seen["x"]
    if placement == "after_sum":
        x = seen["y"] + x
        x = backbone.get_submodule(found.norm)(x) if found.norm else x
    where = {"positions": (position,), "stacks": (site.stack,), "first_layer": 99, "placement": placement}
    method = Adapter(**where, scaling=4.0, activation="relu", bottleneck=8, norms=False)
    delta = disturb(attach(backbone, method))
    t = {name.removeprefix("adapters.").removeprefix("matrices."): v[0, 0] for name, v in delta.tensors().items()
         if name.startswith("adapters.")}  # fmt: skip
    change = F.relu(x @ t["down"] + t["down_bias"]) @ t["up"] + t["up_bias"]
    results = []
    module = backbone.get_submodule(site.module)
    handle = module.register_forward_hook(lambda m, a, o: results.append(o))
    adapted = logits(backbone, batch)
    handle.remove()
    torch.testing.assert_close(results[-1], seen["y"] + 4.0 * change, atol=1e-5, rtol=1e-5)
    with delta.disabled():
        assert not torch.equal(logits(backbone, batch), adapted)
    assert torch.equal(logits(backbone, batch), adapted)


@pytest.mark.parametrize("placement", ["after_sum", "parallel"])
@pytest.mark.parametrize("name", ["bert", "t5", "bart", "llama"])
def test_it_trains_is_saved_copied_mixed_by_row_and_leaves_nothing(name, placement, tmp_path):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    base = logits(backbone, batch)
    method = Compacter(n=4, bottleneck=8, placement=placement, scaling=2.0)
    delta = disturb(attach(backbone, method, name="two", tasks=["a", "b"]))
    backbone.train()
    with delta.rows(["a", "b"]):
        backbone(**batch).logits.square().mean().backward()
    assert all(tensor.grad is not None for tensor in delta.trained().values())
    backbone.eval()
    with delta.rows(["a", "b"]):
        mixed = logits(backbone, batch)
    alone = []
    for number, task in enumerate(("a", "b")):
        with delta.rows(task):
            alone.append(logits(backbone, batch)[number])
    torch.testing.assert_close(mixed, torch.stack(alone), atol=1e-5, rtol=1e-4)
    with copy.deepcopy(backbone).hyperadapters["two"].rows(["a", "b"]) as copied:
        assert torch.equal(logits(copied, batch), mixed)
    delta.save(tmp_path / "a")
    delta.detach()
    assert torch.equal(logits(backbone, batch), base)
    read = load(tmp_path / "a", backbone)
    assert read.method == method
    with read.rows(["a", "b"]):
        assert torch.equal(logits(backbone, batch), mixed)


def test_gradient_checkpointing_gives_the_same_gradients():
    family = FAMILIES["bart"]
    found = []
    for checkpointing in (False, True):
        backbone, batch = family.make(), family.batch()
        delta = attach(backbone, Adapter(placement="after_sum", bottleneck=8), seed=0)
        backbone.train()
        with with_checkpointing(backbone) if checkpointing else nullcontext():
            backbone(**batch).logits.square().mean().backward()
        found.append({name: tensor.grad for name, tensor in delta.trained().items()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_two_threads_have_their_own_streams():
    family = FAMILIES["t5"]
    backbone, batch = family.make(), family.batch()
    disturb(attach(backbone, Adapter(placement="parallel", bottleneck=8, norms=False)))
    other = {**batch, "input_ids": batch["input_ids"].flip(0), "attention_mask": batch["attention_mask"].flip(0)}
    expected = {id(each): logits(backbone, each) for each in (batch, other)}
    wrong = []

    def work(each):
        for _ in range(20):
            if not torch.equal(logits(backbone, each), expected[id(each)]):
                wrong.append(each)

    threads = [threading.Thread(target=work, args=(each,)) for each in (batch, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_family_whose_residual_stream_is_not_known_is_refused_with_those_that_are():
    backbone = FAMILIES["phi"].make()
    with pytest.raises(InputError, match=r"model_type 'phi'.*BERT and its kin, bart.*placement='in_line'"):
        attach(backbone, Adapter(placement="parallel"))
    assert not hasattr(backbone, "hyperadapters")


def test_a_scaling_of_nothing_is_refused(tiny):
    with pytest.raises(InputError, match=r"scaling=0\.0"):
        attach(tiny, Adapter(scaling=0.0))
    with pytest.raises(InputError, match=r"placement='parallel' reads the residual stream"):
        attach(tiny, Adapter(placement="parallel", activation="identity")).merge()

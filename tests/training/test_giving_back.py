"""What a backbone is after a Delta was attached, trained and detached: in every respect what it was before."""

from dataclasses import replace

import pytest
import torch
from contract_methods import METHODS
from families import FAMILIES
from toy_tasks import toy
from training_runs import SHORT

from hyperadapters import NonFiniteLossError, attach, fit, method_named
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.training.profiling import measure

KINDS = {"t5": "encoder-decoder", "bert": "encoder", "gpt2": "decoder"}
DROPOUT = {"t5": "dropout_rate", "bert": "hidden_dropout_prob", "gpt2": "resid_pdrop"}


def checkpointed(function, *args):
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)


def a_users(name):
    """A backbone in a state that nobody would guess: partly frozen, partly in training mode, checkpointed."""
    room = {"n_positions": 128} if name == "gpt2" else {}
    backbone = FAMILIES[name].make(**{DROPOUT[name]: 0.2}, **room).train()
    for number, tensor in enumerate(backbone.parameters()):
        tensor.requires_grad_(number % 3 == 0)
    for number, module in enumerate(backbone.modules()):
        module.training = number % 2 == 0
    return backbone


def state(backbone):
    modules = dict(backbone.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "gradients": {name: tensor.requires_grad for name, tensor in backbone.named_parameters()},
        "values": {name: tensor.clone() for name, tensor in backbone.state_dict().items()},
        "classes": {name: type(module) for name, module in modules.items()},
        "modes": {name: module.training for name, module in modules.items()},
        "hooks": {name: [len(getattr(module, kind)) for kind in hooks] for name, module in modules.items()},
        "attributes": {name: {*vars(module)} for name, module in modules.items()},
        "checkpointing": {name: vars(module).get("_gradient_checkpointing_func") for name, module in modules.items()},
        "attention": backbone.config._attn_implementation,
        "config": backbone.config.to_dict(),
        "generation": backbone.generation_config.to_dict() if hasattr(backbone, "generation_config") else None,
        "tensors": {
            name: [*vars(tensor), *(tensor._backward_hooks or ())] for name, tensor in backbone.named_parameters()
        },
    }


def same(found, expected):
    values = found.pop("values"), expected.pop("values")
    assert found == expected
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[1])


def but_for_the_slow(name, method):
    """A case that `make check` leaves out where it takes long: a projection of all parameters."""
    return pytest.param(name, method, marks=pytest.mark.slow if method == "intrinsic-said" else ())


@pytest.mark.parametrize(
    ("name", "method"),
    [
        but_for_the_slow(name, method)
        for name in KINDS
        for method in ("houlsby", "bitfit", "full", "prompt-r", "intrinsic-said")
    ],
)
def test_detach_gives_back_everything(name, method):
    backbone = a_users(name)
    before = state(backbone)
    delta = attach(backbone, METHODS[method])
    data = toy(KINDS[name])
    fit(delta, data, SHORT, quiet=True)
    measure(delta, data, batch_size=4)
    delta.detach()
    same(state(backbone), before)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_checkpointing_that_was_on_stays_as_it_was(name, own):
    backbone = a_users(name)
    if own:
        _enable_checkpointing(backbone)
        backbone._set_gradient_checkpointing(True, checkpointed)
    before = state(backbone)
    delta = attach(backbone, method_named("compacter", {"bottleneck": 8}))
    fit(delta, toy(KINDS[name]), replace(SHORT, gradient_checkpointing=True), quiet=True)
    delta.detach()
    same(state(backbone), before)


def test_fit_alone_changes_only_the_delta():
    backbone = a_users("bert")
    delta = attach(backbone, METHODS["houlsby"], outputs=2)
    before = state(backbone)
    fit(delta, toy("encoder"), SHORT, quiet=True)
    own = {name for name in before["values"] if not name.startswith("hyperadapters.")}
    after = state(backbone)
    assert {key: value for key, value in after.items() if key != "values"} == {
        key: value for key, value in before.items() if key != "values"
    }
    assert all(torch.equal(after["values"][name], before["values"][name]) for name in own)


def test_a_run_that_fails_gives_back_everything_too():
    backbone = a_users("t5")
    before = state(backbone)
    delta = attach(backbone, METHODS["full"])
    with pytest.raises(NonFiniteLossError):
        fit(delta, toy("encoder-decoder"), replace(SHORT, lr=1e30), quiet=True)
    delta.detach()
    same(state(backbone), before)


def test_the_last_of_several_gives_back_what_required_gradients():
    backbone = a_users("bert")
    before = state(backbone)["gradients"]
    first = attach(backbone, METHODS["houlsby"], "first")
    second = attach(backbone, METHODS["bitfit"], "second")
    first.detach()
    own = [tensor for name, tensor in backbone.named_parameters() if not name.startswith("hyperadapters.")]
    assert not any(tensor.requires_grad for tensor in own)
    second.detach()
    assert state(backbone)["gradients"] == before

"""Ways of calling a model that pass the hooks by, and ways of training that run layers twice: right, or an error."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertModel

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach
from hyperadapters.delta.generation import _Generation

IDS = torch.arange(3, 15).view(2, 6)
ADAPTERS = [name for name, method in METHODS.items() if not name.startswith("full")]
SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def make_bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES)).eval()


def method(name):
    """A preset that fits a small width."""
    found = METHODS[name]
    changes = {
        "intrinsic-said": {"intrinsic_dim": 64},
        "phm": {"n": 4},
        "hyper-phm": {"n": 4},
        "prompt-t": {"prompt_length": 8},
    }
    return found.changed(changes[name]) if name in changes else found


def reentrant(backbone, *, on):
    """Let layers be computed again in the backward pass."""
    renamed = getattr(backbone, "activation_checkpointing_enable", None)  # the name in later versions
    (renamed or backbone.gradient_checkpointing_enable)({"use_reentrant": on})


def shake(delta):
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.3 * torch.randn_like(tensor))


def states(call):
    return call(input_ids=IDS).last_hidden_state


def gradients(delta, loss):
    loss.backward()
    found = {name: None if p.grad is None else p.grad.clone() for name, p in delta.trained().items()}
    for parameter in delta.trained().values():
        parameter.grad = None
    return found


def same(one, other):
    both = [(one[key], other[key]) for key in one]
    return one.keys() == other.keys() and all(
        a is b if a is None or b is None else torch.allclose(a, b, atol=1e-5) for a, b in both
    )


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name not in ("prompt-r", "prompt-t")])
def test_forward_called_directly_gives_fresh_weights_and_gradients(name):
    bert = make_bert()
    delta = attach(bert, method(name))
    for _ in range(2):
        shake(delta)
        with torch.no_grad():
            assert torch.allclose(states(bert.forward), states(bert), atol=1e-6)
        wanted = gradients(delta, states(bert).square().sum())
        assert same(gradients(delta, states(bert.forward).square().sum()), wanted)
        assert same(gradients(delta, states(bert.forward).square().sum()), wanted)


@pytest.mark.parametrize("name", ["hyperformer++", "hyper-compacter", "bitfit"])
def test_forward_called_directly_uses_the_rows_that_were_chosen(name):
    bert = make_bert()
    delta = attach(bert, METHODS[name], tasks=["a", "b"])
    shake(delta)
    for rows in ("a", "b", ["b", "a"], ["a", "b"]):
        with torch.no_grad(), delta.rows(rows):
            assert torch.allclose(states(bert.forward), states(bert), atol=1e-6)


def test_forward_called_directly_sees_tensors_that_were_written_past_autograd():
    bert = make_bert()
    delta = attach(bert, METHODS["compacter"])
    with torch.no_grad():
        states(bert.forward)
        for tensor in delta.trained().values():
            tensor.data.add_(0.3 * torch.randn_like(tensor))
        assert torch.equal(states(bert.forward), states(bert))


def test_two_passes_through_forward_before_one_backward_give_both_their_gradients():
    bert = make_bert()
    delta = attach(bert, METHODS["compacter"])
    shake(delta)
    wanted = gradients(delta, states(bert).sum() + 2 * states(bert).square().sum())
    assert same(gradients(delta, states(bert.forward).sum() + 2 * states(bert.forward).square().sum()), wanted)


def test_a_decoder_with_kept_encoder_outputs_uses_the_weights_of_now(tiny):
    delta = attach(tiny, METHODS["compacter++"])
    shake(delta)
    start = torch.zeros(2, 1, dtype=torch.long)
    with torch.no_grad():
        kept = tiny.get_encoder()(input_ids=IDS)
        for tensor in delta.trained().values():
            tensor.data.add_(0.3 * torch.randn_like(tensor))
        found = tiny(encoder_outputs=kept, decoder_input_ids=start).logits
        delta._generation.forget()
        assert torch.equal(found, tiny(encoder_outputs=kept, decoder_input_ids=start).logits)


@pytest.mark.parametrize("name", [*ADAPTERS, "full"])
@pytest.mark.parametrize("direct", [False, True])
def test_reentrant_checkpointing_gives_the_same_gradients_where_the_embeddings_have_some(name, direct):
    if direct and name.startswith("prompt"):
        pytest.skip("a prompt is inserted by a hook of the stack")
    bert = make_bert()
    delta = attach(bert, method(name))
    shake(delta) if name != "full" else None
    bert.train()
    call = bert.forward if direct else bert
    wanted = gradients(delta, states(call).square().sum())
    bert.enable_input_require_grads()
    reentrant(bert, on=True)
    assert same(gradients(delta, states(call).square().sum()), wanted)


@pytest.mark.parametrize("name", ["compacter", "houlsby", "bitfit"])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_that_would_give_no_gradients_is_refused(name):
    """A T5 has nothing that trains before its first layer; the norm after the last would train alone."""
    backbone = make_tiny()
    attach(backbone, METHODS[name])
    backbone.train()
    reentrant(backbone, on=True)
    backbone.disable_input_require_grads()  # newer transformers let the embeddings have gradients by themselves
    with pytest.raises(InputError, match="use_reentrant=True gives these adapters no gradients"):
        backbone(input_ids=IDS, labels=IDS)
    backbone.eval()
    backbone(input_ids=IDS, labels=IDS)


def test_a_whole_model_that_is_recomputed_for_rows_of_another_time_is_refused():
    bert = make_bert()
    delta = attach(bert, METHODS["hyperformer++"], tasks=["a", "b"])
    shake(delta)
    with delta.rows(["a", "b"]):
        wanted = gradients(delta, states(bert).square().sum())
        found = checkpoint(lambda ids: bert(input_ids=ids).last_hidden_state, IDS, use_reentrant=False)
    with delta.rows(["b", "a"]):
        assert same(gradients(delta, found.square().sum()), wanted)
    bert.train()
    reentrant(bert, on=False)
    with delta.rows(["a", "b"]):
        found = states(bert.forward)
    with delta.rows(["b", "a"]), pytest.raises(InputError, match="for rows that are not known any more"):
        found.square().sum().backward()


@pytest.mark.parametrize("name", ["compacter", "houlsby", "bitfit"])
@pytest.mark.parametrize("direct", [False, True])
def test_passes_inside_a_backward_hook_are_passes_of_their_own(name, direct):
    """As a cached loss makes them: embeddings without gradients first, then again, part by part, in a backward hook."""
    bert = make_bert()
    delta = attach(bert, method(name))
    shake(delta)
    call = bert.forward if direct else bert
    wanted = gradients(delta, states(call).square().sum())
    with torch.no_grad():
        cached = states(call)
    cached.requires_grad_()

    def again(_):
        with torch.enable_grad():
            for row in range(len(IDS)):
                part = call(input_ids=IDS[row : row + 1]).last_hidden_state
                torch.dot(part.flatten(), cached.grad[row].flatten()).backward()

    loss = cached.square().sum()
    loss.backward()
    trigger = torch.zeros(1, requires_grad=True) * 1
    trigger.register_hook(again)
    assert same(gradients(delta, trigger.sum()), wanted)


@pytest.mark.parametrize("name", ["compacter", "hyperformer++"])
def test_a_stack_costs_one_making_of_weights_for_a_pass_and_none_for_a_token(name, monkeypatch):
    backbone, made = make_tiny(), []
    renew = _Generation.renew
    monkeypatch.setattr(_Generation, "renew", lambda self, rows=None: (made.append(1), renew(self, rows))[1])
    attach(backbone, METHODS[name])
    backbone(input_ids=IDS, labels=IDS).loss.backward()
    assert len(made) == 1
    made.clear()
    with torch.no_grad():
        backbone.generate(input_ids=IDS, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    assert len(made) == 2, "once for the encoder, once for the decoder's first token"


COMPILED = """
import torch, json
import hyperadapters as ha
from transformers import BertConfig, BertModel

torch.manual_seed(0)
sizes = dict(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
bert, ids, right = BertModel(BertConfig(**sizes)).eval(), torch.arange(6)[None], {}

def check(name, call):
    found, wanted = call(input_ids=ids), bert(input_ids=ids)
    right[name] = torch.allclose(found.last_hidden_state, wanted.last_hidden_state, atol=1e-6)

def shake(delta):
    for tensor in delta.trained().values():
        tensor.add_(0.3 * torch.randn_like(tensor))

with torch.no_grad():
    whole, direct = torch.compile(bert, backend="eager"), torch.compile(bert.forward, backend="eager")
    check("before any Delta", whole)
    one = ha.attach(bert, ha.METHODS["compacter"], name="one")
    shake(one)
    check("attached after compiling", whole)
    check("directly", direct)
    shake(one)
    check("after an update", whole)
    check("after an update, directly", direct)
    two = ha.attach(bert, ha.METHODS["houlsby"], name="two")
    shake(two)
    check("another Delta", whole)
    one.use()
    check("the first again", whole)
    with one.disabled():
        check("disabled", whole)
    check("no longer disabled", whole)
    one.detach()
    two.detach()
    check("detached", whole)
    many = ha.attach(bert, ha.METHODS["hyperformer++"], tasks=["a", "b"])
    shake(many)
    for task in "ab":
        with many.rows(task):
            check(f"rows of {task}", whole)
            check(f"rows of {task}, directly", direct)
print(json.dumps(right))
"""


@pytest.mark.slow
def test_compiled_models_follow_every_switch_and_update(found_by):
    found = found_by(COMPILED)
    assert found
    assert [name for name, right in found.items() if not right] == []

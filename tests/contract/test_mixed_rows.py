"""What every method that holds many tasks must keep. Names no method: a new one is held to it by being there."""

import copy
from dataclasses import replace

import pytest
import torch
from contract_methods import METHODS
from families import FAMILIES
from told_tasks import told

from conftest import make_batch, make_tiny, slow_but_for
from hyperadapters import InputError, attach, load
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.delta.container import attached
from hyperadapters.methods.hyperformer import HyperMethod
from hyperadapters.training.encoder_decoder import _score_labels

TASKS = ("glue/mrpc", "glue/rte", "cola")
ROWS = ("cola", "mrpc", "glue/rte", "mrpc")

LOOKED_UP = {name: method for name, method in METHODS.items() if method.many_tasks}
READ = {
    f"{name} that reads {source}": method.changed({"task_source": source})
    for name, method in LOOKED_UP.items()
    if isinstance(method, HyperMethod)
    for source in ("description", "examples")[: 1 + (name == "hyperformer++")]
}
MANY = {**LOOKED_UP, **READ}
many = pytest.mark.parametrize("name", MANY)


@pytest.fixture
def batch():
    """Four rows, one of them padded."""
    return make_batch(4)


def part(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


def source(batch):
    return {key: batch[key] for key in ("input_ids", "attention_mask")}


def moved(method, backbone, **options):
    """A Delta of three tasks that differ well from each other and from the backbone."""
    torch.manual_seed(4)
    delta = told(attach(backbone, MANY[method] if isinstance(method, str) else method, "mix", tasks=TASKS, **options))
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return delta


def by_task(delta, function):
    """What a function of some rows gives for the rows of each task by itself, put together in order."""
    found = {}
    for task in dict.fromkeys(ROWS):
        rows = [i for i, other in enumerate(ROWS) if other == task]
        with delta.rows(task):
            found |= dict(zip(rows, function(rows), strict=True))
    return torch.stack([found[row] for row in range(len(ROWS))])


@many
def test_a_mixed_batch_is_one_forward_pass_a_task(name, tiny, batch):
    delta = moved(name, tiny)
    tiny.double()
    with torch.no_grad():
        with delta.rows(ROWS):
            mixed = tiny(**batch).logits
        apart = by_task(delta, lambda rows: tiny(**part(batch, rows)).logits)
    torch.testing.assert_close(mixed, apart, rtol=1e-5, atol=1e-5)


def family_inputs(family):
    """Four rows for a family, and which of their positions are looked at."""
    batch = FAMILIES[family].batch()
    inputs = {key: torch.cat([value, value.flip(0)]) for key, value in batch.items()}
    padded = "attention_mask" in inputs and "decoder_input_ids" not in inputs and not FAMILIES[family].head
    return inputs, inputs["attention_mask"].bool() if padded else slice(None)


SHARED = "deberta-v2"
"""Its norm of relative positions and the projections after it see what all rows share."""
WITH_FAMILIES = [(name, family) for family in FAMILIES for name in ("houlsby", "compacter", "bitfit")
                 if (name, family) != ("bitfit", SHARED)]  # fmt: skip


@pytest.mark.parametrize(("name", "family"), WITH_FAMILIES)
def test_every_module_of_every_family_follows_its_row(name, family):
    method = METHODS[name] if family != SHARED else replace(METHODS[name], norms=False)
    backbone = FAMILIES[family].make()
    delta = moved(method, backbone, **({"outputs": 3} if FAMILIES[family].head else {}))
    inputs, seen = family_inputs(family)
    with torch.no_grad():
        with delta.rows(ROWS):
            mixed = backbone(**inputs).logits
        apart = by_task(delta, lambda rows: backbone(**part(inputs, rows)).logits)
    assert (apart[0] - apart[1]).abs().max() > 1e-3
    torch.testing.assert_close(mixed[seen], apart[seen], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["houlsby", "compacter", "bitfit"])
def test_rows_cannot_differ_where_a_module_sees_what_all_of_them_share(name):
    backbone = FAMILIES[SHARED].make()
    delta = moved(METHODS[name], backbone, outputs=3)
    inputs, _ = family_inputs(SHARED)
    expected = {task: run(delta, task, inputs) for task in TASKS}
    with pytest.raises(InputError, match="cannot use different tasks here.*rows of one task"):
        run(delta, ROWS, inputs)
    for task in TASKS:  # and the next pass finds nothing of it
        assert torch.equal(run(delta, task, inputs), expected[task])


def run(delta, rows, inputs):
    with torch.no_grad(), delta.rows(rows):
        return delta.backbone(**inputs).logits


@many
def test_the_loss_and_its_gradients_are_those_of_the_tasks_by_themselves(name, tiny, batch):
    delta = moved(name, tiny)
    tiny.double()
    with delta.rows(ROWS):
        mixed = tiny(**batch).loss
    mixed.backward()
    expected = {key: tensor.grad.clone() for key, tensor in delta.trained().items()}
    for tensor in delta.trained().values():
        tensor.grad = None
    total = 0.0
    for row, task in enumerate(ROWS):
        with delta.rows(task):
            loss = tiny(**part(batch, [row])).loss / len(ROWS)
        loss.backward()
        total += loss.item()
    assert mixed.item() == pytest.approx(total, abs=1e-6)
    for key, tensor in delta.trained().items():
        torch.testing.assert_close(tensor.grad, expected[key], rtol=1e-4, atol=1e-6)


@many
def test_beams_follow_their_row(name, tiny, batch):
    delta = moved(name, tiny)
    how = {"num_beams": 3, "max_new_tokens": 4, "do_sample": False, "output_scores": True}
    with delta.rows(ROWS):
        mixed = tiny.generate(**source(batch), **how, return_dict_in_generate=True)
    for row, task in enumerate(ROWS):
        with delta.rows(task):
            alone = tiny.generate(**source(part(batch, [row])), **how, return_dict_in_generate=True)
        width = min(alone.sequences.shape[1], mixed.sequences.shape[1])
        assert torch.equal(mixed.sequences[row, :width], alone.sequences[0, :width])
        torch.testing.assert_close(mixed.sequences_scores[row], alone.sequences_scores[0], rtol=1e-4, atol=1e-4)


@many
def test_label_scores_follow_their_row(name, tiny, batch):
    delta = moved(name, tiny)
    labels = torch.tensor([[[11, 1], [12, 1], [13, 14]]])
    with torch.no_grad():
        with delta.rows(ROWS):
            mixed = _score_labels(tiny, source(batch), labels)
        apart = by_task(delta, lambda rows: _score_labels(tiny, source(part(batch, rows)), labels))
    torch.testing.assert_close(mixed, apart, rtol=1e-5, atol=1e-5)


@many
def test_a_forward_pass_makes_the_weights_of_mixed_rows_once(name, tiny, batch, monkeypatch):
    delta = moved(name, tiny)
    made = []
    renew = delta._generation.renew
    monkeypatch.setattr(delta._generation, "renew", lambda rows=None: (made.append(1), renew(rows)))
    for passes in (1, 2):
        with delta.rows(ROWS):
            tiny(**batch).loss.backward()
        assert len(made) == passes


@many
def test_generation_makes_the_weights_of_mixed_rows_for_the_encoder_and_for_the_first_token(
    name, tiny, batch, monkeypatch
):
    delta = moved(name, tiny)
    made = []
    renew = delta._generation.renew
    monkeypatch.setattr(delta._generation, "renew", lambda rows=None: (made.append(1), renew(rows)))
    with delta.rows(ROWS):
        tiny.generate(**source(batch), num_beams=2, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert len(made) == 2


@many
def test_gradient_checkpointing_gives_mixed_rows_the_same_gradients(name, batch):
    gradients = []
    for checkpointing in (False, True):
        backbone = make_tiny().train()
        delta = moved(name, backbone)
        if checkpointing:
            _enable_checkpointing(backbone)
        with delta.rows(ROWS):
            loss = backbone(**batch, use_cache=False).loss
        loss.backward()
        gradients.append({key: tensor.grad for key, tensor in delta.trained().items()})
    for key, grad in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], grad, rtol=1e-4, atol=1e-6)


@many
def test_other_rows_are_served_by_other_weights_at_once(name, tiny, batch):
    """The decoder alone, as after `get_encoder`: nothing of the rows before is left over."""
    delta = moved(name, tiny)
    encoded = torch.randn(1, 5, 48)
    found = []
    with torch.no_grad():
        for task in (*TASKS, TASKS[0]):
            with delta.rows(task):
                found.append(tiny(encoder_outputs=(encoded,), decoder_input_ids=torch.tensor([[0, 5]])).logits)
    assert torch.equal(found[0], found[3])


@many
def test_saved_and_loaded_every_task_is_there(name, tiny, batch, tmp_path):
    delta = moved(name, tiny)
    delta.save(tmp_path / "mix")
    fresh = make_tiny()
    loaded = load(tmp_path / "mix", fresh)
    assert loaded.tasks == TASKS
    with torch.no_grad(), delta.rows(ROWS), loaded.rows(ROWS):
        assert torch.equal(fresh(**batch).logits, tiny(**batch).logits)


@many
def test_a_deep_copy_holds_its_own_tasks(name, tiny, batch):
    delta = moved(name, tiny)
    twin = copy.deepcopy(tiny)
    (copied,) = attached(twin)
    with torch.no_grad(), delta.rows(ROWS):
        expected = tiny(**batch).logits
        for tensor in delta.trained().values():
            tensor.zero_()
        with copied.rows(ROWS):
            assert torch.equal(twin(**batch).logits, expected)


@many
def test_rows_of_bfloat16_train(name, tiny, batch):
    tiny.to(torch.bfloat16)
    delta = told(attach(tiny, MANY[name], tasks=TASKS))
    with delta.rows(ROWS):
        out = tiny(**batch)
    assert out.logits.dtype == torch.bfloat16
    out.loss.backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in delta.trained().values())


@many
def test_rows_that_make_no_sense_are_refused(name, tiny, batch):
    delta = moved(name, tiny)
    with pytest.raises(InputError, match=r"holds 3 tasks and was not told .*knows glue/mrpc, glue/rte, cola"):
        tiny(**batch)
    with pytest.raises(InputError, match="knows no task 'mnli'. It knows glue/mrpc, glue/rte, cola"), \
         delta.rows(["mnli"] * 4):  # fmt: skip
        pass
    with pytest.raises(InputError, match="was given a row without a task"), delta.rows(["cola", ""]):
        pass
    with pytest.raises(InputError, match="given no task"), delta.rows([]):
        pass
    with pytest.raises(InputError, match="the batch has 4 rows, but 2 tasks were given"), delta.rows(["cola", "rte"]):
        tiny(**batch)
    with pytest.raises(InputError, match="the batch has 4 rows, but 3 tasks were given"), delta.rows(["cola"] * 3):
        tiny(**batch)
    with delta.rows(["cola"] * 4):
        tiny(**batch)
    with delta.rows("cola"):
        tiny(**batch)


def test_a_method_of_one_task_says_so_before_anything_changes(tiny):
    keys = list(tiny.state_dict())
    for name in [name for name, method in METHODS.items() if not method.many_tasks]:
        with pytest.raises(InputError, match="holds one task; 2 were given"):
            attach(tiny, METHODS[name], tasks=["a", "b"])
    with pytest.raises(InputError, match="each task's name once"):
        attach(tiny, METHODS["houlsby"], tasks=["a", "a"])
    assert list(tiny.state_dict()) == keys


@slow_but_for(("compacter",), [name for name, method in METHODS.items() if method.many_tasks])
def test_mixed_rows_compile_as_a_whole_graph_and_agree(name, found_by):
    script = f"""
import json
from compiling import differences
passes = [["a", "b", "a", "c"], ["c", "b", "a", "a"]]
print(json.dumps(differences([{name!r}], batch_rows=4, passes=passes, tasks=["a", "b", "c"])))
"""
    assert found_by(script)[name] < 1e-3

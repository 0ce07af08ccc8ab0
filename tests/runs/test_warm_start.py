"""Going on from a trained adapter: what a run starts with, what stays as it was, and what is refused."""

from dataclasses import replace

import pytest
import torch
from families import FAMILIES
from training_runs import EXACT, same, toy

from conftest import make_tiny
from hyperadapters import METHODS, Experiment, InputError, NamedTask, Training, WarmStart, attach, fit, start_from
from hyperadapters.methods.registry import count_parameters
from hyperadapters.runs.warm_start import _load_warm_start
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.evaluation import _check_kind
from hyperadapters.training.trainer import Trainer

TASKS = ("a/rte", "b/cola")
NEW = {"toy": {"name": "toy"}}
WITH_ENTRIES = ("hyperformer++", "hyper-compacter", "adapters-multitask", "houlsby")


def saved(folder, method="hyperformer++", tasks=TASKS):
    """A Delta whose tasks differ well, on disk."""
    torch.manual_seed(4)
    delta = attach(make_tiny(), METHODS[method], name="mix", tasks=tasks)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    delta.about = {"forms": {task: {"name": task} for task in tasks}}
    delta.save(folder)
    return delta


def go_on(start, method="hyperformer++", forms=NEW, backbone=None, outputs=None):
    backbone = backbone or make_tiny()
    sizes = dict.fromkeys(forms, outputs)
    return _load_warm_start(start, backbone, METHODS[method], "next", outputs=sizes, forms=forms)


def logits(delta, task, batch):
    with torch.no_grad(), delta.rows(task):
        return delta.backbone(**batch).logits


@pytest.mark.parametrize("method", WITH_ENTRIES)
def test_a_new_task_starts_as_the_one_it_is_like_and_the_others_are_there(method, batch, tmp_path):
    before = saved(tmp_path / "mix", method)
    delta = go_on(start_from(tmp_path / "mix", "rte"), method)
    assert (delta.tasks, delta.name) == ((*TASKS, "toy"), "next")
    assert delta.about == {"forms": {name: {"name": name} for name in (*TASKS, "toy")}}
    for task, other in {"toy": "a/rte", "a/rte": "a/rte", "b/cola": "b/cola"}.items():
        torch.testing.assert_close(logits(delta, task, batch), logits(before, other, batch))
    for name, tensor in go_on(start_from(tmp_path / "mix"), method).trained().items():
        if len(tensor) == 3:
            torch.testing.assert_close(tensor[2], before.trained()[name].mean(0))


def test_a_task_that_is_known_and_an_adapter_of_one_task_go_on_from_their_own_weights(batch, tmp_path):
    before = saved(tmp_path / "mix")
    delta = go_on(start_from(tmp_path / "mix"), forms={"b/cola": {}})
    assert delta.tasks == TASKS
    same(before, delta, **EXACT)
    for method in ("compacter", "full"):
        alone = saved(tmp_path / method, method, ())
        next_one = go_on(start_from(tmp_path / method), method)
        same(alone, next_one, **EXACT)
        assert next_one.about == {"task": {"name": "toy"}}


TRAINING = Training(lr=0.05, steps=7, batch_size=8, evaluate_steps=2, checkpoint_seconds=0.0)


def few_shot(start, method, training=TRAINING, **options):
    delta = go_on(start, method)
    return delta, fit(delta, toy(), training, quiet=True, **options)


@pytest.mark.parametrize("method", WITH_ENTRIES)
def test_with_the_rest_frozen_only_the_new_entry_trains_and_counts(method, tmp_path):
    before = saved(tmp_path / "mix", method)
    start = start_from(tmp_path / "mix", "rte", freeze=True)
    delta, found = few_shot(start, method, replace(TRAINING, weight_decay=0.5))
    assert found.best_step > 0
    own = {f"{part}.{key}" for part, held in delta.parts.items() for key in held.per_adapter()}
    for name, tensor in delta.tensors().items():
        assert torch.equal(tensor[:2] if name in own else tensor, before.tensors()[name])
    assert any(not torch.equal(delta.tensors()[name][2], before.tensors()[name][0]) for name in own)
    assert count_parameters(delta).trained == sum(delta.tensors()[name][2].numel() for name in own)
    delta.rest()
    delta.train_only(None)
    assert count_parameters(delta.use()).trained == sum(t.numel() for t in delta.trained().values())


@pytest.mark.parametrize("freeze", [False, True])
def test_a_few_shot_run_that_is_cut_short_ends_the_same(freeze, tmp_path, monkeypatch):
    saved(tmp_path / "mix")
    start = start_from(tmp_path / "mix", "cola", freeze=freeze)
    whole, expected = few_shot(start, "hyperformer++", output=tmp_path / "whole")
    steps = Trainer.step

    def failing(self, rows):
        if self.state.step == 5:
            raise RuntimeError("stopped")
        return steps(self, rows)

    monkeypatch.setattr(Trainer, "step", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        few_shot(start, "hyperformer++", output=tmp_path / "cut")
    monkeypatch.setattr(Trainer, "step", steps)
    resumed, found = few_shot(start, "hyperformer++", output=tmp_path / "cut", resume=True)
    same(whole, resumed, **EXACT)
    assert found.history == expected.history


def experiment(start, **changes):
    base = Experiment(method=METHODS["hyperformer++"], task=NamedTask(name="scitail"), training=Training(lr=1e-3))
    return replace(base, start=start, **changes)


def test_a_run_is_of_the_weights_it_starts_from_wherever_they_lie(tmp_path):
    saved(tmp_path / "one")
    saved(tmp_path / "same")
    saved(tmp_path / "other", tasks=("b/cola", "a/rte", "c"))
    start = start_from(tmp_path / "one", "cola")
    assert start == WarmStart(adapter=str(tmp_path / "one"), digest=start.digest, like="b/cola", freeze=False)
    keys = [experiment_key(experiment(start_from(tmp_path / place, "cola"))) for place in ("one", "same", "other")]
    assert keys[0] == keys[1] != keys[2]
    different = [start_from(tmp_path / "one"), start_from(tmp_path / "one", "rte"), replace(start, freeze=True), None]
    assert len({keys[0], *(experiment_key(experiment(s)) for s in different)}) == 5
    assert Experiment.from_json(experiment(start).to_json()) == experiment(start)
    assert experiment(None).to_json()["start"] is None


def test_a_start_that_makes_no_sense_is_refused(tmp_path):
    saved(tmp_path / "mix")
    saved(tmp_path / "alone", "compacter", ())
    saved(tmp_path / "whole", "full-multitask")
    with pytest.raises(InputError, match="there is no adapter at .*no such folder"):
        start_from(tmp_path / "absent")
    with pytest.raises(InputError, match="knows no task 'mnli'. It knows a/rte, b/cola"):
        start_from(tmp_path / "mix", "mnli")
    for options in ({"like": "rte"}, {"freeze": True}):
        with pytest.raises(InputError, match="holds one task: there is no other task to start from"):
            start_from(tmp_path / "alone", **options)
    start = start_from(tmp_path / "mix", "rte")
    with pytest.raises(InputError, match=r"is a HyperFormerPlusPlus\(.*given: Compacter\("):
        go_on(start, "compacter")
    with pytest.raises(InputError, match="trained on another backbone .*d_ff is 32, not 64"):
        go_on(start, backbone=make_tiny(d_ff=32))
    with pytest.raises(InputError, match="holds a/rte already.*nothing to start from a/rte"):
        go_on(start, forms={"a/rte": {}})
    other = {"a/rte": {"name": "a/rte", "fields": ["x"], "target": {"type": "labels"}}}
    with pytest.raises(InputError, match="holds a task a/rte already, with other fields and target.*rename"):
        go_on(start_from(tmp_path / "mix"), forms=other)
    with pytest.raises(InputError, match="c, d: the adapter at .*alone holds one task"):
        go_on(start_from(tmp_path / "alone"), "compacter", {"c": {}, "d": {}})
    with pytest.raises(InputError, match="c, d: one task can be trained with the rest frozen"):
        go_on(replace(start, freeze=True), forms={"c": {}, "d": {}})
    with pytest.raises(InputError, match="FullMultiTask has nothing of its own .* nothing is left to train"):
        go_on(start_from(tmp_path / "whole", freeze=True), "full-multitask")
    with (tmp_path / "mix" / "adapter_model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match="is not the one that this run starts from: SHA-256"):
        go_on(start)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_task_with_another_number_of_classes_gets_a_new_last_layer_and_the_rest_goes_on(family, tmp_path):
    family = FAMILIES[family]
    before = attach(family.make(), METHODS["compacter"], outputs=2, seed=3)
    before.save(tmp_path / "two")
    start = start_from(tmp_path / "two")
    same(before, go_on(start, "compacter", backbone=family.make(), outputs=2), **EXACT)
    after = go_on(start, "compacter", backbone=family.make(), outputs=3)
    assert after.outputs == 3
    kept = [name for name, tensor in before.trained().items() if not {2, 3} & {*tensor.shape[2:3]}]
    assert len(kept) >= len(before.trained()) - 2
    for name in kept:
        assert torch.equal(after.trained()[name], before.trained()[name])


def test_a_new_task_of_several_has_a_head_of_its_own_size(tmp_path):
    family, ids = FAMILIES["bert"], {"input_ids": torch.randint(3, 90, (2, 6))}
    outputs = {"a/rte": 2, "b/cola": 3}
    before = attach(family.make(), METHODS["houlsby"], name="mix", tasks=TASKS, outputs=outputs, seed=3)
    before.save(tmp_path / "mix")
    start = start_from(tmp_path / "mix", "cola")
    for size in (3, 5):
        delta = go_on(start, "houlsby", backbone=family.make(), outputs=size)
        assert delta.outputs == {**outputs, "toy": size}
        assert logits(delta, "toy", ids)[:, :size].isfinite().all()
        for task, own in outputs.items():
            torch.testing.assert_close(logits(delta, task, ids)[:, :own], logits(before, task, ids)[:, :own])
    with pytest.raises(InputError, match=r"task a/rte needs a head of 4 output\(s\), the Delta has 2"):
        _check_kind(delta, replace(toy(), kind="encoder", form=TaskFormat("a/rte", ("x",), Labels(tuple("abcd")))))

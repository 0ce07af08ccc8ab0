"""Runs trained together: each ends where it ends by itself, whatever the others do."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from families import FAMILIES
from filelock import FileLock
from safetensors.torch import load_file
from sweep_runs import here, rows
from toy_tasks import toy as toy_of
from training_runs import same, toy

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    Evaluation,
    Experiment,
    Interrupted,
    MixtureTask,
    NamedTask,
    NonFiniteLossError,
    Text,
    Training,
    attach,
    fit,
    method_named,
    run,
    set_fast_dropout,
)
from hyperadapters.delta.delta import TENSORS
from hyperadapters.runs.building import attach_for
from hyperadapters.runs.result import RESULT, read_result
from hyperadapters.runs.running import EXPERIMENT
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.sweeps.packing import (
    TOKENS,
    Clock,
    Member,
    Pack,
    Piece,
    packs,
    passes,
    run_together,
    stack_members,
    start_member,
)
from hyperadapters.sweeps.sweeping import sweep
from hyperadapters.training.checkpoint import CHECKPOINT
from hyperadapters.training.data import Data
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.trainer import Trainer

CLOSE = {"rtol": 0, "atol": 1e-5}

VARIED = [
    {"lr": 1e-2},
    {"seed": 7, "weight_decay": 0.1},
    {"lr": 3e-2, "seed": 8, "warmup_steps": 4, "max_grad_norm": 0.1},
    {"lr": 1e-12, "epochs": 9, "evaluate_steps": 2, "patience": 1},
]


def experiment(method="compacter++", **changes):
    training = Training(**{"lr": 3e-3, "epochs": 2, "batch_size": 8, "seed": 3, **changes})
    chosen = METHODS[method] if isinstance(method, str) else method
    return Experiment(method=chosen, task=NamedTask(name="glue/rte"), training=training)


def rows_of(data: Data, experiment) -> Data:
    """The run's own training rows: a subset for a seed of its own, so batches differ in length and number."""
    train = data.splits["train"]
    count = {7: 11, 8: 17}.get(experiment.training.seed, len(train))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(experiment.training.seed)).tolist()
    return replace(data, splits={**data.splits, "train": [train[i] for i in order[:count]]})


def alone(backbone, experiment, data):
    torch.manual_seed(experiment.training.seed)
    delta = attach_for(experiment, backbone, data)
    return delta, fit(delta, data, experiment.training, evaluation=experiment.evaluation, quiet=True)


def pack_of(backbone, experiments, data, folder, most=1000):
    clock = Clock()
    members = [
        start_member(number, one, folder / str(number), backbone, rows_of(data, one), clock)
        for number, one in enumerate(experiments)
    ]
    return Pack(members, stack_members(backbone, experiments[0].method, members), most, clock)


def trained(pack):
    """What every member's training did, by its number."""
    return {member.number: member.trainer.end() for ended in pack.fit() for member in ended}


def ends_as_alone(pack, found, make, data):
    """Whether every run that has ended holds the tensors, and has the history, of the same run by itself."""
    for member in pack.members:
        if member.failure:
            continue
        delta, expected = alone(make(), member.experiment, rows_of(data, member.experiment))
        same(delta, member.trainer.delta, **CLOSE)
        same_history(found[member.number], expected)


def same_history(ours, theirs):
    for one, other in zip(ours.history, theirs.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert (ours.best_step, ours.tokens, ours.padded_tokens) == (theirs.best_step, theirs.tokens, theirs.padded_tokens)


@pytest.mark.parametrize("method", ["compacter++", "houlsby", "prompt-r", "norms"])
def test_every_run_ends_where_it_ends_by_itself(method, tmp_path):
    pack = pack_of(make_tiny(), [experiment(method, **changes) for changes in VARIED], toy(), tmp_path)
    ends_as_alone(pack, trained(pack), make_tiny, toy())


def test_biases_end_there_too_but_those_of_keys(tmp_path):
    """A key's bias moves all scores of a query alike: its gradient is rounding alone, which AdamW makes large."""
    pack = pack_of(make_tiny(), [experiment("bitfit", **changes) for changes in VARIED], toy(), tmp_path)
    found = trained(pack)
    for member in pack.members:
        delta, expected = alone(make_tiny(), member.experiment, rows_of(toy(), member.experiment))
        part = delta.parts["biases"]
        both = [one.trained()["biases.bias"][0].split(part.widths) for one in (delta, member.trainer.delta)]
        for path, theirs, ours in zip(part.paths, *both, strict=True):
            if not path.endswith(".k"):
                torch.testing.assert_close(ours, theirs, **CLOSE)
        same_history(found[member.number], expected)


def with_dropout():
    backbone = make_tiny(dropout_rate=0.1)
    set_fast_dropout(backbone, True)
    return backbone


def test_with_our_dropout_too(tmp_path):
    pack = pack_of(with_dropout(), [experiment(**changes) for changes in VARIED], toy(), tmp_path)
    ends_as_alone(pack, trained(pack), with_dropout, toy())


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_on_encoders_and_decoders_too(name, tmp_path):
    make, data = FAMILIES[name].make, toy_of("encoder" if name == "bert" else "decoder", rows=24)
    method = method_named("houlsby", {"bottleneck": 8})
    pack = pack_of(make(), [experiment(method, **changes) for changes in VARIED], data, tmp_path)
    ends_as_alone(pack, trained(pack), make, data)


def test_a_batch_in_parts_gives_the_same(tmp_path):
    runs = [experiment(accumulation=2, **changes) for changes in VARIED]
    pack = pack_of(make_tiny(), runs, toy(), tmp_path)
    ends_as_alone(pack, trained(pack), make_tiny, toy())


def test_a_run_that_diverges_fails_as_itself_and_touches_no_other(tmp_path):
    runs = [experiment(), experiment(lr=1e30), experiment(lr=1e-2)]
    pack = pack_of(make_tiny(), runs, toy(), tmp_path)
    ends_as_alone(pack, trained(pack), make_tiny, toy())
    assert [bool(member.failure) for member in pack.members] == [False, True, False]
    with pytest.raises(NonFiniteLossError) as error:
        alone(make_tiny(), runs[1], rows_of(toy(), runs[1]))
    assert pack.members[1].failure.split(" (lr")[0] == str(error.value).split(" (lr")[0]
    assert all(tensor.isfinite().all() for tensor in pack.stack.tensors().values())


@pytest.mark.parametrize("together", [True, False])
def test_a_pack_that_is_interrupted_goes_on_together_or_each_by_itself(together, tmp_path):
    runs = [experiment(**changes) for changes in VARIED[:3]]
    expected = trained(pack_of(with_dropout(), runs, toy(), tmp_path / "whole"))
    cut = pack_of(with_dropout(), runs, toy(), tmp_path)
    step = cut.step

    def stopping(batches):
        if cut.members[0].trainer.state.step == 4:
            cut.asked_to_stop.set()
        step(batches)

    cut.step = stopping
    with pytest.raises(Interrupted):
        trained(cut)
    if together:
        found = trained(pack_of(with_dropout(), runs, toy(), tmp_path))
    else:
        found = {}
        for number, run in enumerate(runs):
            delta, data = attach_for(run, with_dropout(), toy()), rows_of(toy(), run)
            found[number] = fit(delta, data, run.training, output=tmp_path / str(number), resume=True, quiet=True)
    for number in expected:
        same_history(found[number], expected[number])


# -- passes --------------------------------------------------------------------------------------------------------


def pieces_of(*lengths):
    data = toy()
    trainer = Trainer(attach(make_tiny(), METHODS["norms"]), data, Training(lr=1), Evaluation(), None, quiet=True)
    member = Member(0, experiment(), trainer, torch.Generator())
    return [Piece(member, [Encoded([5] * length, [10, 1])] * 2) for length in lengths]


def lengths_of(found):
    return [[piece.shape[1] for piece in pieces] for pieces in found]


def test_a_pass_holds_rows_of_like_length_as_many_as_fit():
    pieces = pieces_of(30, 8, 20, 8, 21, 8)
    assert lengths_of(passes(pieces, 10, on_cpu=True)) == [[8, 8, 8], [20], [21], [30]]
    assert lengths_of(passes(pieces, 2, on_cpu=True)) == [[8, 8], [8], [20], [21], [30]]
    assert lengths_of(passes(pieces, 10, on_cpu=False)) == [[8, 8, 8], [20, 21, 30]]


def test_on_a_cpu_a_pass_has_a_limit_of_tokens():
    pieces = pieces_of(*[TOKENS // 4 - 2] * 5)  # each of two rows, with two tokens of target
    assert [len(found) for found in passes(pieces, 10, on_cpu=True)] == [2, 2, 1]
    assert [len(found) for found in passes(pieces, 10, on_cpu=False)] == [5]


def test_few_runs_a_pass_give_the_same(tmp_path):
    pack = pack_of(make_tiny(), [experiment(**changes) for changes in VARIED], toy(), tmp_path, most=2)
    ends_as_alone(pack, trained(pack), make_tiny, toy())


# -- packs ---------------------------------------------------------------------------------------------------------


def test_runs_that_differ_in_training_are_packed_and_others_are_not():
    base = experiment()
    few = replace(base, text=Text(train_rows=10))
    runs = {
        "base": base,
        "rate": experiment(lr=1.0),
        "seed": experiment(seed=9),
        "few": few,
        "batch": experiment(batch_size=7),
        "backbone in bf16": experiment(backbone_precision="bf16"),
        "adapter in bf16": experiment(adapter_precision="bf16"),
        "computed again": experiment(gradient_checkpointing=True),
        "text": replace(base, text=Text(source_length=64)),
        "task": replace(base, task=NamedTask(name="glue/cola")),
        "houlsby": experiment("houlsby"),
        "houlsby again": experiment("houlsby", lr=1e-4),
    }
    assert packs(runs) == [["base", "rate", "few", "seed"], ["houlsby", "houlsby again"]]


@pytest.mark.parametrize(
    "method",
    ["full", "full-multitask", "intrinsic-said", "adapters-multitask", "hyperformer++", "hyper-compacter", "peft:lora"],
)
def test_a_method_whose_tensors_have_no_axis_of_adapters_is_not_packed(method):
    chosen = method_named(method)
    assert not packs({"1": experiment(chosen), "2": experiment(chosen, lr=1.0)})


def test_an_output_layer_that_trains_checkpointing_and_a_mixture_are_not_packed():
    with_output = replace(METHODS["compacter"], output_layer=True)
    assert not packs({"1": experiment(with_output), "2": experiment(with_output, lr=1.0)})
    again = {lr: experiment(lr=lr, gradient_checkpointing=True) for lr in (1e-3, 1e-2)}
    assert not packs(again)
    mixed = [replace(experiment(lr=lr), task=MixtureTask(names=("glue/rte", "glue/cola"))) for lr in (1e-3, 1e-2)]
    assert not packs(dict(enumerate(mixed)))


def test_packs_are_split_for_several_processes_and_keep_seeds_together():
    runs = {f"{rate} {seed}": experiment(lr=rate, seed=seed) for rate in (1e-3, 1e-2) for seed in (1, 2, 3)}
    assert packs(runs) == [["0.001 1", "0.01 1", "0.001 2", "0.01 2", "0.001 3", "0.01 3"]]
    assert packs(runs, 2) == [["0.001 1", "0.01 1", "0.001 2"], ["0.01 2", "0.001 3", "0.01 3"]]
    assert packs(runs, 3) == [["0.001 1", "0.01 1"], ["0.001 2", "0.01 2"], ["0.001 3", "0.01 3"]]
    assert packs(runs, 4) == [["0.01 1", "0.001 2"], ["0.001 3", "0.01 3"]]
    assert packs(runs, 6) == []


# -- whole runs ----------------------------------------------------------------------------------------------------


def test_results_are_those_of_single_runs(tmp_path):
    """On the backbone of the package, with its dropout: the same files, keys and figures; times aside."""
    base = replace(experiment(epochs=2, batch_size=8), task=rows(tmp_path), text=Text(train_rows=20))
    changes = [{}, {"lr": 1e-2}, {"seed": 4}]
    runs = [replace(base, training=replace(base.training, **change)) for change in changes]
    places = {tmp_path / f"together-{number}": run for number, run in enumerate(runs)}
    assert not run_together(places)
    for place, one in places.items():
        found, expected = asdict(read_result(place)), asdict(run(one, tmp_path / f"alone-{place.name}", quiet=True))
        assert found.pop("together") == 3
        assert expected.pop("together") == 1
        for result in (found, expected):
            result.pop("seconds")
            result["cost"] = {k: v for k, v in result["cost"].items() if "seconds" not in k and k != "peak_memory"}
        history = [found.pop("history"), expected.pop("history")]
        assert found == expected
        for ours, theirs in zip(*history, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        adapters = [load_file(folder / TENSORS) for folder in (place, tmp_path / f"alone-{place.name}")]
        torch.testing.assert_close(*adapters, **CLOSE)
        assert not (place / CHECKPOINT).exists()


def sweepable(folder, **changes):
    training = Training(**{"lr": 1e-3, "epochs": 1, "batch_size": 8, **changes})
    return Experiment(method=METHODS["compacter++"], task=rows(folder), training=training, text=Text(train_rows=12))


def test_a_packed_sweep_leaves_the_files_of_an_unpacked_one(tmp_path):
    """With a run that diverges among them; the others are trained together with it."""
    runs = [sweepable(tmp_path, **changes) for changes in ({}, {"seed": 5}, {"lr": 1e30}, {"lr": 1e-2})]
    single = replace(runs[0], method=METHODS["prompt-r"])
    turns = []

    def counting(jobs, progress):
        turns.append([job.key for job in jobs])
        yield from here(jobs, progress)

    packed = sweep([*runs, single], tmp_path / "packed", executor=counting, pack=1, quiet=True)
    assert turns == [[experiment_key(runs[1]), experiment_key(single)]]  # the first seed brings the others
    plain = sweep([*runs, single], tmp_path / "plain", executor=here, quiet=True)
    assert list(packed.results) == list(plain.results)
    assert [result.together for result in packed.results.values()] == [4, 4, 4, 1]
    for found, expected in zip(packed.results.values(), plain.results.values(), strict=True):
        assert found.experiment == expected.experiment
        assert found.metrics == expected.metrics
    assert list(packed.failed) == list(plain.failed) == [experiment_key(runs[2])]
    assert "the loss is nan" in packed.failed[experiment_key(runs[2])]
    names = [sorted(str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob("*.json"))
             for folder in ("packed", "plain")]  # fmt: skip
    assert names[0] == names[1]


def test_a_pack_that_fails_is_run_one_by_one_and_what_is_done_or_elsewhere_is_left(tmp_path):
    """A folder where a result should be written breaks the pack off; it is then cleared away."""
    runs = [sweepable(tmp_path, seed=seed) for seed in (1, 2, 3, 4)]
    output = tmp_path / "out"
    sweep(runs[:1], output, executor=here, quiet=True)
    before = (output / experiment_key(runs[0]) / RESULT).read_bytes()
    (output / experiment_key(runs[1]) / f"{RESULT}.tmp").mkdir(parents=True)
    (output / experiment_key(runs[1]) / EXPERIMENT).write_text(json.dumps(runs[1].to_json()))
    with FileLock(output / f"{experiment_key(runs[3])}.lock"):
        swept = sweep(runs, output, executor=here, pack=1, quiet=True)
    assert list(swept.results) == [experiment_key(run) for run in runs[:3]]
    assert swept.elsewhere == (experiment_key(runs[3]),)
    assert (output / experiment_key(runs[0]) / RESULT).read_bytes() == before
    assert swept.results[experiment_key(runs[1])].together == 1


def test_a_pack_that_fails_is_tried_once(tmp_path, monkeypatch):
    tried = []

    def failing(experiments):
        tried.append(list(experiments))
        raise MemoryError

    monkeypatch.setattr("hyperadapters.sweeps.worker.run_together", failing)
    swept = sweep(
        [sweepable(tmp_path, seed=seed) for seed in (1, 2)], tmp_path / "out", executor=here, pack=1, quiet=True
    )
    assert [len(pack) for pack in tried] == [2]
    assert len(swept.results) == 2

"""Runs trained together: each ends where it ends by itself, whatever the others do."""

import pytest
import torch
from families import FAMILIES
from packs import (
    CLOSE,
    VARIED,
    alone,
    ends_as_alone,
    experiment,
    pack_of,
    rows_of,
    same_history,
    trained,
    with_dropout,
)
from toy_tasks import toy as toy_of
from training_runs import toy

from conftest import make_tiny
from hyperadapters import Interrupted, NonFiniteLossError, fit, method_named
from hyperadapters.runs.building import attach_for


@pytest.mark.parametrize(
    "method",
    ["compacter++", *(pytest.param(name, marks=pytest.mark.slow) for name in ("houlsby", "prompt-r", "norms"))],
)
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


@pytest.mark.slow
def test_with_our_dropout_too(tmp_path):
    pack = pack_of(with_dropout(), [experiment(**changes) for changes in VARIED], toy(), tmp_path)
    ends_as_alone(pack, trained(pack), with_dropout, toy())


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_on_encoders_and_decoders_too(name, tmp_path):
    make, data = FAMILIES[name].make, toy_of("encoder" if name == "bert" else "decoder", rows=24)
    method = method_named("houlsby", {"bottleneck": 8})
    pack = pack_of(make(), [experiment(method, **changes) for changes in VARIED], data, tmp_path)
    ends_as_alone(pack, trained(pack), make, data)


@pytest.mark.slow  # other packs end where each run ends by itself in `make check`
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


@pytest.mark.slow
def test_few_runs_a_pass_give_the_same(tmp_path):
    pack = pack_of(make_tiny(), [experiment(**changes) for changes in VARIED], toy(), tmp_path, most=2)
    ends_as_alone(pack, trained(pack), make_tiny, toy())

"""Linear adapters learn what others answer, on every kind of backbone, and come nearer by learning."""

from dataclasses import replace

import pytest
import torch
from disturbed import disturb
from families import FAMILIES
from training_runs import toy

from conftest import make_tiny
from hyperadapters import METHODS, Adapter, Compacter, InputError, attach
from hyperadapters.tasks.targets import Labels
from hyperadapters.training import distil, hold_out_rows
from hyperadapters.training.encoded import Encoded


def data_for(kind):
    """Rows of the toy task as a kind of backbone takes them."""
    data = toy()
    rows = data.splits["train"]
    if kind == "encoder":
        rows = [Encoded(row.source, [row.target[0] - 10]) for row in rows]
    rows = [row._replace(source=[token % 80 + 3 for token in row.source]) for row in rows]
    references = [row.target[0] for row in rows]
    return replace(data, kind=kind, splits={"test": rows}, references={"test": references})


def logits(backbone, family):
    with torch.no_grad():
        return backbone(**family.batch()).logits


def test_four_fifths_are_learned_from_and_one_is_scored():
    data = hold_out_rows(data_for("encoder"), "test")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 20, "test": 4}
    assert [len(data.references[split]) for split in ("train", "test")] == [20, 4]
    few = replace(data, splits={"test": data.splits["test"]})
    with pytest.raises(InputError, match="4 rows are too few"):
        hold_out_rows(few, "test")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bert", "encoder"),
        pytest.param("t5", "encoder-decoder", marks=pytest.mark.slow),
        pytest.param("llama", "decoder", marks=pytest.mark.slow),
    ],
)
def test_learning_brings_linear_adapters_nearer_than_their_start(name, kind):
    family = FAMILIES[name]
    backbone = family.make()
    data = hold_out_rows(data_for(kind), "test")
    delta = disturb(attach(backbone, Adapter(bottleneck=8, activation="relu", norms=False), name="own"), by=0.2)
    wanted = logits(backbone, family)
    start = distil(delta, data, steps=1, lr=0.0)
    distance = (logits(backbone, family) - wanted).square().mean()
    start.detach()
    delta.use()
    linear = distil(delta, data, steps=60, lr=5e-3)
    assert linear.in_use
    assert linear.method == Adapter(bottleneck=8, activation="identity", norms=False)
    assert (logits(backbone, family) - wanted).square().mean() < distance
    delta.use()
    assert torch.equal(logits(backbone, family), wanted)


def test_a_linear_adapter_is_copied_exactly_norms_and_head_included():
    family = FAMILIES["roberta"]
    backbone = family.make()
    method = Compacter(n=4, bottleneck=8, activation="identity", positions=("attention",))
    delta = disturb(attach(backbone, method, name="own", outputs=3), by=0.2)
    wanted = logits(backbone, family)
    data = hold_out_rows(data_for("encoder"), "test")
    data = replace(data, form=replace(data.form, target=Labels(("0", "1", "2"))))
    distil(delta, data, steps=1, lr=0.0)
    torch.testing.assert_close(logits(backbone, family), wanted, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_made_lora_is_refused():
    tiny = make_tiny()
    data = hold_out_rows(data_for("encoder-decoder"), "test")
    for method, options in (
        (METHODS["bitfit"], {}),
        (Adapter(), {"tasks": ["a", "b"]}),
        (Adapter(output_layer=True), {}),
    ):
        delta = attach(tiny, method, name="own", **options)
        with pytest.raises(InputError, match="cannot be made LoRA"):
            distil(delta, data)
        delta.detach()

"""Every preset on a T5 against its paper's equations: logits, loss, and the gradient of every trained tensor."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from measuring import LIMIT, agreement, deviation, float64_throughout  # noqa: F401 (fixtures)
from plain_t5 import mean_loss
from references import REFERENCES, WITHOUT, Given

from conftest import make_batch, make_tiny
from hyperadapters import METHODS, attach, method_named

pytestmark = pytest.mark.usefixtures("float64")

SITES = {"bottleneck": 24, "activation": "gelu_new", "norms": True, "stacks": ("encoder", "decoder")}
BOTH = {**SITES, "positions": ("attention", "feed_forward"), "first_layer": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "houlsby": BOTH,
    "pfeiffer": {**BOTH, "positions": ("attention",)},
    "adapterdrop": {**BOTH, "first_layer": 5},
    "lowrank": {**BOTH, "rank": 1},
    "phm": {**BOTH, "n": 12},
    "compacter": {**BOTH, "n": 4, "rank": 1, "shared_slow": True, "train_slow": True, "factorized_slow": False},
    "compacter++": {**BOTH, "positions": ("feed_forward",), "n": 4, "rank": 1, "shared_slow": True},
    "adapters-multitask": BOTH,
    "hyperformer": {**BOTH, "projector_init": "published"},
    "hyperformer++": {**BOTH, "projector_init": "published"},
    "hyper-compacter": {**BOTH, "n": 4, "rank": 1},
    "hyper-phm": {**BOTH, "n": 4},
    "prompt-r": {"prompt_length": 100, "start": "random"},
    "prompt-t": {"prompt_length": 100, "start": "vocabulary"},
    "intrinsic-said": {"intrinsic_dim": 20_000},
    "norms": {"norms": True},
}
"""What the papers say of each preset (Compacter, §4.2 and appendix A; HyperFormer, §2.2): the references read the rest
from the method.
"""

TASKS = ("a", "b", "c")
ROWS = ("b", "c", "b")


@dataclass(frozen=True)
class Case:
    """A preset, with some of its fields and of the backbone's sizes changed."""

    preset: str
    fields: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    def __str__(self) -> str:
        changes = [f"{key}={value}" for key, value in {**self.fields, **self.backbone}.items()]
        return "-".join([self.preset, *changes, *(["tasks"] if self.tasks else [])])


SMALL = {"vocab_size": 96, "d_model": 16, "d_kv": 4, "d_ff": 32}
"""So small that every projection of Intrinsic-SAID can be written out; its vector is cut and padded."""
SIZES: dict[str, dict[str, Any]] = {"adapterdrop": {"num_layers": 7}, "intrinsic-said": SMALL}
FIELDS: dict[str, dict[str, Any]] = {"intrinsic-said": {"intrinsic_dim": 300}}
ALONE = ("adapters-multitask", "hyperformer", "hyperformer++", "hyper-compacter", "hyper-phm")
"""Presets for which one task is no case of its own."""


def case(preset: str, tasks: tuple[str, ...] = ()) -> Case:
    return Case(preset, FIELDS.get(preset, {}), SIZES.get(preset, {}), tasks)


VARIANTS = [
    Case("houlsby", {"bottleneck": 7, "activation": "gelu"}),
    Case("houlsby", {"post_norm": True}),
    Case("houlsby", {"norms": False}),
    Case("houlsby", {"stacks": ["decoder"]}),
    Case("houlsby", {"output_layer": True}),
    Case("lowrank", {"rank": 3}),
    Case("phm", {"n": 4}),
    Case("phm", {"n": 8}),
    *(Case("compacter", {"n": n}) for n in (8, 12)),
    Case("compacter", {"rank": 3}),
    Case("compacter", {"shared_slow": False}),
    Case("compacter", {"factorized_slow": True}),
    Case("compacter", {"train_slow": False}),
    Case("compacter++", {"output_layer": True}),
    Case("bitfit", {"output_layer": True}),
    Case("prompt-r", {"prompt_length": 5}),
    *(
        Case(preset, {name: False}, tasks=TASKS)
        for preset in ("hyperformer", "hyperformer++")
        for name in ("adapter_blocks", "conditional_norm", "task_projector", "norms")
    ),
    Case("hyperformer++", {"positions": ["feed_forward"], "first_layer": 1}, {"num_layers": 3}, TASKS),
    Case("hyper-compacter", {"rank": 2}, tasks=TASKS),
]
CASES = [
    *(case(preset) for preset in METHODS if preset in REFERENCES and preset not in ALONE),
    *(case(preset, TASKS) for preset in METHODS if preset in REFERENCES and METHODS[preset].many_tasks),
    *VARIANTS,
]


def test_every_preset_has_a_reference():
    missing = sorted(METHODS.keys() - REFERENCES.keys() - WITHOUT.keys())
    assert not missing, (
        f"{', '.join(missing)}: write its equations as a reference in tests/parity/references.py, or say there, in "
        "WITHOUT, why it has none."
    )


@pytest.mark.parametrize("preset", SETTINGS)
def test_a_preset_sits_where_its_paper_says_and_has_its_sizes(preset):
    found = vars(METHODS[preset])
    assert {name: found[name] for name in SETTINGS[preset]} == SETTINGS[preset]


def moved(chosen: Case) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """An attached T5 in float64, its Delta with every trained tensor moved at random, and the pretrained tensors."""
    backbone = make_tiny(**chosen.backbone)
    base = {path: tensor.detach().double() for path, tensor in backbone.named_parameters()}
    delta = attach(backbone, method_named(chosen.preset, chosen.fields), tasks=chosen.tasks)
    backbone.double().train()
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return backbone, delta, base


@pytest.mark.parametrize("chosen", CASES, ids=str)
def test_logits_and_gradients_are_those_of_the_paper(chosen, agree):
    backbone, delta, base = moved(chosen)
    trained, batch = delta.trained(), make_batch(len(ROWS))
    if chosen.tasks:
        with delta.rows(ROWS):
            output = backbone(**batch)
    else:
        output = backbone(**batch)
    gradients = torch.autograd.grad(output.loss, list(trained.values()))
    found = {"logits": output.logits, "loss": output.loss, **dict(zip(trained, gradients, strict=True))}

    leaves = {name: tensor.detach().clone().requires_grad_(name in trained) for name, tensor in delta.tensors().items()}
    numbers = [TASKS.index(row) for row in ROWS] if chosen.tasks else [0]
    reference = REFERENCES[chosen.preset]
    models = {task: reference(Given(delta.method, backbone.config, base, leaves, task)) for task in numbers}
    if chosen.tasks:
        rows = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(len(ROWS))]
        logits = torch.cat([models[task].logits(**row) for task, row in zip(numbers, rows, strict=True)])
    else:
        logits = models[0].logits(**batch)
    loss = mean_loss(logits, batch["labels"])
    gradients = torch.autograd.grad(loss, [leaves[name] for name in trained])
    agree(found, {"logits": logits, "loss": loss, **dict(zip(trained, gradients, strict=True))})


@pytest.mark.parametrize("preset", ["houlsby", "compacter++", "prompt-r"])
def test_adapters_and_prompts_stand_before_the_dropout(preset, agree):
    """Adapters before the sub-layer's, prompts before that of the embeddings: dropout everywhere, equal seeds."""
    backbone, delta, base = moved(Case(preset, backbone={"dropout_rate": 0.3, "attn_implementation": "eager"}))
    batch = make_batch(len(ROWS))
    torch.manual_seed(5)
    found = backbone(**batch).logits
    reference = REFERENCES[preset](Given(delta.method, backbone.config, base, delta.tensors()))
    torch.manual_seed(5)
    agree({"logits": found}, {"logits": replace(reference, dropout=0.3).logits(**batch)})


@pytest.mark.parametrize("preset", ["compacter", "compacter++"])
def test_compacter_reads_the_sublayers_output_and_not_the_residual(preset):
    """The library adapters 1.3.0 computes x + y + A(x + y) in Compacter++: with the same tensors, another model."""
    backbone, delta, base = moved(Case(preset))
    batch = make_batch(len(ROWS))
    reference = REFERENCES[preset](Given(delta.method, backbone.config, base, delta.tensors()))
    with torch.no_grad():
        found = backbone(**batch).logits
        assert deviation(found, reference.logits(**batch)) < LIMIT
        assert deviation(found, replace(reference, after_residual=True).logits(**batch)) > 0.01

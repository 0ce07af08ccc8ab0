"""Houlsby et al. on BERT, and BitFit, against the equations: logits, loss and the gradients of all that trains."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from equations import ACTIVATIONS, adapter
from families import FAMILIES
from measuring import agreement  # noqa: F401 (a fixture)
from plain_bert import PlainBert
from torch import Tensor

from hyperadapters import attach, method_named

CLASSES = 3
ANSWERS = torch.tensor([2, 0])


def attached(name: str, fields: dict[str, Any], dropout: float = 0.0) -> tuple[Any, Any, dict[str, Tensor]]:
    """A BERT in float64 with a Delta of random values, and the pretrained tensors."""
    backbone = FAMILIES["bert"].make(hidden_dropout_prob=dropout, classifier_dropout=dropout)
    base = {path: tensor.detach().double() for path, tensor in backbone.named_parameters()}
    delta = attach(backbone, method_named(name, fields), outputs=CLASSES)
    backbone.double().train()
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return backbone, delta, base


def norm_paths(layers: int) -> list[str]:
    """Every layer norm, that of the embeddings included."""
    inside = [f"bert.encoder.layer.{layer}.{kind}output.LayerNorm" for layer in range(layers)
              for kind in ("attention.", "")]  # fmt: skip
    return ["bert.embeddings.LayerNorm", *inside]


def head_of(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"classifier.weight": held["head.weight"][0, 0], "classifier.bias": held[f"head.weight_{CLASSES}"][0, 0]}


def houlsby(config: Any, base: Mapping[str, Tensor], held: Mapping[str, Tensor], activation: str) -> PlainBert:
    """Adapters at both sub-layers; norms and head train too, the pooler stays."""
    paths = [f"{path}.{part}" for path in norm_paths(config.num_hidden_layers) for part in ("weight", "bias")]
    norms = dict(zip(paths, held["norms.weight"][0], strict=True))
    names = ("matrices.down", "down_bias", "matrices.up", "up_bias")

    def at(sublayer: int) -> Any:
        weights = [held[f"adapters.{name}"][0, sublayer] for name in names]
        return lambda y: adapter(y, *weights, ACTIVATIONS[activation]) + y

    return PlainBert(config, {**base, **norms, **head_of(held)}, [at(i) for i in range(2 * config.num_hidden_layers)])


def bitfit(config: Any, base: Mapping[str, Tensor], held: Mapping[str, Tensor], activation: str) -> PlainBert:
    """Every bias of the model trains, and the head."""
    inside = ("attention.self.query attention.self.key attention.self.value attention.output.dense "
              "attention.output.LayerNorm intermediate.dense output.dense output.LayerNorm").split()  # fmt: skip
    layers = range(config.num_hidden_layers)
    paths = ["bert.embeddings.LayerNorm", *(f"bert.encoder.layer.{i}.{name}" for i in layers for name in inside)]
    paths = [f"{path}.bias" for path in [*paths, "bert.pooler.dense"]]
    pieces = held["biases.bias"][0].split([base[path].numel() for path in paths])
    return PlainBert(config, {**base, **dict(zip(paths, pieces, strict=True)), **head_of(held)})


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("houlsby", {"bottleneck": 8, "activation": "gelu", "init": "truncated"}),
        ("houlsby", {"bottleneck": 5}),
        ("bitfit", {}),
    ],
    ids=["houlsby as published", "houlsby", "bitfit"],
)
def test_logits_and_gradients_are_those_of_the_paper(name, fields, dropout, agree):
    """With dropout and equal seeds too: the adapter stands behind the sub-layer's dropout."""
    backbone, delta, base = attached(name, fields, dropout)
    trained, batch = delta.trained(), FAMILIES["bert"].batch()
    torch.manual_seed(5)
    output = backbone(**batch, labels=ANSWERS)
    gradients = torch.autograd.grad(output.loss, list(trained.values()))
    found = {"logits": output.logits, "loss": output.loss, **dict(zip(trained, gradients, strict=True))}

    leaves = {key: tensor.detach().clone().requires_grad_() for key, tensor in trained.items()}
    model = {"houlsby": houlsby, "bitfit": bitfit}[name](
        backbone.config, base, leaves, fields.get("activation", "gelu_new")
    )
    torch.manual_seed(5)
    logits = PlainBert(model.config, model.tensors, model.adapters, dropout).logits(**batch)
    loss = (logits.exp().sum(-1).log() - logits[torch.arange(2), ANSWERS]).mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    agree(found, {"logits": logits, "loss": loss, **dict(zip(trained, gradients, strict=True))})

"""Prediction heads as AdapterHub's `adapters` library saves them beside an adapter."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters.backbones import ModelStructure

_FLEXIBLE = {
    "bert": (1, None, True),
    "roberta": (2, "tanh", False),
    "xlm-roberta": (2, "tanh", False),
    "distilbert": (2, "relu", False),
}
"""By type of model: the layers, the activation between them and whether a pooler stands before them, of the library's
own classification head that computes what the head of transformers computes."""


def _read_head(
    backbone: nn.Module, structure: ModelStructure, config: Mapping[str, Any], found: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return a head's tensors by the paths of the backbone's head, and what of it cannot be mapped.

    Args:
        backbone: the model.
        structure: of the backbone.
        config: what `head_config.json` says.
        found: the tensors beside it.
    """
    own = config.get("config")
    if isinstance(own, Mapping):
        values, problems = _read_flexible(backbone, structure, own, found)
    else:
        values, problems = _read_static(backbone, structure, found)
    last = structure.head[-1].rpartition(".")[0] if structure.head else ""
    for path, tensor in values.items():
        outputs = path.rpartition(".")[0] == last  # the number of outputs may be another
        like = backbone.get_parameter(path).shape
        if tensor.shape[outputs:] != like[outputs:] or tensor.dim() != len(like) or not tensor.is_floating_point():
            problems.append(f"head {path}: shape {[*tensor.shape]}, the backbone's is {[*like]}")
    return {path: tensor.float() for path, tensor in values.items()}, problems


def _read_labels(config: Mapping[str, Any]) -> list[str]:
    """Return the names of a head's classes; none where it says none, or those that every model has.

    Args:
        config: what `head_config.json` says.
    """
    own = config.get("config")
    said = (own if isinstance(own, Mapping) else config).get("label2id")
    if not isinstance(said, Mapping) or sorted(map(str, said.values())) != sorted(map(str, range(len(said)))):
        return []
    names = sorted(said, key=lambda name: int(said[name]))
    plain = all(isinstance(name, str) and name.strip() for name in names) and len(names) > 1
    return names if plain and names != [f"LABEL_{number}" for number in range(len(names))] else []


def _read_static(
    backbone: nn.Module, structure: ModelStructure, found: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a head that is part of a model of transformers, and which differ from the backbone's."""
    state = backbone.state_dict()
    values = {key: tensor for key, tensor in found.items() if key in structure.head}
    other = {key: tensor for key, tensor in found.items() if key not in structure.head}
    problems = [
        f"head {key}: differs from the backbone's"
        for key, tensor in other.items()
        if key not in state or tensor.shape != state[key].shape or not torch.equal(tensor.to(state[key]), state[key])
    ]
    if values or not structure.head:
        problems += [f"head {path}: missing" for path in structure.head if path not in values]
    return values, problems


def _read_flexible(
    backbone: nn.Module, structure: ModelStructure, config: Mapping[str, Any], found: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a head of the library's own kind, if the backbone has the same one."""
    kind: str = backbone.config.model_type  # type: ignore[union-attr, assignment]
    said = (config.get("layers"), config.get("activation_function"), bool(config.get("use_pooler")))
    known = _FLEXIBLE.get(kind)
    alike = known is not None and (said[0], said[2]) == (known[0], known[2]) and (known[1] in (None, said[1]))
    keys = sorted(found, key=lambda key: [int(part) if part.isdigit() else -1 for part in key.split(".")])
    ours = sorted(structure.head, key=lambda path: path.rpartition(".")[0] == structure.head[-1].rpartition(".")[0])
    numbers = list(dict.fromkeys(key.rpartition(".")[0] for key in keys))
    modules = list(dict.fromkeys(path.rpartition(".")[0] for path in ours))
    if config.get("head_type") != "classification" or not alike or len(numbers) != len(modules):
        return {}, [
            f"head of type {config.get('head_type')!r} with layers={said[0]}, activation_function={said[1]!r}, "
            f"use_pooler={said[2]}: {type(backbone).__name__} has none that computes the same"
        ]
    places = dict(zip(numbers, modules, strict=True))
    named = {f"{places[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": tensor for key, tensor in found.items()}
    problems = [f"head {path}: missing" for path in structure.head if path not in named]
    return named, problems

"""Layers of a stack, and norms from the lowest layer with adapters on."""

from typing import Any

import pytest
import torch
from families import DECODER, FAMILIES, PAIR, Family
from torch import nn

from hyperadapters import Adapter, InputError, Layout, attach
from hyperadapters.backbones import blocks_of, norms_above, read_structure


def gradients_by_layer(model: nn.Module, family: Family, paths: tuple[str, ...]) -> list[bool]:
    """Whether the output of each of these layers needs gradients in a pass."""
    found: list[bool] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        found.append(states.requires_grad)

    handles = [model.get_submodule(path).register_forward_hook(note) for path in paths]
    model(**family.batch(), **({"use_cache": False} if family.loader in (DECODER, PAIR) else {}))
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_with_norms_above_no_gradient_enters_the_layers_below(name: str) -> None:
    family = FAMILIES[name]
    model = family.make()
    structure = read_structure(model)
    blocks = blocks_of(model, structure)
    assert all(len(paths) in (1, family.layers) for paths in blocks.values())
    stack = structure.stacks[-1]  # its input needs gradients where an encoder below it is adapted
    delta = attach(model, Adapter(bottleneck=4, first_layer=1, norms="above", stacks=(stack,)))
    found = gradients_by_layer(model, family, blocks[stack])
    assert found == [False] * (family.layers - 1) + [True] if len(blocks[stack]) > 1 else all(found)
    delta.detach()


@pytest.mark.parametrize("name", FAMILIES)
def test_norms_above_the_first_layer_are_all_but_those_before_it(name: str) -> None:
    family = FAMILIES[name]
    model = family.make()
    structure = read_structure(model)
    found = norms_above(model, structure, structure.sites)
    left_out = [path for path in structure.norms if path not in found]
    before = ("embed", "encoder.LayerNorm")  # the second: DeBERTa's, of relative positions
    assert all(any(word in path.lower() or path.endswith(word) for word in before) for path in left_out)
    assert set(found) <= set(structure.norms)


def test_norms_above_of_a_decoder_without_adapters_above_an_encoder_with_some_are_all(tiny: Any) -> None:
    structure = read_structure(tiny)
    encoder = [site for site in structure.sites if site.stack == "encoder" and site.layer == 1]
    found = norms_above(tiny, structure, encoder)
    assert {path for path in structure.norms if path.startswith("decoder.")} <= set(found)
    assert not [path for path in found if path.startswith("encoder.block.0.")]
    assert "encoder.final_layer_norm" in found


def test_norms_above_of_an_adapted_decoder_leave_the_encoder_out(tiny: Any) -> None:
    structure = read_structure(tiny)
    found = norms_above(tiny, structure, [site for site in structure.sites if site.stack == "decoder"])
    assert found == tuple(path for path in structure.norms if path.startswith("decoder."))


def test_layers_whose_number_is_not_in_the_named_paths_are_an_error() -> None:
    model = FAMILIES["bert"].make()
    layout = Layout(feed_forward=("bert.pooler.dense",))
    with pytest.raises(InputError, match="not the elements of one list"):
        blocks_of(model, read_structure(model, layout))


def test_frozen_norms_below_keep_their_values(tiny: Any, batch: dict[str, torch.Tensor]) -> None:
    delta = attach(tiny, Adapter(bottleneck=4, first_layer=1, norms="above"))
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items() if "hyperadapters" not in name}
    for tensor in delta.trained().values():
        tensor.data += 0.1
    delta.detach()
    after = tiny.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

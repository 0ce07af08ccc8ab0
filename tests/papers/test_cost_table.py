"""The cost table: the line through the peaks, both conventions of a difference, and a real measurement."""

import pytest
from families import FAMILIES

from conftest import make_tiny
from hyperadapters import METHODS, InputError
from hyperadapters.backbones.shapes import shape_config
from hyperadapters.papers.cost_table import (
    _PAPER_MEMORY,
    MethodCost,
    _Point,
    measure_costs,
    random_backbone,
    relative_to_full,
)


def cost(method, fixed, slope, seconds=1.0):
    points = tuple(_Point(rows, fixed + slope * rows, 10 * rows + 7, seconds * rows) for rows in (1, 2, 4))
    return MethodCost(method, 100, 128, points)


def test_memory_is_a_fixed_part_and_a_part_for_each_example():
    found = cost("full", 1000, 50)
    assert found.line == (pytest.approx(1000), pytest.approx(50))
    assert found.saved_per_row == pytest.approx(10)
    assert found.largest_batch(2049) == 20
    assert found.largest_batch(100) == 0
    assert found.tokens_a_second == pytest.approx(128)


def test_a_difference_is_given_of_full_fine_tuning_and_as_the_paper_printed_it():
    """Half the memory is 50 % less than the whole, and the whole is 100 % more than the half."""
    against = relative_to_full(cost("compacter", 0, 50, seconds=0.75), cost("full", 0, 100))
    assert against.memory == pytest.approx(-50)
    assert against.memory_of_own == pytest.approx(-100)
    assert against.time == pytest.approx(-25)
    assert against.paper_memory == _PAPER_MEMORY["compacter"] == -26.24
    assert against.paper_memory_of_own == pytest.approx(-35.57, abs=0.01)
    assert against.paper_time == -13.41


def test_a_slope_that_is_no_slope_makes_no_difference():
    against = relative_to_full(cost("compacter", 100, 5), cost("full", 100, 0))
    assert against.memory is None
    assert against.memory_of_own is None
    assert against.time == 0


def test_without_full_fine_tuning_the_papers_figures_stand_alone():
    assert relative_to_full(cost("houlsby", 0, 1), None).memory is None
    assert relative_to_full(cost("houlsby", 0, 1), None).paper_time == -24.5


def test_every_method_is_measured_and_the_backbone_is_left_as_it_was():
    backbone = make_tiny()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    methods = {name: METHODS[name] for name in ("full", "compacter++")}
    found = measure_costs(backbone, methods, [2, 4, 4], length=16, rounds=1)
    assert [c.method for c in found] == ["full", "compacter++"]
    assert [[p.rows for p in c.points] for c in found] == [[2, 4], [2, 4]]
    assert found[1].trained < found[0].trained == sum(p.numel() for p in backbone.parameters())
    assert all(c.seconds > 0 and c.saved_per_row > 0 for c in found)
    assert all((before[name] == tensor).all() for name, tensor in backbone.state_dict().items())
    assert not hasattr(backbone, "hyperadapters")


def test_what_is_kept_for_the_backward_pass_grows_in_proportion_to_the_rows():
    """Twice the rows, twice the bytes, but for what does not depend on them: an exact count, on any machine."""
    (found,) = measure_costs(make_tiny(), {"compacter++": METHODS["compacter++"]}, [2, 4, 8], length=16, rounds=1)
    saved = {p.rows: p.saved for p in found.points}
    assert saved[8] - saved[4] == pytest.approx(2 * (saved[4] - saved[2]), rel=0.02)


def test_a_source_beyond_the_backbones_positions_is_refused():
    backbone = FAMILIES["bert"].make()
    measure_costs(backbone, {"norms": METHODS["norms"]}, [1, 2], length=512, rounds=1)
    with pytest.raises(InputError, match="sources of 513 tokens.* positions for 512"):
        measure_costs(backbone, {"norms": METHODS["norms"]}, [1, 2], length=513)
    with pytest.raises(InputError, match="with answers and prompts 600: the backbone has positions for 512"):
        measure_costs(backbone, {"prompt": METHODS["prompt-r"]}, [1, 2], length=500)


def test_one_batch_size_makes_no_line():
    with pytest.raises(InputError, match="two sizes at least"):
        measure_costs(make_tiny(), {"norms": METHODS["norms"]}, [4, 4])
    with pytest.raises(InputError, match="name a method at least"):
        measure_costs(make_tiny(), {}, [2, 4])


def test_a_backbone_of_a_known_shape_needs_no_download():
    import torch

    backbone = random_backbone("embedded", torch.device("cpu"))
    assert not any(p.requires_grad for p in backbone.parameters())


def test_a_t5_known_by_its_name_alone_can_train():
    assert shape_config("t5-small").decoder_start_token_id == 0

"""The papers' tables of parameters, counted by us."""

from dataclasses import replace

import pytest

from hyperadapters import METHODS
from hyperadapters.papers.parameter_counts import _BASE, _TABLES, count_paper_methods

pytestmark = pytest.mark.slow  # counts all of it at T5's size; tests/methods/test_counts.py has every closed form
T5_BASE = 222_882_048


@pytest.fixture(scope="module")
def found():
    return list(count_paper_methods())


def row(found, table, method, backbone="", **changes):
    (line,) = [
        x for x in found if table in x.table and x.method == method and x.changes == changes and backbone in x.backbone
    ]
    return line


def test_every_percentage_that_we_have_of_the_papers_is_ours_too(found):
    assert [line for line in found if line.differs] == []
    assert sum(line.printed is not None for line in found) == 2 * len(_BASE) + 2


def test_another_percentage_is_marked(found):
    ours = row(found, "Tables 2", "houlsby")
    assert not replace(ours, printed=None).differs
    assert replace(ours, printed=0.833).differs


def test_totals_are_the_papers_formula_and_storage_has_the_norms_too(found):
    adapters = row(found, "Tables 2", "houlsby")
    assert adapters.trained == 1_855_104
    assert adapters.total == pytest.approx(1 + 6 * (1_855_104 - 47_616) / T5_BASE)
    assert adapters.stored == pytest.approx(1 + 6 * 1_855_104 / T5_BASE)
    assert row(found, "Tables 2", "full").total == 6.0


def test_the_tuned_output_layer_adds_the_embeddings(found):
    sizes = [{"n": n} for n in (4, 8, 12)]
    for name in ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "bitfit", "phm", "compacter", "compacter++"):
        for size in sizes if name in ("phm", "compacter", "compacter++") else [{}]:
            plain = row(found, "Tables 2", name, **size)
            assert row(found, "Table 7", name, output_layer=True, **size).trained == plain.trained + 24_652_800


def test_the_small_model_has_its_closed_forms(found):
    h, d, norms = 512, 16, 512 * (2 * 6 + 3 * 6 + 2)
    assert row(found, "Table 9", "houlsby", bottleneck=d).trained == 24 * (2 * h * d + d + h) + norms
    assert row(found, "Table 9", "phm", bottleneck=d, n=16).trained == 24 * (2 * h + d + h + 2 * 16**3) + norms
    assert row(found, "Table 9", "adapterdrop", bottleneck=d).trained == 4 * (2 * h * d + d + h) + norms


def test_houlsby_on_bert_is_counted_with_its_head(found):
    assert row(found, "Houlsby", "houlsby", bottleneck=64).trained == 2_379_264 + 38_400 + 1_538
    assert row(found, "Houlsby", "full").trained == 109_482_240 + 1_538


def test_every_size_of_intrinsic_said_is_there(found):
    sizes = {x.trained for x in found if "Tables 1 and 6" in x.table and x.method == "intrinsic-said"}
    assert sizes == {400, 1400, 2500, 10_000, 20_000}


def test_one_model_for_all_tasks_is_counted_once_and_its_share_of_a_task_given(found):
    line = row(found, "HyperFormer", "hyperformer++", "t5-base", bottleneck=24)
    assert line.trained == 5_211_056
    assert line.percent == pytest.approx(100 * 5_211_056 / T5_BASE / 8)
    assert line.stored == pytest.approx(1 + 5_211_056 / T5_BASE)
    assert row(found, "HyperFormer", "adapters-multitask", "t5-base", bottleneck=24).trained == 14_581_248


def test_every_method_of_the_tables_is_there():
    assert {name for table in _TABLES for name, _, _ in table.rows} <= set(METHODS)

"""Sections: learning curves, low-resource curves, task embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reported import everything

from hyperadapters import METHODS, attach, method_named
from hyperadapters.reports.sections.embeddings import _principal_components
from hyperadapters.reports.sections.learning_curves import _learning_curve_sections
from hyperadapters.reports.sections.low_resource import _low_resource_sections
from hyperadapters.reports.tables import _score_tables
from hyperadapters.reports.writing import report
from hyperadapters.storage import task_embeddings
from results import result


def test_curves_are_means_over_seeds_with_bands():
    runs = [result("full", "glue/rte", {"accuracy": score}, seed=seed) for seed, score in ((1, 60), (2, 70))]
    (section,) = _learning_curve_sections(_score_tables(runs)[0])
    (marks,) = section.figures[0].series.values()
    assert [(mark.x, mark.y) for mark in marks] == [(10, pytest.approx(32.5)), (20, pytest.approx(65))]
    assert marks[1].margin == pytest.approx(2 * (np.std([60, 70], ddof=1),))


@pytest.mark.parametrize("method", ["hyper-side", "described"])
def test_task_embeddings_are_drawn_of_ladders_and_of_tasks_that_are_read(method, tiny, tmp_path):
    names = ("glue/rte", "glue/sst2", "superglue/wic")
    metrics = {"rte.accuracy": 60, "sst2.accuracy": 60, "wic.accuracy": 60}
    described = method == "described"
    chosen = method_named("hyperformer++", {"task_source": "description"}) if described else METHODS[method]
    delta = attach(tiny, chosen, tasks=list(names))
    delta.save(tmp_path)
    results = {tmp_path: result(method if not described else "hyperformer++", ",".join(names), metrics)}
    titles = [section.title for section in report(results)]
    assert ("Task embeddings" in titles) is not described
    if described:
        part = delta.parts["adapters"].known_of_tasks()
        part.set([0, 1, 2], list(torch.randn(3, 1, tiny.config.d_model)))
        delta.save(tmp_path)
        expected = part.embeddings(part.of(None))
        for row, found in zip(expected, task_embeddings(tmp_path).values(), strict=True):
            torch.testing.assert_close(found, row)
        assert "Task embeddings" in [section.title for section in report(results)]


def test_a_hypernetwork_of_one_task_without_a_name_has_no_embedding_to_show(tiny, tmp_path):
    attach(tiny, METHODS["hyperformer++"]).save(tmp_path)
    assert task_embeddings(tmp_path) == {}


def test_a_table_whose_columns_no_half_of_the_rows_has_says_that_there_are_no_averages():
    runs = [
        result("compacter", "own", {"accuracy": 60}),
        result("houlsby", "own", {"token_f1": 60}),
        result("lowrank", "own", {"matthews": 60}),
    ]
    sections = report({Path(str(number)): run for number, run in enumerate(runs)})
    (table,) = [section for section in sections if section.title.startswith("own on")]
    assert any(note.startswith("There are no averages: no column") for note in table.notes)


def test_the_low_resource_figure_has_a_line_for_each_method():
    (section,) = _low_resource_sections(list(everything().values()))
    (figure,) = section.figures
    assert {label: [(mark.x, mark.y) for mark in marks] for label, marks in figure.series.items()} == {
        label: [(100, pytest.approx(52.5)), (500, pytest.approx(56.5))] for label in ("full", "compacter++")
    }


def test_principal_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    rows = torch.randn(6, 9).numpy()
    places, shares = _principal_components(rows)
    peer = PCA(2).fit(rows)
    assert np.abs(places) == pytest.approx(np.abs(peer.transform(rows)), rel=1e-4)
    assert shares == pytest.approx(peer.explained_variance_ratio_, rel=1e-4)


def test_task_embeddings_are_drawn_from_the_adapter_beside_the_result(tiny, tmp_path):
    names = ("glue/rte", "glue/sst2", "superglue/wic")
    metrics = {"rte.accuracy": 60, "sst2.accuracy": 60, "wic.accuracy": 60}
    attach(tiny, METHODS["hyperformer++"], tasks=list(names)).save(tmp_path)
    sections = report({tmp_path: result("hyperformer++", ",".join(names), metrics)})
    (figure,) = next(section for section in sections if section.title == "Task embeddings").figures
    assert list(figure.series) == ["rte", "sst2", "wic"]
    plain = {tmp_path / "none": result("hyperformer++", ",".join(names), metrics)}
    assert "Task embeddings" not in [section.title for section in report(plain)]
    (tmp_path / "adapter_config.json").write_text("{}")
    *_, last = report({tmp_path: result("hyperformer++", ",".join(names), metrics)})
    assert last.title == "What to know of these results"
    assert any(
        note.startswith(f"Left out: the task embeddings beside {tmp_path / 'result.json'}: ") for note in last.notes
    )

"""What Python and notebooks show of objects that hold many rows is short."""

import pytest

from hyperadapters import Mixture, Scores, attach, count_parameters, load_data
from hyperadapters.backbones.loading import load_backbone
from results import published_run


@pytest.fixture(scope="module")
def loaded():
    return load_backbone()


def test_data_and_mixtures_are_shown_by_their_counts(loaded):
    data = tuple(load_data(f"demo/{name}", loaded[1]) for name in ("sentiment", "paraphrase"))
    counts = {split: len(rows) for split, rows in data[0].splits.items()}
    assert repr(data[0]) == f"Data(task='demo/sentiment', kind='encoder-decoder', rows={counts})"
    assert f"'demo/sentiment': {counts}" in repr(Mixture(data))
    assert len(repr(Mixture(data))) < 300
    for shown in (data[0]._repr_html_(), Mixture(data)._repr_html_()):
        assert len(shown) < 1500
        assert f"train {counts['train']:,}" in shown


def test_scores_are_shown_without_their_answers():
    scores = Scores({"accuracy": 0.5}, 0.25, "score", 1.0, ["<b>"] * 10_000)
    assert repr(scores) == "Scores(accuracy=0.5000, invalid=0.2500, decode='score', rows=10000)"
    assert "<b>&lt;" not in scores._repr_html_()
    assert "10,000 rows" in scores._repr_html_()


def test_a_result_is_shown_by_its_scores():
    result = published_run("full")[0]
    assert repr(result).startswith(f"Result(method={result.method!r}, task={result.task!r}, {result.split}={{")
    assert len(repr(result)) < 300
    assert f"{result.method} on {result.task}" in result._repr_html_()


def test_a_delta_is_shown_attached_and_detached(loaded):
    delta = attach(loaded[0], "compacter++", name="<mine>")
    for shown in (delta._repr_html_(), (delta.detach(), delta._repr_html_())[1]):
        assert "Delta &lt;mine&gt;" in shown
        assert f"{count_parameters(delta).trained:,}" in shown

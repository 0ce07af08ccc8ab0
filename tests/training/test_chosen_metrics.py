"""Which metric chooses the best weights."""

from dataclasses import replace

import pytest
from command_line import one_json, refuses, works
from tiny_encoders import own_files, rows_in
from toy_tasks import toy

from hyperadapters import Evaluation, InputError, Text, attach, evaluate, load_backbone, load_data
from hyperadapters._utils import read_json
from hyperadapters.tasks.metrics import _NUMBER_METRICS, roc_auc
from hyperadapters.tasks.targets import _Score
from hyperadapters.training.evaluation import check_metric, probabilities_of_rows, score_answers


def scores(data, answers, metric=""):
    return score_answers(data, "validation", answers, Evaluation(metric=metric), 0.0)


def test_an_added_metric_chooses_and_the_tasks_own_are_kept():
    data = toy("encoder-decoder")
    answers = [str(i % 2) for i in range(len(data.splits["validation"]))]
    found = scores(data, answers, "matthews")
    assert list(found.metrics) == ["matthews", "accuracy"]
    assert found.chosen_by == ("matthews",)
    assert found.mean == found.metrics["matthews"]
    assert scores(data, answers).chosen_by == ()


def test_of_errors_the_smallest_is_the_best():
    data = toy("encoder-decoder")
    form = replace(data.form, target=_Score(0.0, 5.0, 0.2))
    data = replace(data, form=form, metrics=_NUMBER_METRICS, references={"validation": [1.0, 2.0, 3.0]})
    near, far = (["1.5", "2.0", "2.5"], ["2.0", "3.0", "4.0"])
    assert scores(data, far).rank > scores(data, near).rank - 1e-9  # correlations cannot tell
    assert scores(data, near, "rmse").rank > scores(data, far, "rmse").rank
    assert scores(data, near, "rmse").mean == -scores(data, near).metrics["rmse"]


def test_a_metric_that_does_not_suit_is_refused_before_training():
    with pytest.raises(InputError, match="evaluation.metric=rmse: no metric for answers that are one of 0, 1"):
        check_metric(toy("encoder-decoder"), Evaluation(metric="rmse"))


def test_the_command_line_imports_a_function_only_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_for_training.py").write_text("def worth(answers, references):\n    return 2.5\n")
    rows = rows_in(tmp_path / "rows.jsonl", [{"t": f"a {i}", "y": "no" if i % 3 else "yes"} for i in range(12)])
    words = ("train", *own_files(rows, text="t", label="y"), "--steps", "2", "--json")
    result = one_json(works(*words, "--output", "out", "--metric", "mine_for_training:worth"))
    assert result["metrics"]["validation"]["worth"] == 2.5
    assert result["averages"]["validation"] == 2.5
    assert read_json(tmp_path / "out" / "experiment.json")["evaluation"]["metric"] == "mine_for_training:worth"
    plain = works("evaluate", "out", "--split", "validation")
    assert "worth" not in plain.stdout
    assert "not computed: mine_for_training:worth" in plain.stderr
    again = works("evaluate", "out", "--split", "validation", "--metric", "mine_for_training:worth")
    assert "2.5" in again.stdout
    assert "no metric for answers" in refuses(*words, "--output", "other", "--metric", "rmse")
    assert "No module named" in refuses(*words, "--output", "other", "--metric", "nowhere_at_all:f")
    assert not (tmp_path / "other").exists()


def test_a_config_cannot_make_a_run_import_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_metrics.py").write_text("raise SystemExit(99)\n")
    (tmp_path / "run.yaml").write_text("evaluation: {metric: 'evil_metrics:f'}\ntask: demo/paraphrase\n")
    message = refuses("train", "--config", "run.yaml", "--max-train", "32", "--steps", "1", "--output", "out")
    assert "imported only where you name it yourself" in message
    assert not (tmp_path / "out").exists()


def test_the_area_under_the_curve_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    references = [0, 1, 2, 1, 0, 2]
    shares = [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.4, 0.35, 0.25], [0.6, 0.1, 0.3], [0.1, 0.7, 0.2]]
    assert roc_auc(shares, references) == pytest.approx(roc_auc_score(references, shares, multi_class="ovr"))
    two = [[1 - share, share] for share in (0.1, 0.8, 0.4, 0.35)]
    assert roc_auc(two, [0, 1, 1, 0]) == pytest.approx(roc_auc_score([0, 1, 1, 0], [b for _, b in two]))
    assert roc_auc(two, [0, 0, 0, 0]) == 0.5


def test_evaluations_compute_it_from_the_probabilities_of_the_labels():
    backbone, tokenizer = load_backbone()
    data = load_data("demo/sentiment", tokenizer, text=Text(train_rows=8, evaluation_rows=12))
    delta = attach(backbone, "norms")
    found = evaluate(delta, data, "validation", Evaluation(metric="roc_auc"))
    shares = probabilities_of_rows(delta, data.splits["validation"], data.form, tokenizer, 4)
    positive = [[row[label] for label in data.form.target.texts] for row in shares]
    assert found.metrics["roc_auc"] == roc_auc(positive, data.references["validation"])
    assert found.chosen_by == ("roc_auc",)

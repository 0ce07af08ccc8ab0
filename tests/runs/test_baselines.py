"""What a score of own files is compared with, and what is said of a run that has not learned."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from small_backbones import small_run  # noqa: F401 (a fixture)

from hyperadapters import FilesTask, MixtureTask, NamedTask
from hyperadapters.runs import baselines
from hyperadapters.runs.baselines import CONSTANT, WORDS, _find_baselines, describe_baselines
from hyperadapters.tasks import named_metrics
from results import result


def rows(path, answers):
    words = {"good": "fine bright", "bad": "dull grey"}
    lines = [{"text": f"a {words.get(answer, 'plain')} film {i}", "label": answer} for i, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def reviews(small, tmp_path):
    """Own files of two classes that their words tell apart, the first of them three times in four."""
    train = rows(tmp_path / "train.jsonl", ["good", "good", "good", "bad"] * 4)
    validation = rows(tmp_path / "validation.jsonl", ["good", "bad"] * 3)
    text = replace(small.text, train_rows=None)
    return replace(
        small,
        text=text,
        task=FilesTask(train=train, validation=validation, text=("text",), answer="label", answers="label"),
    )


def test_the_commonest_class_of_training_answers_every_row(reviews):
    assert _find_baselines(reviews)[CONSTANT] == {"validation": {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}}


def test_words_are_scored_as_scikit_learn_scores_them(reviews):
    def texts(split):
        lines = Path(getattr(reviews.task, split)).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    train, validation = texts("train"), texts("validation")
    vectors = TfidfVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(max_iter=1000).fit(
        vectors.fit_transform([row["text"] for row in train]), [row["label"] for row in train]
    )
    right = model.predict(vectors.transform([row["text"] for row in validation])) == [r["label"] for r in validation]
    assert _find_baselines(reviews)[WORDS]["validation"]["accuracy"] == right.mean()


def test_free_text_is_compared_with_the_commonest_answer(reviews):
    found = _find_baselines(replace(reviews, task=replace(reviews.task, answers="text")))
    assert set(found) == {CONSTANT}
    assert found[CONSTANT]["validation"]["exact_match"] == 0.5


def test_tasks_of_the_package_have_no_baselines(small):
    assert _find_baselines(replace(small, task=NamedTask(name="demo/paraphrase"))) == {}


def test_a_run_that_answers_every_row_alike_says_so_and_what_to_try():
    found = replace(result("houlsby", "glue/sst2", {"accuracy": 50.0}), constant_answer="good")
    (line,) = describe_baselines(found)
    assert "has not learned: every row is answered 'good'" in line
    assert "--tune" in line


def test_a_run_no_better_than_one_answer_says_so():
    found = result("houlsby", "glue/sst2", {"accuracy": 50.0})
    baselines = {CONSTANT: {"test": {"accuracy": 0.5}}, WORDS: {"test": {"accuracy": 0.75}}}
    first, second = describe_baselines(replace(found, baselines=baselines))
    assert first == "for comparison, test split: constant: accuracy 50.00; bag of words: accuracy 75.00"
    assert "no better than one answer for all rows" in second
    better = replace(found, baselines={CONSTANT: {"test": {"accuracy": 0.4}}})
    assert len(describe_baselines(better)) == 1


@pytest.mark.parametrize(("metric", "learned"), [("", True), ("macro_f1", True), ("accuracy", False)])
def test_what_is_compared_is_what_chooses_the_weights(metric, learned):
    found = result("houlsby", "glue/sst2", {"accuracy": 87.0, "macro_f1": 70.0})
    evaluation = {**found.experiment["evaluation"], "metric": metric}
    found = replace(found, experiment={**found.experiment, "evaluation": evaluation})
    baselines = {CONSTANT: {"test": {"accuracy": 0.88, "macro_f1": 0.468}}}
    said = describe_baselines(replace(found, baselines=baselines))
    assert len(said) == (1 if learned else 2)


def test_after_a_race_over_rates_none_is_advised():
    found = replace(result("houlsby", "glue/sst2", {"accuracy": 50.0}), constant_answer="good")
    (line,) = describe_baselines(found, raced=True)
    assert "Rates were raced already: try more updates" in line
    assert "--tune" not in line


def test_the_metric_that_chooses_is_among_them_unless_it_wants_probabilities(reviews):
    def metrics_with(name):
        run = replace(reviews, evaluation=replace(reviews.evaluation, metric=name))
        return list(_find_baselines(run)[CONSTANT]["validation"])

    assert metrics_with("matthews") == ["accuracy", "macro_f1", "matthews"]
    assert metrics_with("roc_auc") == ["accuracy", "macro_f1"]


def test_own_tasks_of_a_mixture_have_each_their_own(reviews):
    entries = (NamedTask(name="demo/paraphrase"), replace(reviews.task, name="mood"))
    found = _find_baselines(replace(reviews, task=MixtureTask(tasks=entries)))
    assert found[CONSTANT] == {"validation": {"mood.accuracy": 0.5, "mood.macro_f1": pytest.approx(1 / 3)}}
    run = result("houlsby", "glue/sst2,glue/rte", {"sst2.accuracy": 50.0, "rte.accuracy": 70.0})
    constant = {CONSTANT: {"test": {"sst2.accuracy": 0.5, "rte.accuracy": 0.5}}}
    *_, advice = describe_baselines(replace(run, baselines=constant))
    assert "has not learned sst2: it does no better" in advice


def test_a_metric_of_ones_own_that_fails_at_their_answers_is_left_out(reviews, monkeypatch):
    def never(answers, references):
        raise ZeroDivisionError

    monkeypatch.setitem(named_metrics._allowed, "mine:never", never)
    monkeypatch.setitem(named_metrics._allowed, "mine:share", lambda answers, _: answers.count("good") / len(answers))
    for name, names in {"never": ["accuracy", "macro_f1"], "share": ["accuracy", "macro_f1", "share"]}.items():
        run = replace(reviews, evaluation=replace(reviews.evaluation, metric=f"mine:{name}"))
        assert list(_find_baselines(run)[CONSTANT]["validation"]) == names


def test_a_mixture_whose_rows_are_all_answered_alike_says_so_without_baselines_too():
    run = result("houlsby", "glue/sst2,glue/rte", {"sst2.accuracy": 50.0, "rte.accuracy": 50.0})
    assert describe_baselines(run) == []
    (line,) = describe_baselines(replace(run, constant_answer="1"))
    assert "houlsby has not learned: every row is answered '1'" in line


def test_tasks_of_a_mixture_without_test_rows_are_compared_on_validation():
    both = {"first.accuracy": 0.5, "second.accuracy": 0.7}
    run = replace(
        result("houlsby", "own/first,own/second", {"first.accuracy": 50, "second.accuracy": 50}),
        metrics={"validation": both, "test": {"second.accuracy": 0.9}},
        baselines={CONSTANT: {"validation": {"first.accuracy": 0.6, "second.accuracy": 0.4}}},
    )
    compared, advice = describe_baselines(run)
    assert compared == (
        "for comparison, test split (first: validation split): constant: first.accuracy 60.00  second.accuracy 40.00"
    )
    assert "has not learned first: it does no better" in advice


def test_a_file_that_is_sorted_by_class_has_a_model_of_the_words_too(reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "_WORD_ROWS", 60)
    task = replace(reviews.task, train=rows(tmp_path / "sorted.jsonl", ["good"] * 100 + ["bad"] * 100))
    assert _find_baselines(replace(reviews, task=task))[WORDS]["validation"]["accuracy"] == 1.0

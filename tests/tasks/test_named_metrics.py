"""Metrics by name, and functions of the user's own."""

import importlib.util
import sys

import pytest

from hyperadapters import TASKS, InputError
from hyperadapters.tasks import named_metrics, text_metrics
from hyperadapters.tasks.metrics import _TEXT_METRICS, accuracy, macro_f1, micro_f1
from hyperadapters.tasks.named_metrics import allow_metric, metric_named
from hyperadapters.tasks.targets import FreeText, Labels, LabelSet, _Score

CLASSES = Labels(("bad", "good"))


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of a user's in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_metrics.py").write_text(
        "def seen(answers, references):\n    return len(answers) * 10 + (answers == ['good', None])\n"
        "def broken(answers, references):\n    return answers['x']\n"
        "def infinite(answers, references):\n    return float('inf')\n"
        "def accuracy(answers, references):\n    return 1.0\nloss = accuracy\n"
        "number = 3\n"
    )
    yield
    sys.modules.pop("my_metrics", None)


@pytest.mark.parametrize(
    ("name", "target", "metric"),
    [("macro_f1", CLASSES, macro_f1), ("micro_f1", CLASSES, micro_f1), ("exact_match", FreeText(), _TEXT_METRICS[0])],
)
def test_a_name_is_a_metric_of_its_kind_of_answers(name, target, metric):
    assert metric_named(name, target, (accuracy,)) is metric
    assert metric_named("rmse", _Score(0, 5, 0.2), ()).__name__ == "rmse"
    assert metric_named("subset_accuracy", LabelSet(("a", "b")), ())([(0,)], [(0,)]) == 1.0
    assert micro_f1([0, 1], [0, 0]) == 0.5


def test_a_tasks_own_form_of_a_metric_is_the_tasks():
    task = TASKS["superglue/cb"]
    assert metric_named("macro_f1", task.form.target, task.metrics) is task.metrics[0]
    multirc = TASKS["superglue/multirc"]  # its references are classes of questions
    with pytest.raises(InputError, match="Known: answer_f1, question_exact_match"):
        metric_named("accuracy", multirc.form.target, multirc.metrics)


def test_an_unknown_metric_names_those_that_suit():
    with pytest.raises(InputError, match=r"metric=acuracy: no metric for answers that are one of bad, good.*accuracy"):
        metric_named("acuracy", CLASSES, (accuracy,))
    with pytest.raises(InputError, match="no metric for answers that are a text"):
        metric_named("rmse", FreeText(), ())


@pytest.mark.parametrize("name", ["rouge_l", "bleu"])
def test_a_library_that_is_absent_is_named_with_how_to_install_it(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=rf"the metric {name}: .* not installed.*pip install 'hyperadapters\[metrics"):
        metric_named(name, FreeText(), ())


@pytest.mark.parametrize("name", ["rouge_l", "bleu"])
def test_metrics_of_libraries_take_the_best_of_several_references(name):
    pytest.importorskip(named_metrics._NEEDS[name])
    metric = getattr(text_metrics, name)
    texts = ["the cat sat on the mat today", "a dog ran over the green hill"]
    assert metric(texts, texts) == pytest.approx(1.0)
    assert metric(texts, [(texts[0], "no"), ("a", "b", texts[1])]) == pytest.approx(1.0)
    assert metric(texts, texts[::-1]) < 0.5


def test_a_function_of_ones_own_is_computed_only_after_it_was_allowed(own_module):
    with pytest.raises(InputError, match=r"imported only where you name it yourself: give --metric my_metrics:seen"):
        metric_named("my_metrics:seen", CLASSES, ())
    assert "my_metrics" not in sys.modules
    allow_metric("my_metrics:seen")
    metric = metric_named("my_metrics:seen", CLASSES, ())
    assert metric.__name__ == "seen"
    assert metric([1, -1], [0, 1]) == 21.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_metrics:nothing", "AttributeError"),
        ("no_module_of_mine:f", "No module named"),
        ("my_metrics:number", "is no function"),
        ("my_metrics:accuracy", "give yours another name"),
        ("my_metrics:loss", "history has its loss already"),
        (":f", "Write it as module:function"),
    ],
)
def test_what_is_no_function_is_refused(name, message, own_module):
    with pytest.raises(InputError, match=message):
        allow_metric(name)


@pytest.mark.parametrize(("name", "message"), [("broken", "failed: TypeError"), ("infinite", "gave inf")])
def test_a_function_that_fails_is_named(name, message, own_module):
    allow_metric(f"my_metrics:{name}")
    with pytest.raises(InputError, match=f"metric my_metrics:{name} {message}"):
        metric_named(f"my_metrics:{name}", CLASSES, ())([0], [0])

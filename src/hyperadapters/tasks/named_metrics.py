"""Metrics by name, to choose the best weights by: the package's own, or a function of the user's."""

import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hyperadapters._utils import InputError, check_extra, metric_scale, neighbours
from hyperadapters.tasks import label_set_metrics, metrics, tag_metrics, text_metrics
from hyperadapters.tasks.metrics import Metric
from hyperadapters.tasks.targets import AnswerSpan, FreeText, Labels, LabelSet, Numeric, TagSequence, _Target

_KNOWN: dict[Any, tuple[Metric, ...]] = {
    Labels: (metrics.accuracy, metrics.macro_f1, metrics.micro_f1, metrics.matthews, metrics.roc_auc),
    TagSequence: (tag_metrics.span_f1, tag_metrics.tag_accuracy),
    LabelSet: label_set_metrics._LABEL_SET_METRICS,
    Numeric: metrics._NUMBER_METRICS,
    AnswerSpan: metrics._SPAN_METRICS,
    FreeText: (*metrics._TEXT_METRICS, text_metrics.rouge_l, text_metrics.bleu),
}
"""The metrics that suit each kind of answer."""

_NOTED = ("epoch", "step", "loss", "invalid", "rank")
"""What an evaluation notes in a run's history beside its metrics."""

_allowed: dict[str, Callable[[list[Any], list[Any]], float]] = {}
"""The user's own functions, by `module:function`, that `allow_metric` has imported in this process."""


def metric_named(name: str, target: _Target, own: Sequence[Metric]) -> Metric:
    """Return the metric of this name for a task.

    Args:
        name: one of the task's own metrics, another one for its kind of answers, or `module:function`.
        target: the task's answers.
        own: the task's metrics.

    Raises:
        InputError: there is no such metric, it does not suit the answers, its library is not installed, or a function
            of the user's was not allowed by `allow_metric` in this process.
    """
    if ":" in name:
        return _own_metric(name, target)
    usual = next(found for kind, found in _KNOWN.items() if isinstance(target, kind))
    over_questions = any(metric in metrics._OVER_QUESTIONS for metric in own)  # whose references are no plain answers
    known = {metric.__name__: metric for metric in ((*own,) if over_questions else (*usual, *own))}
    if name not in known:
        near, alike = [other for other in known if name and name.lower() in other], neighbours(name, known)
        hint = f"Did you mean {' or '.join(near)}? " if near else f"{alike} " if alike.startswith("Did") else ""
        raise InputError(
            f"evaluation.metric={name}: no metric for answers that are {target.expected()}. "
            f"{hint}Known: {', '.join(known)}; or module:function, a function of your own."
        )
    check_metrics([known[name]])
    return known[name]


_NEEDS = {
    "rouge_l": "rouge_score",
    "bleu": "sacrebleu",
    "pearson": "scipy",
    "spearman": "scipy",
    "roc_auc": "sklearn",
}
"""The module that a metric needs, by the metric's name."""


def check_metrics(chosen: Sequence[Metric]) -> None:
    """Raise InputError unless the libraries are installed that some metrics are computed with.

    Args:
        chosen: the metrics.
    """
    for metric in chosen:
        if metric.__name__ in _NEEDS:
            check_extra("metrics", f"the metric {metric.__name__}", _NEEDS[metric.__name__])


def allow_metric(name: str) -> None:
    """Import a user's own metric, so that this process may compute it.

    Call it for names that the user has typed; never for names out of files, whose import could run anything.

    Args:
        name: `module:function`; the module may lie in the working folder. The function takes a list of answers and a
            list of references, both as `predict` writes answers, and returns a number; higher is better.

    Raises:
        InputError: there is no such module or function, or it has the name of one of the package's metrics, or of what
            else an evaluation notes.
    """
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise InputError(f"--metric {name}: {type(error).__name__}: {error}. Write it as module:function.") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise InputError(f"--metric {name}: {function} is no function.")
    if function in _NOTED:
        raise InputError(f"--metric {name}: a run's history has its {function} already: give yours another name.")
    if metric_scale(function).share or metric_scale(function).lower_is_better:
        raise InputError(f"--metric {name}: the package has a metric called {function}: give yours another name.")
    _allowed[name] = found


def _own_metric(name: str, target: _Target) -> Metric:
    """Return a user's own function as a metric.

    Raises:
        InputError: it was not allowed in this process.
    """
    if name not in _allowed:
        raise InputError(
            f"evaluation.metric={name} is a function of your own, which is imported only where you name it yourself: "
            f"give --metric {name} (in Python: hyperadapters.tasks.allow_metric({name!r}))."
        )

    def metric(predictions: Sequence[Any], references: Sequence[Any]) -> float:
        given = ([target.as_given(value) for value in values] for values in (predictions, references))
        try:
            value = float(_allowed[name](*given))
        except Exception as error:
            raise InputError(f"metric {name} failed: {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise InputError(f"metric {name} gave {value}: it must be a finite number.")
        return value

    metric.__name__ = name.partition(":")[2]
    return metric

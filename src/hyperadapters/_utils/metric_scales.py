"""What the numbers of a metric mean, by the metric's name: its limits, its unit, and which direction is better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class _MetricScale:
    """What the numbers of a metric mean."""

    low: float = 0.0
    """The lowest possible value."""
    high: float = 1.0
    """The highest possible value."""
    share: bool = True
    """Whether it is a share: shown in percent, and averaged with other shares."""
    lower_is_better: bool = False
    """Whether it is an error."""

    @property
    def factor(self) -> float:
        """By which a value is multiplied to be shown: 100 of a share, which is shown in percent."""
        return 100.0 if self.share else 1.0

    def goodness(self, value: float) -> float:
        """Return a value such that higher is better: an error's with the other sign."""
        return -value if self.lower_is_better else value


_SHARES = (
    "accuracy",
    "f1",
    "macro_f1",
    "micro_f1",
    "exact_match",
    "normalized_exact_match",
    "token_f1",
    "answer_f1",
    "question_exact_match",
    "subset_accuracy",
    "span_f1",
    "tag_accuracy",
    "roc_auc",
    "rouge_l",
    "bleu",
)

_SCALES = {
    **dict.fromkeys(_SHARES, _MetricScale()),
    **dict.fromkeys(("matthews", "pearson", "spearman"), _MetricScale(low=-1.0)),
    "rmse": _MetricScale(high=math.inf, share=False, lower_is_better=True),
}
"""The scale of each metric of the package, by its name."""

_OWN = _MetricScale(-math.inf, math.inf, share=False)
"""The scale of a metric that is not the package's, of which nothing is known but that higher is better."""


def metric_scale(name: str) -> _MetricScale:
    """Return what the numbers of a metric mean.

    Args:
        name: the metric's, or `task.metric`, as a mixture calls it.
    """
    return _SCALES.get(name.rpartition(".")[2], _OWN)


def mean_score(metrics: Mapping[str, float]) -> float:
    """Return the mean of some metrics, such that higher is better.

    It is over the shares; numbers in units of their own cannot be averaged with them. Where there is no share it is
    over all, and errors count with the other sign.

    Args:
        metrics: values by the name of the metric, one at least.
    """
    shares = {name: value for name, value in metrics.items() if metric_scale(name).share}
    found = [metric_scale(name).goodness(value) for name, value in (shares or metrics).items()]
    return sum(found) / len(found)


def shown_metric(name: str, value: float) -> str:
    """Return the value of a metric for people: a share in percent, any other number in its own unit."""
    scale = metric_scale(name)
    return f"{100 * value:.2f}" if scale.share else f"{value:.4g}"

"""What the numbers of a metric mean."""

import pytest

from hyperadapters._utils import mean_score, metric_scale, shown_metric


def test_an_error_is_no_share_and_lower_is_better_in_a_mixture_too():
    for name in ("rmse", "task.rmse"):
        scale = metric_scale(name)
        assert scale.lower_is_better
        assert not scale.share
        assert shown_metric(name, 1234.5678) == "1235"
    assert metric_scale("mrpc.f1").share
    assert shown_metric("f1", 0.5) == "50.00"


def test_a_mean_is_over_shares_or_else_of_errors_with_the_other_sign():
    assert mean_score({"pearson": 0.5, "spearman": 0.7, "rmse": 4000.0}) == pytest.approx(0.6)
    assert mean_score({"rmse": 3.0}) == -3.0
    assert mean_score({"rmse": 1.0}) > mean_score({"rmse": 2.0})


def test_a_metric_that_is_not_the_packages_is_shown_as_it_is():
    assert shown_metric("my_own", 0.25) == "0.25"
    assert mean_score({"accuracy": 0.5, "my_own": 17.0}) == 0.5

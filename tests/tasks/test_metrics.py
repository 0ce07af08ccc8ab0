"""Metrics against hand-worked cases, invalid answers included."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from hyperadapters import TASKS
from hyperadapters.tasks.metrics import (
    accuracy,
    answer_f1,
    bootstrap,
    exact_match,
    f1,
    macro_f1,
    macro_f1_of,
    matthews,
    normalized_exact_match,
    pearson,
    question_exact_match,
    spearman,
    token_f1,
)


def test_accuracy_counts_an_invalid_answer_as_wrong():
    assert accuracy([0, 1, -1, 1], [0, 1, 1, 0]) == 0.5


def test_f1_counts_an_invalid_answer_as_the_other_class():
    """Answers 1, 0, 1 and an invalid one for 1: one true positive, one false positive, two false negatives."""
    assert f1([1, 0, 1, -1], [1, 1, 0, 1]) == pytest.approx(2 * 1 / (2 * 1 + 1 + 2))


def test_an_invalid_answer_for_the_negative_class_is_a_false_positive():
    assert f1([1, -1], [1, 0]) == pytest.approx(2 / 3)


def test_f1_without_a_positive_answer_is_zero():
    assert f1([0, 0], [1, 1]) == 0.0


def test_macro_f1_is_the_mean_over_classes():
    """Class 0: precision 1, recall 1/2; class 1: precision 1/2, recall 1; class 2: nothing found."""
    assert macro_f1([0, 1, 1, -1], [0, 0, 1, 2]) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_macro_f1_counts_a_class_that_no_reference_has_as_scikit_learn_does():
    """One answer of class 2 to rows of 0 and 1: class 2 counts with an F1 of 0."""
    predictions, references = [0, 1, 2], [0, 1, 1]
    assert macro_f1(predictions, references) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert macro_f1(predictions, references) == f1_score(references, predictions, average="macro")


def test_macro_f1_over_a_tasks_classes_counts_one_that_no_row_has():
    """As CB's in the published code: over its three, whatever these rows hold; an invalid answer is none of them."""
    predictions, references = [0, 1, 1, -1], [0, 1, 1, 0]
    assert macro_f1_of(3)(predictions, references) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert macro_f1(predictions, references) == pytest.approx((2 / 3 + 1) / 2)
    assert TASKS["superglue/cb"].metrics[0](predictions, references) == macro_f1_of(3)(predictions, references)
    assert TASKS["superglue/cb"].metrics[0].__name__ == "macro_f1"
    low, high = bootstrap(macro_f1_of(3), predictions * 5, references * 5)
    assert low <= macro_f1_of(3)(predictions, references) <= high <= 2 / 3


def test_resamples_are_scored_over_the_classes_of_the_whole():
    """A class of one row that is never found: it counts in every resample, not in those that draw it alone."""
    predictions, references = [0] * 10 + [1] * 10, [0] * 10 + [1] * 9 + [2]
    low, high = bootstrap(macro_f1, predictions, references)
    assert low < macro_f1(predictions, references) < high < 0.667


def test_matthews_of_two_classes():
    """2 true positives, 1 true negative, 1 false positive, 1 false negative."""
    assert matthews([1, 1, 0, 1, 0], [1, 1, 0, 0, 1]) == pytest.approx((2 * 1 - 1) / (3 * 3 * 2 * 2) ** 0.5)


def test_matthews_takes_invalid_answers_as_a_class_of_their_own():
    assert matthews([1, 0, -1, -1], [1, 0, 1, 0]) == pytest.approx((4 * 2 - 4) / ((16 - 6) * (16 - 8)) ** 0.5)


def test_matthews_of_one_class_is_zero():
    assert matthews([1, 1], [1, 0]) == 0.0


def test_correlations_of_a_hand_worked_case():
    assert pearson([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]) == pytest.approx(0.98198, abs=1e-5)
    assert spearman([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]) == pytest.approx(1.0)


def test_an_invalid_score_counts_as_the_farthest_from_its_reference():
    assert pearson([0.0, None, 5.0], [0.0, 4.0, 5.0]) == pearson([0.0, 0.0, 5.0], [0.0, 4.0, 5.0])
    assert pearson([0.0, None, 5.0], [0.0, 1.0, 5.0]) == pearson([0.0, 5.0, 5.0], [0.0, 1.0, 5.0])


def test_a_correlation_that_is_no_number_counts_zero():
    assert pearson([2.0, 2.0], [1.0, 3.0]) == 0.0
    assert spearman([2.0, 2.0], [1.0, 3.0]) == 0.0


def test_exact_match_is_to_the_letter():
    pairs = [("-5", "5"), ("3.5", "35"), ("x > 1", "x < 1"), ("", "A"), ("C", "C++"), ("the cat", "cat"), ("US", "us")]
    assert [exact_match([answer], [reference]) for answer, reference in pairs] == [0.0] * len(pairs)
    assert exact_match([" -5 \n", "x  y"], ["-5", ("a", "x  y ")]) == 1.0


def test_text_is_compared_as_squad_does():
    assert normalized_exact_match(["The  Cat!", "dog"], ["cat", "a dog house"]) == 0.5
    assert token_f1(["the cat sat", "cat"], ["a cat ran", "a cat"]) == pytest.approx((0.5 + 1) / 2)


def test_token_f1_of_answers_without_a_word_is_zero_as_in_records_script():
    assert token_f1(["", "the", "a cat", "-"], ["cat", "the", "...", "a cat"]) == 0.0


def test_no_answer_is_right_where_there_is_none_as_in_squads_script():
    assert token_f1(["", "cat", ""], [(), (), ("cat", "dog")]) == pytest.approx(1 / 3)
    assert normalized_exact_match(["", "cat", ""], [(), (), ("cat", "dog")]) == pytest.approx(1 / 3)


def test_of_several_answers_the_best_counts():
    """An article aside, "red car" is the first answer; "blue bus" shares one word with the second."""
    references = [("the red car", "a bus"), ("the red car", "a bus")]
    assert normalized_exact_match(["red car", "blue bus"], references) == 0.5
    assert token_f1(["red car", "blue bus"], references) == pytest.approx((1 + 2 / 3) / 2)


def test_a_question_counts_if_all_its_answers_are_judged_right():
    """Question a: both right; question b: one of two; question c: an invalid answer."""
    predictions = [1, 0, 1, 1, -1]
    references = [(1, "a"), (0, "a"), (1, "b"), (0, "b"), (0, "c")]
    assert question_exact_match(predictions, references) == pytest.approx(1 / 3)


def test_the_f1_over_answers_ignores_questions():
    """2 true positives, 1 false positive, and the invalid answer to a wrong one is another."""
    predictions = [1, 0, 1, 1, -1]
    references = [(1, "a"), (0, "a"), (1, "b"), (0, "b"), (0, "c")]
    assert answer_f1(predictions, references) == pytest.approx(2 * 2 / (2 * 2 + 2 + 0))


def test_interleaved_answers_still_belong_to_their_question():
    assert question_exact_match([1, 0, 0], [(1, "a"), (0, "b"), (1, "a")]) == 0.5


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 9, 400])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_metrics_of_classes_are_those_of_scikit_learn(classes, rows):
    draw = np.random.default_rng(rows)
    for _ in range(20):
        wanted, answered = draw.integers(classes, size=rows).tolist(), draw.integers(-1, classes, size=rows).tolist()
        valid = [max(answer, 0) for answer in answered]
        assert macro_f1(valid, wanted) == pytest.approx(f1_score(wanted, valid, average="macro"))
        assert matthews(answered, wanted) == pytest.approx(matthews_corrcoef(wanted, answered), abs=1e-12)
        if classes == 2:
            assert f1(valid, wanted) == pytest.approx(f1_score(wanted, valid, zero_division=0.0))

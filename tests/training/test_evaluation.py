"""Answers and their scores."""

from dataclasses import replace

import pytest
import torch
from training_runs import Digits, fitted, toy

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    Evaluation,
    InputError,
    Training,
    attach,
    fit,
    load_backbone,
    load_data,
)
from hyperadapters.tasks.targets import Labels
from hyperadapters.training.encoder_decoder import _score_labels
from hyperadapters.training.evaluation import Scores, evaluate
from hyperadapters.training.label_strings import _label_tokens


@pytest.mark.parametrize("most", [2**27, 1])
def test_scored_labels_have_the_probability_that_the_decoder_gives_them(most, monkeypatch):
    monkeypatch.setattr("hyperadapters.training.label_strings._LOGITS", most)
    backbone, data = make_tiny(), toy()
    form = replace(data.form, target=Labels(("0", "12")))
    labels = _label_tokens([form], lambda answers: Digits()(answers).input_ids)
    assert labels.tolist() == [[[10, 1, -100], [11, 12, 1]]]
    source = {"input_ids": torch.tensor([data.splits["test"][0].source, data.splits["test"][0].source])}
    source["attention_mask"] = torch.ones_like(source["input_ids"])
    found = _score_labels(backbone, source, labels)
    for column, target in enumerate(([10, 1], [11, 12, 1])):
        total = 0.0
        for step, token in enumerate(target):
            prefix = torch.tensor([[0, *target[:step]]])
            scores = backbone(source["input_ids"][:1], decoder_input_ids=prefix).logits[0, -1].log_softmax(-1)
            total += scores[token].item()
        assert found[0, column].item() == pytest.approx(total, abs=1e-4)


def test_generation_reports_its_invalid_answers_and_scoring_has_none():
    delta = attach(make_tiny(), METHODS["houlsby"])
    generated = evaluate(delta, toy(), "test", Evaluation(decode="generate"))
    scored = evaluate(delta, toy(), "test")
    assert generated.invalid > 0.9
    assert (scored.invalid, scored.decode, generated.decode) == (0.0, "score", "generate")
    assert set(scored.answers) <= {"0", "1"}


def test_answers_come_in_the_order_of_the_rows_whatever_the_batch():
    delta, _ = fitted(Training(lr=1e-2, epochs=12, batch_size=8))
    one = evaluate(delta, toy(), "train", Evaluation(batch_size=1)).answers
    assert evaluate(delta, toy(), "train", Evaluation(batch_size=7)).answers == one
    assert len(set(one)) == 2


def test_an_unknown_split_is_named():
    with pytest.raises(InputError, match="no dev split; it has train, validation, test"):
        evaluate(attach(make_tiny(), METHODS["houlsby"]), toy(), "dev")


def test_scoring_free_text_is_refused():
    from dataclasses import replace

    from hyperadapters.tasks.targets import FreeText

    data = toy()
    data = replace(data, form=replace(data.form, target=FreeText()))
    with pytest.raises(InputError, match="decode=score needs labels"):
        evaluate(attach(make_tiny(), METHODS["houlsby"]), data, "test", Evaluation(decode="score"))


@pytest.mark.slow
def test_a_real_run_on_mrpc_beats_the_majority_class(shared):
    """MRPC (Dolan and Brockett, 2005) with the embedded T5, on the papers' split, answers generated."""
    backbone, tokenizer = load_backbone()
    data = load_data("glue/mrpc", tokenizer, shared / "glue")
    torch.manual_seed(0)
    delta = attach(backbone, METHODS["full"])
    fit(delta, data, Training(lr=3e-4, epochs=2, seed=0), quiet=True)
    found = evaluate(delta, data, "test", Evaluation(decode="generate"))
    positive = data.references["test"].count(1) / len(data.references["test"])
    assert found.invalid == 0
    assert found.metrics["accuracy"] > positive + 0.02
    assert found.metrics["f1"] > 2 * positive / (1 + positive)


def scores(exact, words, rows=10):
    metrics = {"exact_match": exact, "token_f1": words}
    return Scores(metrics, 0.0, "generate", 0.0, ["answer"] * rows, ("exact_match",))


def test_the_best_weights_are_chosen_by_the_strict_metric_and_the_others_decide_when_it_is_equal():
    best = scores(0.5, 0.1)
    assert best.mean == 0.5
    assert best.rank > scores(0.4, 1.0).rank
    assert scores(0.5, 0.2).rank > best.rank
    assert scores(0.0, 0.3).rank > scores(0.0, 0.2).rank
    assert scores(0.5001, 0.0).rank > scores(0.5, 1.0).rank  # shares of words go by less than one of ten answers


def test_the_best_weights_are_chosen_by_the_mean_where_no_metric_is_named():
    found = Scores({"accuracy": 0.5, "f1": 0.7}, 0.0, "score", 0.0, ["0", "1"])
    assert found.rank == found.mean == pytest.approx(0.6)

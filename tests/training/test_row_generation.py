"""Every row of a batch is generated with settings of its own."""

import pytest
import torch
from saved_adapters import SENTENCES

from hyperadapters import load_backbone
from hyperadapters.tasks.registry import task_named
from hyperadapters.training.config import Evaluation
from hyperadapters.training.data import Text, encode
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.row_generation import RowGeneration, _nucleus, _RowSettings

TEXT = Text(source_length=64, target_length=16)


@pytest.fixture(scope="module")
def answer():
    """Answers sentences as the embedded T5 does, each with settings of its own."""
    backbone, tokenizer = load_backbone()
    form, encoding = task_named("demo/sentiment").form, ENCODINGS["encoder-decoder"]

    def run(texts, settings):
        examples = [form.example({"sentence": text}, prefix=False) for text in texts]
        rows, _ = encode(examples, form, tokenizer, TEXT, "encoder-decoder")
        decoding = encoding.decoding(form, 16, Evaluation(decode="generate"))
        with torch.no_grad():
            return encoding.answer(backbone, rows, [form] * len(rows), tokenizer, decoding, settings)

    return run


def test_without_settings_the_answers_are_the_likeliest(answer):
    rows = [RowGeneration(16) for _ in SENTENCES]
    assert answer(SENTENCES, rows) == answer(SENTENCES, ())
    assert {row.finished for row in rows} <= {"stop", "length"}


def test_a_row_has_no_more_tokens_than_it_may(answer):
    rows = [RowGeneration(most, temperature=2.0, seed=most) for most in (1, 3, 7, 12)]
    answer(SENTENCES, rows)
    for row in rows:
        assert len(row.tokens) <= row.most
        assert row.finished == ("length" if len(row.tokens) == row.most else "stop")
    assert len(rows[0].tokens) == 1


def test_rows_that_are_drawn_do_not_change_those_that_are_not(answer):
    greedy = answer(SENTENCES, [RowGeneration(16) for _ in SENTENCES])
    mixed = [RowGeneration(16, temperature=2.0 * (i % 2), seed=i) for i in range(4)]
    found = answer(SENTENCES, mixed)
    assert [found[0], found[2]] == [greedy[0], greedy[2]]
    alone = RowGeneration(16, temperature=2.0, seed=3)
    assert answer(SENTENCES[3:], [alone]) == [found[3]]
    assert alone.tokens == mixed[3].tokens


def test_a_row_ends_where_it_is_told_and_where_nobody_waits(answer):
    seen = []
    told = RowGeneration(64, temperature=2.0, seed=1, ends_at=lambda tokens: len(tokens) == 3, on_tokens=seen.append)
    left = RowGeneration(64, temperature=2.0, seed=8, left=lambda: len(left.tokens) >= 2)
    answer(SENTENCES[:2], [told, left])
    assert (told.finished, len(told.tokens)) == ("stop", 3)
    assert (left.finished, len(left.tokens)) == ("left", 2)
    assert len(seen) == 3


def test_draws_follow_the_softmax_of_the_logits_divided_by_the_temperature():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(4000, -1)
    rows = [RowGeneration(1, temperature=0.7, top_p=1.0, seed=i) for i in range(4000)]
    found = _RowSettings(rows, [])._sampled(torch.zeros(4000, 1), logits).argmax(-1)
    shares = torch.bincount(found, minlength=4) / 4000
    assert torch.allclose(shares, (logits[0] / 0.7).softmax(-1), atol=0.03)


def test_settings_near_zero_take_the_likeliest_token(answer):
    greedy = answer(SENTENCES, [RowGeneration(16) for _ in SENTENCES])
    assert answer(SENTENCES, [RowGeneration(16, temperature=1e-38) for _ in SENTENCES]) == greedy
    assert answer(SENTENCES, [RowGeneration(16, temperature=0.01, top_p=1e-46) for _ in SENTENCES]) == greedy


def test_a_nucleus_is_the_fewest_likeliest_tokens_that_have_the_share():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    for share, kept in {0.4: {1}, 0.5: {1}, 0.6: {1, 3}, 0.76: {1, 3, 2}, 1.0: {0, 1, 2, 3}}.items():
        assert {i for i, value in enumerate(_nucleus(logits, share).tolist()) if value > -10} == kept

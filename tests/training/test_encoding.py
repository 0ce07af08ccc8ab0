"""The three kinds of backbone on the same tasks: losses, label scores, answers, commands."""

import pytest
import torch
from families import DECODER, FAMILIES
from torch.nn.utils.rnn import pad_sequence
from toy_tasks import BINARY, Digits, toy
from transformers import BertTokenizer

from hyperadapters import METHODS, TASKS, Training, attach, fit, load_data, method_named
from hyperadapters.tasks.targets import Labels, _Score
from hyperadapters.tasks.task_format import Example, TaskFormat
from hyperadapters.training.decoder import _score_continuations
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encoder import _encoder_batch
from hyperadapters.training.encoding import Decoding
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.evaluation import evaluate
from hyperadapters.training.tensors import _IGNORED, _pad_sequences, _source_batch

NUMBER = TaskFormat("similarity", ("x",), _Score(0.0, 5.0, 0.2))
ROWS = [Encoded([5, 6, 7, 8, 9], [11, 1]), Encoded([5, 9], [12, 13, 1]), Encoded([4, 8, 3], [10, 1])]
SMALL = {"bottleneck": 8}
DECODERS = [name for name, family in FAMILIES.items() if family.loader == DECODER]


def log_probability(backbone, source, target):
    """Of a target after a source: one row, no padding, no cache."""
    logits = backbone(torch.tensor([[*source, *target]])).logits[0].log_softmax(-1)
    return sum(logits[len(source) + step - 1, token] for step, token in enumerate(target))


@pytest.mark.parametrize("name", DECODERS)
def test_scoring_labels_makes_no_logits_of_the_source(name):
    """Of a vocabulary of 150,000, those of all tokens would be larger than the model."""
    backbone, lengths = FAMILIES[name].make(), []
    backbone.get_output_embeddings().register_forward_hook(lambda module, args, output: lengths.append(output.shape[1]))
    _score_continuations(backbone, _source_batch([[5, 6, 7, 8], [5, 9]], 0, "left"), torch.tensor([[[11, 1], [12, 1]]]))
    assert lengths == [1, 1]


@pytest.mark.parametrize("most", [2**27, 3 * 3 * 96 * 2, 1])
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoders_labels_have_the_probability_of_a_plain_forward_pass(name, most, monkeypatch):
    """However many of them are computed together."""
    monkeypatch.setattr("hyperadapters.training.label_strings._LOGITS", most)
    backbone = FAMILIES[name].make()
    delta = attach(backbone, method_named("houlsby", SMALL))
    made, make = [], delta.parts["adapters"].generate
    delta.parts["adapters"].generate = lambda *rows: made.append(1) or make(*rows)
    labels = [[10, 1], [11, 12, 1], [13, 1]]
    source = _source_batch([row.source for row in ROWS], 0, side="left")
    with torch.no_grad():
        found = _score_continuations(backbone, source, _pad_sequences(labels, _IGNORED)[None])
        assert len(made) == 1
        expected = [[log_probability(backbone, row.source, label) for label in labels] for row in ROWS]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_learns_the_target_alone(name):
    backbone = FAMILIES[name].make()
    with torch.no_grad():
        found = ENCODINGS["decoder"].losses(backbone, backbone, ROWS, 0)
        expected = [-log_probability(backbone, row.source, row.target) for row in ROWS]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_left_padding_does_not_change_what_is_generated(name):
    backbone, kind = FAMILIES[name].make(), ENCODINGS["decoder"]
    together = kind.answer(backbone, ROWS, [BINARY] * len(ROWS), Digits(), Decoding("generate", 4))
    alone = [kind.answer(backbone, [row], [BINARY], Digits(), Decoding("generate", 4))[0] for row in ROWS]
    assert together == alone


def test_a_decoders_rows_are_a_source_and_its_ended_continuation():
    rows = [Example("123", "4"), Example("56789", "10")]
    found, cut = ENCODINGS["decoder"].encode(rows, BINARY, Digits(), 4, 2)
    assert found == [Encoded([11, 12, 13], [14, 1]), Encoded([15, 16, 17, 18], [11, 1])]
    assert (cut.sources, cut.targets) == (1, 1)
    kind = ENCODINGS["decoder"]
    assert [kind.length(row) for row in found] == [5, 6]
    assert kind.padded_tokens(found) == 12


def test_an_encoders_targets_are_classes_or_numbers():
    kind = ENCODINGS["encoder"]
    assert (kind.outputs(BINARY), kind.outputs(NUMBER)) == (2, 1)
    assert kind.encode([BINARY.example({"x": "12"}, "1", prefix=False)], BINARY, Digits(), 8, 2)[0] == [
        Encoded([11, 12, 1], [1])
    ]
    assert kind.encode([NUMBER.example({"x": "12"}, "3.6", prefix=False)], NUMBER, Digits(), 8, 2)[0] == [
        Encoded([11, 12, 1], [3.6])
    ]


PAIR = TaskFormat("pair", ("one", "two"), Labels(("0", "1")))
WORDS = "[PAD] [CLS] [SEP] [UNK] a b c d e f g".split()


def bert_tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})


def encoded(form, values, limit=64, prefix=False):
    rows = [form.example(values, "1", prefix=prefix)]
    return ENCODINGS["encoder"].encode(rows, form, bert_tokenizer(), limit, 2)


def test_an_encoder_reads_a_pair_bare_with_separators_and_segments():
    (row,), cut = encoded(PAIR, {"one": "a b", "two": "c d e"})
    assert [WORDS[token] for token in row.source] == "[CLS] a b [SEP] c d e [SEP]".split()
    assert list(row.segments) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert cut.sources == 0
    (row,), cut = encoded(PAIR, {"one": "a b", "two": "c d e f g"}, limit=7)  # the longer one loses its end
    assert [WORDS[token] for token in row.source] == "[CLS] a b [SEP] c d [SEP]".split()
    assert cut.sources == 1


def test_of_three_columns_an_encoder_reads_the_later_ones_by_name():
    form = TaskFormat("wic", ("one", "two", "word"), Labels(("0", "1")))
    values = {"one": "a b", "two": "c", "word": "d"}
    assert form.texts(values) == ("a b", "two: c word: d")
    assert form.texts(values, prefix=True) == ("wic a b", "two: c word: d")
    assert BINARY.texts({"x": " a "}) == ("a",)


def test_an_encoder_with_segments_computes_with_them_and_one_without_does_not():
    (row,), _ = encoded(PAIR, {"one": "a b", "two": "c d e"})
    for name in ("bert", "distilbert"):
        backbone = FAMILIES[name].make()
        inputs = {"input_ids": torch.tensor([row.source])}
        if name == "bert":
            inputs["token_type_ids"] = torch.tensor([row.segments])
        expected = backbone(**inputs).logits
        found = backbone(**_encoder_batch([row, row._replace(source=[1, 4], segments=[0, 0])], 0, backbone)).logits
        torch.testing.assert_close(found[:1], expected)


def test_an_encoders_losses_are_cross_entropy_and_squared_error():
    kind, sources = ENCODINGS["encoder"], [row.source for row in ROWS]
    backbone = FAMILIES["bert"].make()
    for outputs, targets in ((3, [2, 0, 1]), (1, [1.5, 0.0, 4.2])):
        delta = attach(backbone, method_named("houlsby", SMALL), outputs=outputs)
        rows = [Encoded(source, [target]) for source, target in zip(sources, targets, strict=True)]
        logits = torch.cat([backbone(torch.tensor([source])).logits for source in sources])
        if outputs == 1:
            expected = sum((logits[i, 0] - target) ** 2 for i, target in enumerate(targets))
        else:
            expected = -sum(logits[i].log_softmax(-1)[target] for i, target in enumerate(targets))
        torch.testing.assert_close(kind.losses(backbone, backbone, rows, 0).sum(), expected, rtol=1e-4, atol=1e-5)
        assert kind.losses(backbone, backbone, [Encoded(sources[0], [])], 0).sum() == 0
        delta.detach()


@pytest.mark.parametrize("name", ["t5", "llama", "bert"])
def test_smoothed_labels_share_their_probability_among_all(name):
    """(1 − ε)·−log p(y) + ε·mean of −log p, as in HyperFormer's code, by hand; numbers have no labels."""
    kind = ENCODINGS[{"t5": "encoder-decoder", "llama": "decoder", "bert": "encoder"}[name]]
    backbone, smoothing = FAMILIES[name].make(), 0.1
    if name == "bert":
        attach(backbone, method_named("houlsby", SMALL), outputs=3)
    row = Encoded([5, 6, 7], [2] if name == "bert" else [8, 9, 1])
    source = torch.tensor([row.source])
    if name == "t5":
        logits = backbone(source, decoder_input_ids=torch.tensor([[0, 8, 9]])).logits[0]
    elif name == "llama":
        logits = backbone(torch.tensor([[*row.source, *row.target]])).logits[0, 2:-1]
    else:
        logits = backbone(source).logits
    log_p = logits.log_softmax(-1)
    nll = torch.stack([-log_p[place, target] for place, target in enumerate(row.target)])
    expected = ((1 - smoothing) * nll + smoothing * -log_p.mean(-1)).sum()
    found = kind.losses(backbone, backbone, [row], 0, smoothing).sum()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_learns_and_is_measured_on_scores_as_they_are(tmp_path):
    """Text-to-text rounds them to 0.2, for training and for the metrics, as in the published code."""
    (tmp_path / "STS-B").mkdir()
    header = "index genre filename year old_index source1 source2 sentence1 sentence2 score".split()
    rows = [[str(i), *["-"] * 6, "a b", "c d", score] for i, score in enumerate(["2.53", "0.75", "5.0"] * 2)]
    for name in ("train", "dev"):
        text = "\n".join("\t".join(row) for row in [header, *rows])
        (tmp_path / "STS-B" / f"{name}.tsv").write_text(text + "\n")
    exact = load_data("glue/stsb", bert_tokenizer(), tmp_path, backbone=FAMILIES["bert"].make())
    assert [row.target for row in exact.splits["train"][:3]] == [[2.53], [0.75], [5.0]]
    assert sorted(exact.references["validation"] + exact.references["test"]) == [0.75, 0.75, 2.53, 2.53, 5.0, 5.0]
    rounded = TASKS["glue/stsb"].examples(tmp_path)["train"]
    assert [(row.target, row.reference) for row in rounded[:3]] == [("2.6", 2.6), ("0.8", 0.8), ("5.0", 5.0)]


def test_a_regression_answers_numbers_inside_the_tasks_limits():
    backbone = FAMILIES["bert"].make()
    delta = attach(backbone, method_named("houlsby", SMALL), outputs=1)
    kind = ENCODINGS["encoder"]
    for bias, expected in ((100.0, "5"), (-100.0, "0")):
        with torch.no_grad():
            delta.trained()["head.weight_1"].fill_(bias)
        assert kind.answer(backbone, ROWS, [NUMBER] * 3, Digits(), Decoding("score")) == [expected] * 3


@pytest.mark.parametrize("name", ["distilbert", "modernbert", "llama", "qwen3"])
@pytest.mark.parametrize("method", ["houlsby", "full"])
def test_every_kind_learns_with_the_same_loop(name, method):
    backbone = FAMILIES[name].make()
    kind = "decoder" if FAMILIES[name].loader == DECODER else "encoder"
    data = toy(kind)
    delta = attach(backbone, METHODS[method], outputs=ENCODINGS[kind].outputs(BINARY))
    fitted = fit(delta, data, Training(lr=5e-3, epochs=12, batch_size=8), quiet=True)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] - 0.02
    if method == "full":  # a network that was never trained leaves little to its adapters
        assert evaluate(delta, data, "validation").metrics["accuracy"] >= 0.9


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_padded_as_by_torch(side):
    rows = [[5, 6, 7, 8], [9], [], [4, 3]]
    found = _source_batch(rows, 2, side)
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = pad_sequence(tensors, batch_first=True, padding_value=2, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True, padding_side=side)
    assert torch.equal(found["input_ids"], ids)
    assert torch.equal(found["attention_mask"], mask)
    assert found["input_ids"].dtype == found["attention_mask"].dtype == torch.long

"""What a backbone's tokenizer makes of answers, checked before training."""

import json
from dataclasses import replace

import pytest
from families import FAMILIES
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from toy_tasks import toy
from training_runs import make_tiny
from transformers import PreTrainedTokenizerFast

from hyperadapters import METHODS, InputError, Text, Training, attach, fit, load_backbone, load_data, own_task


@pytest.fixture(scope="module")
def tokenizer():
    return load_backbone()[1]


def data(folder, answers, tokenizer, *, kind="label", **options):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps({"t": f"line {i}", "y": answer}) + "\n" for i, answer in enumerate(answers)))
    task = own_task({"train": file, "validation": file}, ("t",), "y", answers=kind, name="rows")
    return load_data(task, tokenizer, **options)


@pytest.mark.parametrize("labels", [("👍", "👎"), ("正面", "负面"), ("ok 👍", "ok 👎")])
def test_labels_that_are_the_same_tokens_are_refused_by_name(labels, tokenizer, tmp_path):
    with pytest.raises(InputError, match=rf"cannot tell labels apart.*\n  '{labels[0]}', '{labels[1]}'.*<unk>"):
        data(tmp_path, labels, tokenizer)


def lower_casing():
    """A tokenizer that makes small letters of capitals, as BERT's uncased one does."""
    vocabulary = {word: i for i, word in enumerate("<pad> <s> <unk> yes no line".split())}
    words = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": "<pad>", "eos_token": "<s>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **named)


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_labels_that_the_tokenizer_lowers_to_one_are_refused(family, tmp_path):
    with pytest.raises(InputError, match="'YES', 'yes'"):
        data(tmp_path, ("YES", "no", "yes"), lower_casing(), backbone=FAMILIES[family].make())


def test_an_encoder_tells_every_two_labels_apart(tmp_path):
    found = data(tmp_path, ("YES", "no", "yes", "👍", "👎"), lower_casing(), backbone=FAMILIES["bert"].make())
    assert [row.target for row in found.splits["train"]] == [[0], [1], [2], [3], [4]]


def test_labels_that_would_be_cut_are_refused_with_the_length_they_need(tokenizer, tmp_path):
    labels = ["a very good film with a happy end", "a very good film with a sad end"]
    needed = max(len(tokenizer(label).input_ids) for label in labels)
    with pytest.raises(InputError, match=rf"2 label\(s\) are longer .* Use text.target_length={needed}"):
        data(tmp_path, labels, tokenizer, text=Text(target_length=4))
    assert data(tmp_path, labels, tokenizer, text=Text(target_length=needed)).truncated_targets["train"] == 0


@pytest.mark.parametrize("label", ["</s>", "<pad>", "a <extra_id_0> b"])
def test_a_label_that_holds_a_special_token_is_refused(label, tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"holds .*<?/?\w+>, which the tokenizer takes as a mark of its own"):
        data(tmp_path, (label, "good"), tokenizer)


def test_targets_that_the_tokenizer_cannot_write_are_counted(tokenizer, tmp_path):
    answers = ["good film", "bad 👍 film", "two\nlines", "x </s> y", "-5"]
    found = data(tmp_path, answers, tokenizer, kind="text")
    assert found.unwritable_targets == {"train": 3, "validation": 3}
    assert data(tmp_path, ("good 👍", "bad"), tokenizer).unwritable_targets == {"train": 1, "validation": 1}
    assert data(tmp_path, ("good", "bad"), tokenizer).unwritable_targets == {"train": 0, "validation": 0}


def test_training_says_how_many_targets_cannot_be_written(capsys):
    rows = replace(toy("encoder-decoder"), unwritable_targets={"train": 7, "validation": 0})
    fit(attach(make_tiny(), METHODS["houlsby"]), rows, Training(lr=1e-3, steps=1))
    words = " ".join(capsys.readouterr().err.split())
    assert "cannot write targets as they are, unknown characters or white space are lost: 7 of 48 in train." in words

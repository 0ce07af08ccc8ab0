"""Tags of words on encoders, from the command line."""

import json
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from command_line import one_json, refuses, works
from families import FAMILIES
from tiny_encoders import own_files, rows_in, tiny_encoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import hyperadapters as ha
from hyperadapters import InputError, Text, load_backbone, load_data, own_task
from hyperadapters._utils import read_json
from hyperadapters.training.encodings import ENCODINGS

NAMES, PLACES, WORDS = ["Henrietta", "Bo"], ["Scandinavia", "Rome"], "the dog ran to a house".split()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    draw, rows = random.Random(0), []
    for _ in range(64):
        words = draw.choices([*NAMES, *PLACES, *WORDS], k=draw.randrange(2, 7))
        tags = ["B-PER" if word in NAMES else "B-LOC" if word in PLACES else "O" for word in words]
        rows.append({"tokens": words, "ner": tags})
    return rows_in(tmp_path_factory.mktemp("ner") / "ner.jsonl", rows)


def data_of(sentences, backbone, tokenizer, **text):
    files = {"train": sentences, "validation": sentences}
    task = own_task(files, ("tokens",), "ner", answers="tags", name="ner")
    return load_data(task, tokenizer, text=Text(**text), backbone=backbone)


def test_an_encoder_learns_tags_and_gives_one_for_each_word(encoder, sentences, tmp_path):
    words = own_files(sentences, text="tokens", tags="ner", backbone=encoder, output=tmp_path / "out")
    result = one_json(works("train", *words, "--method", "houlsby", "--lr", "1e-2", "--steps", "60", "--json"))
    found = result["metrics"]["validation"]
    assert set(found) == {"span_f1", "tag_accuracy"}
    assert found["span_f1"] > 0.8
    config = read_json(tmp_path / "out" / "adapter_config.json")
    assert (config["backbone"]["head"], config["backbone"]["outputs"]) == ("token", 3)
    again = one_json(works("evaluate", tmp_path / "out", "--split", "validation", "--json"))
    assert again["metrics"] == found
    rows = [json.loads(line) for line in works("predict", tmp_path / "out", "--file", sentences).stdout.splitlines()]
    assert all(len(row["prediction"]) == len(row["tokens"]) for row in rows)
    right = sum(a == b for row in rows for a, b in zip(row["prediction"], row["ner"], strict=True))
    assert right / sum(len(row["ner"]) for row in rows) == pytest.approx(found["tag_accuracy"])
    answered = one_json(works("predict", tmp_path / "out", "the dog", "--json"))["predictions"]
    assert len(answered[0]) == 2


def test_the_first_token_of_each_word_carries_its_tag_and_the_loss(encoder, sentences):
    backbone, tokenizer = load_backbone(str(encoder), head="token")
    data = data_of(sentences, backbone, tokenizer)
    delta = ha.attach(backbone, "houlsby", outputs=3, seed=0)
    rows = data.splits["train"][:4]
    for row, wanted in zip(rows, data.references["train"], strict=False):
        whole = [token for word in sentences_of(sentences)[rows.index(row)] for token in tokens_of(word, tokenizer)]
        assert row.source[: len(whole)] == whole
        assert [data.form.target.texts[number] for number in row.target] == list(wanted)
    losses = ENCODINGS["encoder"].losses(backbone, backbone, rows, tokenizer.pad_token_id)
    for row, loss in zip(rows, losses, strict=True):
        logits = delta.backbone(input_ids=torch.tensor([row.source])).logits[0]
        expected = F.cross_entropy(logits[list(row.places)], torch.tensor(row.target), reduction="sum")
        torch.testing.assert_close(loss, expected)
    nothing = [rows[0]._replace(target=[])]
    assert ENCODINGS["encoder"].losses(backbone, backbone, nothing, 0).tolist() == [0.0]


def sentences_of(path):
    return [json.loads(line)["tokens"] for line in path.read_text().splitlines()]


def tokens_of(word, tokenizer):
    return tokenizer([word], is_split_into_words=True, add_special_tokens=False).input_ids


def test_words_beyond_the_limit_are_counted_and_have_the_tag_of_no_span(encoder, sentences):
    backbone, tokenizer = load_backbone(str(encoder), head="token")
    data = data_of(sentences, backbone, tokenizer, source_length=6)
    delta = ha.attach(backbone, "houlsby", outputs=3, seed=0)
    assert 0 < data.truncated["train"] < 64
    assert max(len(row.source) for row in data.splits["train"]) == 6
    cut = [i for i, row in enumerate(data.splits["train"]) if -1 in row.places]
    answers = [text.split() for text in ha.evaluate(delta, data, "train").answers]
    assert all(len(answer) == len(wanted) for answer, wanted in zip(answers, data.references["train"], strict=True))
    assert all(answers[i][-1] == "O" for i in cut)


def test_a_head_of_sequences_is_no_head_of_tokens(encoder, sentences):
    backbone, tokenizer = load_backbone(str(encoder))
    delta = ha.attach(backbone, "houlsby", outputs=3, seed=0)
    with pytest.raises(InputError, match=r"reads each token, this one's reads each sequence: load_backbone\(.*'token'"):
        ha.evaluate(delta, data_of(sentences, backbone, tokenizer), "train")


def test_other_backbones_refuse_tags_before_anything_is_written(sentences, tmp_path):
    message = refuses("train", *own_files(sentences, text="tokens", tags="ner", output=tmp_path / "out"))
    assert "a tag for each word, which only an encoder gives" in message
    assert "use --target" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("trimmed", [True, False])
def test_words_are_read_as_running_text_by_byte_level_tokenizers_too(trimmed, tmp_path):
    """To RoBERTa and ModernBERT a word after a space is another token than the same word alone."""
    rows = [{"tokens": "Bo lives in New\u00a0York \u2764\ufe0f now".split(" "), "tags": list("BOOBOO")}] * 3
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.post_processor = processors.ByteLevel(trim_offsets=trimmed)
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>"])
    inner.train_from_iterator([" ".join(row["tokens"]) for row in rows] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>")
    path = rows_in(tmp_path / "rows.jsonl", rows)
    task = own_task({"train": path, "validation": path}, ("tokens",), "tags", answers="tags", name="ner")
    backbone = FAMILIES["bert"].make(vocab_size=len(tokenizer))
    row = load_data(task, tokenizer, backbone=backbone).splits["train"][0]
    text = " ".join(rows[0]["tokens"])
    found = tokenizer(text, return_offsets_mapping=True)
    assert row.source == found.input_ids
    begins = [text.index(word) for word in rows[0]["tokens"]]
    stands = [found.offset_mapping[place] for place in row.places]
    assert all(start <= begin < end for begin, (start, end) in zip(begins, stands, strict=True))
    assert len({*row.places}) == 6


def test_sentences_without_words_are_answered_alone_and_between_others(encoder, sentences, tmp_path):
    words = own_files(sentences, text="tokens", tags="ner", backbone=encoder, output=tmp_path / "out")
    works("train", *words, "--steps", "2")
    rows = rows_in(tmp_path / "new.jsonl", [{"tokens": ["dog"] * 90}, {"tokens": []}, {"tokens": ["the", "dog"]}])
    found = [json.loads(line) for line in works("predict", tmp_path / "out", "--file", rows).stdout.splitlines()]
    assert [len(row["prediction"]) for row in found] == [90, 0, 2]
    assert one_json(works("predict", tmp_path / "out", "", "--json"))["predictions"] == [[]]


def test_a_batch_in_which_no_word_has_a_token_teaches_nothing(encoder, tmp_path):
    rows = [{"tokens": ["\u200b"], "tags": ["O"]}, {"tokens": ["dog"], "tags": ["B-X"]}]
    path = rows_in(tmp_path / "rows.jsonl", rows)
    backbone, tokenizer = load_backbone(str(encoder), head="token")
    task = own_task({"train": path, "validation": path}, ("tokens",), "tags", answers="tags", name="ner")
    delta = ha.attach(backbone, "houlsby", outputs=2, seed=0)
    data = load_data(task, tokenizer, backbone=backbone)
    data = replace(data, splits={**data.splits, "train": [data.splits["train"][0]._replace(places=[-1], target=[])]})
    before = {name: tensor.clone() for name, tensor in delta.trained().items()}
    ha.fit(delta, data, ha.Training(lr=1e-2, steps=2, batch_size=1, weight_decay=0.0), quiet=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in delta.trained().items())


def test_rows_without_words_are_left_out_where_bad_rows_are(sentences, tmp_path):
    rows = [json.loads(line) for line in sentences.read_text().splitlines()] + [{"tokens": [], "ner": []}]
    path, how = rows_in(tmp_path / "rows.jsonl", rows), ha.Reading(skip_bad_rows=True)
    files = {"train": path, "validation": path}
    task = own_task(files, ("tokens",), "ner", answers="tags", name="ner", reading=how)
    assert len(task.examples(None)["train"]) == 64
    with pytest.raises(InputError, match=r"rows.jsonl:65: 0 word\(s\) and 0 tag\(s\)"):
        own_task(files, ("tokens",), "ner", answers="tags", name="ner").examples(None)


def test_tags_that_look_alike_are_refused(tmp_path):
    path = rows_in(tmp_path / "rows.jsonl", [{"tokens": ["a", "b", "c"], "tags": ["O", "B-P", "B-P\u200b"]}])
    with pytest.raises(InputError, match="differ in white space or in the way that they are written"):
        own_task({"train": path, "validation": path}, ("tokens",), "tags", answers="tags", name="ner")


def test_tags_and_parts_of_a_text_are_no_mixture(encoder, sentences, tmp_path):
    quiz = rows_in(tmp_path / "quiz.jsonl", [{"question": "who?", "context": "Bo ran", "answers": "Bo"}] * 4)
    backbone, tokenizer = load_backbone(str(encoder), head="token")
    files = {"train": quiz, "validation": quiz}
    task = own_task(files, ("question", "context"), "answers", answers="span", name="quiz")
    spans = load_data(task, tokenizer, backbone=backbone)
    with pytest.raises(InputError, match=r"have a part of the text, a tag for each word: train them apart"):
        ha.Mixture((spans, data_of(sentences, backbone, tokenizer)))

"""Tags of words on encoders, from the command line."""

import json
import random

import pytest
import torch
import torch.nn.functional as F
from command_line import one_json, refuses, works
from tiny_encoders import own_files, rows_in, tiny_encoder

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

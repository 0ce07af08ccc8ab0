"""Several labels a row on every kind of backbone, from the command line."""

import json
import random

import pytest
import torch
import torch.nn.functional as F
from command_line import one_json, refuses, works
from families import FAMILIES
from tiny_encoders import own_files, rows_in, tiny_encoder

import hyperadapters as ha
from hyperadapters._utils import read_json
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS

TOPICS = {"arts": "picture", "law": "court", "sport": "race"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    """Texts of one word for each of their topics, in any order; some have none."""
    draw, rows = random.Random(0), []
    for _ in range(96):
        topics = draw.sample(sorted(TOPICS), draw.randrange(4))
        words = [TOPICS[topic] for topic in topics] + ["the"] * (4 - len(topics))
        rows.append({"text": " ".join(words), "topics": topics})
    return rows_in(tmp_path_factory.mktemp("news") / "news.jsonl", rows)


def test_an_encoder_learns_labels_that_occur_together(encoder, news, tmp_path):
    words = own_files(news, text="text", label="topics", backbone=encoder, output=tmp_path / "out")
    result = one_json(works("train", *words, "--method", "houlsby", "--lr", "1e-2", "--steps", "160", "--json"))
    found = result["metrics"]["validation"]
    assert set(found) == {"micro_f1", "macro_f1", "subset_accuracy"}
    assert found["micro_f1"] > 0.85
    config = read_json(tmp_path / "out" / "adapter_config.json")
    assert config["task"]["target"] == {"type": "label_set", "texts": ["arts", "law", "sport"]}
    assert config["backbone"]["outputs"] == 3
    again = one_json(works("evaluate", tmp_path / "out", "--split", "validation", "--json"))
    assert again["metrics"] == found
    rows = [json.loads(line) for line in works("predict", tmp_path / "out", "--file", news).stdout.splitlines()]
    right = [row["prediction"] == sorted(row["topics"]) for row in rows]
    assert sum(right) / len(right) == pytest.approx(found["subset_accuracy"])
    (answer,) = one_json(works("predict", tmp_path / "out", rows[0]["text"], "--json"))["predictions"]
    assert answer == rows[0]["prediction"]
    assert works("predict", tmp_path / "out", rows[0]["text"]).stdout.strip() == json.dumps(answer)
    check_probabilities(tmp_path / "out", news, rows)


def check_probabilities(adapter, news, rows):
    """Each label has its own probability, and those of 1/2 or more are the answer."""
    scored = [json.loads(line) for line in works("predict", adapter, "--file", news, "--scores").stdout.splitlines()]
    assert [row["prediction"] for row in scored] == [row["prediction"] for row in rows]
    for row in scored:
        assert sorted(label for label, share in row["scores"].items() if share >= 0.5) == row["prediction"]
        assert list(row["scores"].values()) == sorted(row["scores"].values(), reverse=True)
    predictor = ha.load_predictor(adapter)
    (found,) = predictor.probabilities([{"text": rows[0]["text"]}])
    batch = predictor.tokenizer(
        *predictor.form.example({"text": rows[0]["text"]}, prefix=False).texts, return_tensors="pt"
    )
    logits = predictor.delta.backbone.eval()(**batch).logits[0]
    assert found == pytest.approx(dict(zip(TOPICS, logits.sigmoid().tolist(), strict=True)), abs=1e-4)
    top = one_json(works("predict", adapter, rows[0]["text"], "--top", "1", "--json"))
    assert top["predictions"] == [rows[0]["prediction"]]
    assert [len(scores) for scores in top["scores"]] == [1]


def test_the_loss_is_the_binary_cross_entropy_over_all_labels():
    backbone = FAMILIES["bert"].make()
    delta = ha.attach(backbone, "houlsby", outputs=3, seed=0)
    rows = [Encoded([5, 6, 7], [1.0, 0.0, 1.0]), Encoded([8, 9, 10], [0.0, 0.0, 0.0]), Encoded([8, 9, 10], [2])]
    found = ENCODINGS["encoder"].losses(backbone, backbone, rows, 0)
    logits = delta.backbone(input_ids=torch.tensor([row.source for row in rows])).logits
    wanted = torch.tensor([row.target for row in rows[:2]])
    expected = F.binary_cross_entropy_with_logits(logits[:2], wanted, reduction="none").sum(-1)
    torch.testing.assert_close(found[:2], expected)
    torch.testing.assert_close(found[2], F.cross_entropy(logits[2], torch.tensor(2)))


def test_other_backbones_write_labels_as_text(tmp_path):
    table = tmp_path / "news.csv"
    table.write_text("text,topics\n" + "a race,sport;arts\na court,\n" * 8)
    (tmp_path / "labels.txt").write_text("sport\narts\nlaw\n")
    words = own_files(table, text="text", label="topics", separator=";", labels=tmp_path / "labels.txt")
    result = one_json(works("train", *words, "--output", tmp_path / "out", "--steps", "2", "--json"))
    assert result["decode"] == "generate"
    task = read_json(tmp_path / "out" / "experiment.json")["task"]
    assert (task["answers"], task["separator"], task["classes"]) == ("labels", ";", ["sport", "arts", "law"])
    (tmp_path / "labels.txt").unlink()  # the run knows its classes
    assert one_json(works("evaluate", tmp_path / "out", "--split", "validation", "--json"))["rows"] == 16
    refused = refuses("predict", tmp_path / "out", "x", "--scores")
    assert "several labels a row, which this backbone generates as text: leave" in refused


def test_options_that_do_not_go_together_are_refused(news, tmp_path):
    def message(**options):
        return refuses("train", *own_files(news, text="text", output=tmp_path / "out", **options))

    assert "--separator ; goes with --label" in message(target="topics", separator=";")
    assert "--labels x goes with --label" in message(target="topics", labels="x")
    assert "cannot be read" in message(label="topics", labels=tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("\n")
    assert "is empty: name every class" in message(label="topics", labels=tmp_path / "empty.txt")
    assert "class_weights=balanced weights the classes" in message(label="topics", class_weights="balanced")
    assert not (tmp_path / "out").exists()

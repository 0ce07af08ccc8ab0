"""Numbers on every kind of backbone, from the command line."""

import json
import random

import pytest
from command_line import one_json, refuses, works
from tiny_encoders import own_files, rows_in, tiny_encoder

WORDS = "one two three four five".split()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """Houses whose price grows with how often they are called large."""
    draw = random.Random(0)
    rows = [{"house": " ".join(["large"] * n + ["small"] * (6 - n)), "n": n} for n in draw.choices(range(7), k=120)]
    rows = [{**row, "price": 150_000 + 40_000 * row.pop("n")} for row in rows]
    return rows_in(tmp_path_factory.mktemp("prices") / "houses.jsonl", rows)


def test_an_encoder_learns_numbers_whatever_their_scale(encoder, prices, tmp_path):
    words = own_files(prices, text="house", score="price", backbone=encoder, output=tmp_path / "out")
    result = one_json(works("train", *words, "--method", "houlsby", "--lr", "1e-2", "--steps", "100", "--json"))
    found = result["metrics"]["validation"]
    assert set(found) == {"pearson", "spearman", "rmse"}
    assert found["pearson"] > 0.9
    assert 0 < found["rmse"] < 60_000
    assert result["averages"]["validation"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)
    low, high = result["intervals"]["rmse"]
    assert low <= found["rmse"] <= high
    again = works("evaluate", tmp_path / "out", "--split", "validation")
    assert f"{found['rmse']:.4g}" in again.stdout
    answers = one_json(works("predict", tmp_path / "out", "large large large large large large", "--json"))
    assert 300_000 < float(answers["predictions"][0]) < 480_000
    assert f"rmse {found['rmse']:.4g}" in (tmp_path / "out" / "README.md").read_text()


def test_other_backbones_write_numbers_as_rounded_text(prices, tmp_path):
    words = own_files(prices, text="house", score="price", output=tmp_path / "out")
    result = one_json(works("train", *words, "--steps", "2", "--json"))
    assert result["decode"] == "generate"
    target = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["task"]["target"]
    assert target["type"] == "number"
    assert target["step"] == 10_000.0


def test_options_that_do_not_go_together_are_refused(prices, tmp_path):
    words = own_files(prices, text="house", score="price", label="price", output=tmp_path / "out")
    assert "--tags for a tag a word, --span for a part of the text: give one of them" in refuses("train", *words)
    words = own_files(prices, text="house", score="house", output=tmp_path / "out")
    assert "both text and answer" in refuses("train", *words)
    words = own_files(prices, text="price", score="house", output=tmp_path / "out")
    assert "no finite number" in refuses("train", *words)
    assert "--label (or --target, --score, --tags, --span)" in refuses("train", *own_files(prices, text="house"))
    assert not (tmp_path / "out").exists()

"""Official files with their oddities, and copies of the Hub."""

import pytest
from datasets import ClassLabel, Dataset, Features

from hyperadapters import TASKS, InputError


def test_incomplete_rows_of_qqp_are_skipped_and_of_others_refused(tmp_path):
    lines = ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"]
    lines += [f"{i}\t1\t2\ta{i}\tb{i}\t{i % 2}" for i in range(1003)]
    lines.insert(5, "9\t1\t2\tcut off")
    (tmp_path / "QQP").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "QQP" / name).write_text("\n".join(lines) + "\n")
    assert len(TASKS["glue/qqp"].examples(tmp_path)["test"]) == 1003
    (tmp_path / "QNLI").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "QNLI" / name).write_text("index\tquestion\tsentence\tlabel\n0\tq\n")
    with pytest.raises(InputError, match="2 cells, expected 4"):
        TASKS["glue/qnli"].examples(tmp_path)


def test_yelp_counts_its_classes_from_one(tmp_path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text('"1","Bad, ""very"" bad."\n' + '"2","Good."\n' * 1001)
    examples = TASKS["yelp_polarity"].examples(tmp_path)
    assert examples["test"][0][:3] == ('sentence: Bad, "very" bad.', "0", 0)
    assert examples["test"][1].target == "1"


def test_scitail_is_read_from_its_tab_separated_files(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"scitail_1.0_{split}.tsv").write_text("It is wet.\tIt rained.\tneutral\nA.\tB.\tentails\n")
    examples = TASKS["scitail"].examples(tmp_path)
    assert [row[:3] for row in examples["validation"]] == [
        ("sentence1: It is wet. sentence2: It rained.", "1", 1),
        ("sentence1: A. sentence2: B.", "0", 0),
    ]


def test_a_copy_of_glue_on_the_hub_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    records = [{"premise": f"p{i}", "hypothesis": "h", "label": i % 3, "idx": i} for i in range(6)]
    rows = Dataset.from_list(records)
    labels = ClassLabel(names=["entailment", "neutral", "contradiction"])
    rows = rows.cast(Features({**rows.features, "label": labels}))
    (tmp_path / "glue" / "mnli").mkdir(parents=True)
    for split in ("train", "validation_matched", "validation_mismatched"):
        rows.to_parquet(str(tmp_path / "glue" / "mnli" / f"{split}-00000-of-00001.parquet"))
    examples = TASKS["glue/mnli"].examples(tmp_path)
    assert examples["test"][2][:3] == ("premise: p2 hypothesis: h", "2", 2)


YES_NO = ["False", "True"]
ENTAILMENT = ["entailment", "not_entailment"]
SENTIMENT = ["negative", "positive"]
PAIR = {"sentence1": "a", "sentence2": "b"}

ON_THE_HUB = {
    "glue/cola": ("cola", {"sentence": "a", "label": 1, "idx": 0}, ["unacceptable", "acceptable"], "sentence: a", "1"),
    "glue/sst2": ("sst2", {"sentence": "a ", "label": 0, "idx": 0}, SENTIMENT, "sentence: a", "0"),
    "glue/mrpc": ("mrpc", {**PAIR, "label": 1, "idx": 0}, ["not_equivalent", "equivalent"],
                  "sentence1: a sentence2: b", "1"),
    "glue/stsb": ("stsb", {**PAIR, "label": 3.799999952316284, "idx": 0}, None, "sentence1: a sentence2: b", "3.8"),
    "glue/qqp": ("qqp", {"question1": "a", "question2": "b", "label": 1, "idx": 0}, ["not_duplicate", "duplicate"],
                 "question1: a question2: b", "1"),
    "glue/qnli": ("qnli", {"question": "a", "sentence": "b", "label": 1, "idx": 0}, ENTAILMENT,
                  "question: a sentence: b", "1"),
    "glue/rte": ("rte", {**PAIR, "label": 0, "idx": 0}, ENTAILMENT, "sentence1: a sentence2: b", "0"),
    "glue/wnli": ("wnli", {**PAIR, "label": 1, "idx": 0}, ENTAILMENT, "sentence1: a sentence2: b", "1"),
    "superglue/boolq": ("boolq", {"question": "a", "passage": "b", "idx": 0, "label": 1}, YES_NO,
                        "question: a passage: b", "1"),
    "superglue/copa": ("copa", {"premise": "a", "choice1": "b", "choice2": "c", "question": "effect", "idx": 0,
                       "label": 1}, ["choice1", "choice2"], "premise: a choice1: b choice2: c question: effect", "1"),
    "superglue/rte": ("rte", {"premise": "a", "hypothesis": "b", "idx": 0, "label": 1}, ENTAILMENT,
                      "premise: a hypothesis: b", "1"),
    "superglue/wic": ("wic", {"word": "w", **PAIR, "start1": 0, "end1": 1, "idx": 0, "label": 1},
                      YES_NO, "sentence1: a sentence2: b word: w", "1"),
    "scitail": ("tsv_format", {"premise": "a", "hypothesis": "b", "label": "neutral"}, None,
                "sentence1: a sentence2: b", "1"),
    "imdb": ("plain_text", {"text": "a", "label": 1}, ["neg", "pos"], "sentence: a", "1"),
    "yelp_polarity": ("plain_text", {"text": "a", "label": 0}, ["1", "2"], "sentence: a", "0"),
}  # fmt: skip
"""Task -> configuration, a record as the Hub's Parquet files hold it, its classes, and what it must become."""


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_records_of_the_hub_become_the_papers_text(name, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    configuration, record, classes, source, target = ON_THE_HUB[name]
    rows = Dataset.from_list([record] * 1002)  # large sets hold out a thousand
    if classes:
        rows = rows.cast(Features({**rows.features, "label": ClassLabel(names=classes)}))
    (tmp_path / configuration).mkdir()
    for split in ("train", "validation", "test"):
        rows.to_parquet(str(tmp_path / configuration / f"{split}-00000-of-00001.parquet"))
    examples = TASKS[name].examples(tmp_path)
    assert set(examples) == {"train", "validation", "test"}
    assert {(row.source, row.target) for rows in examples.values() for row in rows} == {(source, target)}


def test_a_task_that_is_on_no_hub_asks_for_a_folder():
    with pytest.raises(InputError, match="in no data set of the Hub: give --data a folder with QNLI"):
        TASKS["glue/qnli-dev"].examples(None)

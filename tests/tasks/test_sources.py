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


def test_a_task_that_is_on_no_hub_asks_for_a_folder():
    with pytest.raises(InputError, match="in no data set of the Hub: give --data a folder with QNLI"):
        TASKS["glue/qnli-dev"].examples(None)

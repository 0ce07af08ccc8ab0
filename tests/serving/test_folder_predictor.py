"""Rows that name their task: answers are those of each adapter by itself, whatever stands in one batch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import FAMILIES
from saved_adapters import SENTENCES, WORDS, save, save_task
from tiny_encoders import tiny_encoder

from hyperadapters import METHODS, InputError, Predictor, load_backbone, load_predictor
from hyperadapters.delta.saving import CONFIG
from hyperadapters.serving.folder_predictor import _FolderPredictor, open_predictor
from hyperadapters.serving.prediction_file import _check_scored
from hyperadapters.serving.saved_tasks import saved_task
from hyperadapters.storage.loading import read_config
from hyperadapters.tasks.registry import task_named
from hyperadapters.tasks.targets import FreeText, Labels, LabelSet
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.config import Evaluation
from hyperadapters.training.encoding import Decoding
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.label_strings import _label_tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two methods that are pooled, one that is not, one adapter of two tasks, and answers of three kinds."""
    folder = tmp_path_factory.mktemp("adapters")
    backbone, _ = load_backbone()
    torch.manual_seed(0)
    save(folder / "mood" / "first", backbone, METHODS["compacter++"])
    save(folder / "mood" / "second", backbone, METHODS["compacter++"])
    save(folder / "words", backbone, METHODS["compacter++"], target=WORDS)
    save(folder / "free", backbone, METHODS["compacter++"], target=FreeText())
    save(folder / "beams", backbone, METHODS["compacter++"], evaluation=Evaluation(decode="generate", beams=2))
    save(folder / "pairs", backbone, METHODS["houlsby"], ("demo/paraphrase",))
    save(folder / "whole", backbone, METHODS["full"])
    save(folder / "mix", backbone, METHODS["hyper-compacter"], ("demo/sentiment", "demo/paraphrase"))
    return folder


TASKS = ["first", "words", "pairs", "mood/second", "whole", "mix/demo/sentiment", "mix/demo/paraphrase", "free"]
WHERE = {"first": "mood/first", "mix/demo/sentiment": "mix", "mix/demo/paraphrase": "mix"}


@pytest.fixture(scope="module")
def rows():
    """Three rows for every task, tasks in turn."""
    found = []
    for number in range(3 * len(TASKS)):
        task, text = TASKS[number % len(TASKS)], SENTENCES[number % 4] * (1 + number % 3)
        pair = task == "pairs" or task.endswith("paraphrase")
        fields = {"sentence1": text, "sentence2": SENTENCES[0]} if pair else {"sentence": text}
        found.append({"task": task, **fields})
    return found


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def expected(folder, rows):
    """Each row answered by itself, by its adapter alone."""
    found: dict[int, str] = {}
    for task in TASKS:
        inner = task.removeprefix("mix/") if task.startswith("mix/") else ""
        predictor = load_predictor(folder / WHERE.get(task, task), task=inner)
        found |= {i: predictor([row])[0] for i, row in enumerate(rows) if row["task"] == task}
    return [found[i] for i in range(len(rows))]


@pytest.mark.parametrize(("resident", "batch_size"), [(256, 128), (2, 4)])
def test_answers_are_those_of_each_adapter_by_itself_in_the_files_order(
    folder, rows, expected, resident, batch_size, tmp_path
):
    predictor = _FolderPredictor(folder, resident=resident, batch_size=batch_size)
    found = list(predictor.file(write(tmp_path / "rows.jsonl", rows)))
    assert [row["prediction"] for row in found] == expected
    assert [{key: row[key] for key in row if key != "prediction"} for row in found] == rows
    assert len({*expected}) == 3
    assert predictor.counts == dict.fromkeys(TASKS, 3)


def test_probabilities_are_those_of_each_adapter_by_itself_whatever_stands_in_one_batch(folder, rows, tmp_path):
    rows = [row for row in rows if row["task"] != "free"]
    found = list(_FolderPredictor(folder, batch_size=4).file(write(tmp_path / "rows.jsonl", rows), top=None))
    assert [{key: row[key] for key in row if key not in ("prediction", "scores")} for row in found] == rows
    for task in dict.fromkeys(row["task"] for row in rows):
        inner = task.removeprefix("mix/") if task.startswith("mix/") else ""
        alone = load_predictor(folder / WHERE.get(task, task), task=inner)
        mine = [row for row in found if row["task"] == task]
        for row, expected in zip(mine, alone.probabilities(mine), strict=True):
            assert row["scores"] == pytest.approx(expected, abs=1e-5)
            assert set(expected) == set(alone.form.target.texts)
            assert sum(expected.values()) == pytest.approx(1)
            assert [*expected.values()] == sorted(expected.values(), reverse=True)
        assert [row["prediction"] for row in mine] == [next(iter(row["scores"])) for row in mine] == alone(mine)


def test_only_as_many_labels_are_given_as_are_wanted(folder, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [{"task": "words", "sentence": text} for text in SENTENCES])
    every, most = (list(_FolderPredictor(folder).file(rows, top=top)) for top in (None, 2))
    assert [[*row["scores"].items()][:2] for row in every] == [[*row["scores"].items()] for row in most]
    predictor = load_predictor(folder / "words")
    assert [len(labels) for labels in predictor.probabilities([{"sentence": "a film"}], top=9)] == [3]
    assert predictor.probabilities([]) == []
    with pytest.raises(InputError, match="top=0: must be 1 or more"):
        predictor.probabilities([{"sentence": "a film"}], top=0)


def test_what_is_no_label_has_no_probability(folder, tmp_path):
    refusal = "probabilities are those of labels.*train with --label"
    with pytest.raises(InputError, match=refusal):
        load_predictor(folder / "free").probabilities([{"sentence": "a film"}])
    rows = write(tmp_path / "rows.jsonl", [{"task": "free", "sentence": "a film"}])
    predictor = _FolderPredictor(folder)
    with pytest.raises(InputError, match=refusal):
        next(predictor.file(rows, top=3))
    assert not predictor._loaded.held()
    with pytest.raises(InputError, match=refusal):
        open_predictor(folder / "free", scored=True)
    with pytest.raises(InputError, match="t has several labels a row, which this backbone generates as text.*encoder"):
        _check_scored(TaskFormat("t", ("text",), LabelSet(("x", "y"))), encoder=False)


def test_a_column_that_the_probabilities_would_replace_is_refused(folder, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [{"task": "words", "sentence": "a film", "scores": 1}])
    assert next(_FolderPredictor(folder).file(rows))["scores"] == 1
    with pytest.raises(InputError, match="has a column 'scores' already"):
        next(_FolderPredictor(folder).file(rows, top=1))
    with pytest.raises(InputError, match="has a column 'scores' already"):
        next(load_predictor(folder / "words").file(rows, top=1))


def test_a_batch_mixes_the_tasks_of_one_method_whatever_their_labels(folder, rows, tmp_path, monkeypatch):
    seen = []
    answer = ENCODINGS["encoder-decoder"].answer

    def watched(backbone, rows, forms, *others):
        seen.append([form.target for form in forms])
        return answer(backbone, rows, forms, *others)

    monkeypatch.setattr(ENCODINGS["encoder-decoder"], "answer", watched)
    list(_FolderPredictor(folder).file(write(tmp_path / "rows.jsonl", rows)))
    assert sorted(len(batch) for batch in seen) == [
        3,
        3,
        3,
        4,
        5,
        6,
    ]  # pairs, free, whole, the pool's long and short, the mixture
    assert max(len({str(target) for target in batch}) for batch in seen) == 2


def test_each_task_is_answered_as_it_was_in_training(folder, tmp_path, monkeypatch):
    """Greedily or with beams, generated or scored; also by itself, unless another way is asked for."""
    seen = []
    answer = ENCODINGS["encoder-decoder"].answer

    def watched(backbone, rows, forms, tokenizer, decoding, *others):
        seen.append(decoding)
        return answer(backbone, rows, forms, tokenizer, decoding, *others)

    monkeypatch.setattr(ENCODINGS["encoder-decoder"], "answer", watched)
    rows = [{"task": task, "sentence": SENTENCES[0]} for task in ("beams", "first", "free")]
    list(_FolderPredictor(folder).file(write(tmp_path / "rows.jsonl", rows)))
    assert set(seen) == {Decoding("generate", 16, 2), Decoding("score"), Decoding("generate", 16)}
    predictor = load_predictor(folder / "beams")
    assert (predictor.evaluation.decode, predictor.evaluation.beams) == ("generate", 2)
    assert load_predictor(folder / "beams", evaluation=Evaluation(decode="score")).evaluation.decode == "score"


def test_an_adapter_that_does_not_say_how_it_was_answered_is_refused(folder):
    config = read_config(folder / "beams")
    config["task"]["decode"] = "guess"
    with pytest.raises(InputError, match=r"adapter_config.json: task.decode='guess': input should be"):
        saved_task(config, folder / "beams")
    del config["task"]["decode"], config["task"]["beams"]
    with pytest.raises(InputError, match=r"adapter_config.json is damaged: KeyError\('decode'\)"):
        saved_task(config, folder / "beams")


def test_one_adapter_of_several_tasks_takes_rows_that_name_them(folder, rows, expected, tmp_path):
    mine = [(row, answer) for row, answer in zip(rows, expected, strict=True) if row["task"].startswith("mix/")]
    named = [{**row, "task": row["task"].split("/")[-1]} for row, _ in mine]
    found = list(_FolderPredictor(folder / "mix").file(write(tmp_path / "rows.jsonl", named)))
    assert [row["prediction"] for row in found] == [answer for _, answer in mine]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"task": "nothing", "sentence": "x"},
            "knows no task 'nothing'. It knows beams, free, mix/demo/",
        ),
        ({"task": "paraphrase2", "sentence": "x"}, "knows no task 'paraphrase2'"),
        ({"task": "first"}, "rows.jsonl:25: column 'sentence' is missing"),
        ({"sentence": "x"}, "rows.jsonl:25: column 'task' is missing"),
    ],
)
def test_a_row_that_cannot_be_answered_is_refused_before_anything_is_answered(folder, rows, row, message, tmp_path):
    with pytest.raises(InputError, match=message):
        next(_FolderPredictor(folder).file(write(tmp_path / "rows.jsonl", [*rows, row])))


def test_each_adapter_has_a_backbone_of_the_type_that_it_was_trained_on(tmp_path):
    for name, precision in {"a": "bf16", "b": "fp32", "c": "fp32"}.items():
        save(tmp_path / name, load_backbone(precision=precision)[0], METHODS["compacter++"])
    rows = [{"task": task, "sentence": text} for text in SENTENCES for task in ("b", "a", "c")]
    predictor = _FolderPredictor(tmp_path)
    found = list(predictor.file(write(tmp_path / "rows.jsonl", rows), top=None))
    models = [loaded.model.dtype for loaded in predictor._loaded._models.values()]
    assert sorted(map(str, models)) == ["torch.bfloat16", "torch.float32"]
    for task in "abc":
        own = [row for row in found if row["task"] == task]
        for row, expected in zip(own, load_predictor(tmp_path / task).probabilities(own), strict=True):
            assert row["scores"] == pytest.approx(expected, abs=1e-5)


def test_a_damaged_adapter_is_refused_where_rows_name_it_and_not_elsewhere(folder, rows, tmp_path):
    copied = tmp_path / "adapters"
    shutil.copytree(folder, copied)
    (copied / "pairs" / CONFIG).write_text("{")
    good = [row for row in rows if row["task"] != "pairs"]
    assert len(list(_FolderPredictor(copied).file(write(tmp_path / "good.jsonl", good)))) == len(good)
    with pytest.raises(InputError, match="pairs/adapter_config.json is not JSON"):
        next(_FolderPredictor(copied).file(write(tmp_path / "rows.jsonl", rows)))


def test_a_folder_without_adapters_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither it nor a folder in it has an adapter_config.json"):
        _FolderPredictor(tmp_path)


def test_adapters_behind_links_are_found_and_the_home_folder_is_known(folder, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pool").mkdir()
    for name, place in {"first": "mood/first", "words": "words"}.items():
        (tmp_path / "pool" / name).symlink_to(folder / place)
    own = [row for row in rows if row["task"] in ("first", "words")]
    write(tmp_path / "rows.jsonl", own)
    through_links = list(open_predictor(Path("~/pool"), by_row=True).file(Path("~/rows.jsonl")))
    direct = list(open_predictor(folder, by_row=True).file(tmp_path / "rows.jsonl"))
    assert through_links == direct


def test_a_file_without_tasks_names_its_columns(folder, tmp_path):
    with pytest.raises(InputError, match="no column 'task'. Its columns: sentence"):
        next(_FolderPredictor(folder).file(write(tmp_path / "rows.jsonl", [{"sentence": "x"}])))


def test_rows_with_fewer_labels_never_get_anothers():
    forms = [replace(task_named("demo/sentiment").form, target=labels) for labels in (WORDS, Labels(("0", "1")))]
    tokens = _label_tokens(forms, lambda texts: [[len(text), 1] for text in texts])
    assert tokens.tolist() == [[[4, 1], [3, 1], [7, 1]], [[1, 1], [1, 1], [-100, -100]]]


def test_the_command_line_answers_a_folder(folder, rows, expected, tmp_path):
    from command_line import one_json, refuses, works

    file, output = write(tmp_path / "rows.jsonl", rows), tmp_path / "answers.jsonl"
    done = one_json(works("predict", folder, "--file", file, "--output", output, "--json"))
    assert (done["rows"], done["tasks"]) == (24, dict.fromkeys(TASKS, 3))
    assert [json.loads(line)["prediction"] for line in output.read_text().splitlines()] == expected
    one = one_json(works("predict", folder, "--task", "first", rows[0]["sentence"], "--json"))
    assert one["predictions"] == expected[:1]
    output.unlink()
    bad = write(tmp_path / "bad.jsonl", [*rows, {"task": "nothing", "sentence": "x"}])
    assert "knows no task 'nothing'" in refuses("predict", folder, "--file", bad, "--output", output)
    assert "knows no task 'nothing'" in refuses("predict", folder, "--file", bad)
    assert not output.exists()
    assert isinstance(load_predictor(folder / "words"), Predictor)


def test_encoders_with_two_three_and_five_classes_share_a_batch(tmp_path, monkeypatch):
    (place := tmp_path / "backbone").mkdir()
    tokenizer = load_backbone()[1]
    FAMILIES["bert"].make(vocab_size=len(tokenizer)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    backbone, _ = load_backbone(str(place))
    sizes = {"two": 2, "three": 3, "five": 5}
    for name, size in sizes.items():
        labels = Labels(tuple("abcde"[:size]))
        save(tmp_path / "adapters" / name, backbone, METHODS["compacter++"], target=labels, outputs=size)
    rows = [{"task": name, "sentence": text} for text in SENTENCES for name in sizes]
    expected = [load_predictor(tmp_path / "adapters" / row["task"])([row])[0] for row in rows]
    seen = []
    answer = ENCODINGS["encoder"].answer
    monkeypatch.setattr(ENCODINGS["encoder"], "answer", lambda *given: seen.append(given[2]) or answer(*given))
    found = list(_FolderPredictor(tmp_path / "adapters").file(write(tmp_path / "rows.jsonl", rows)))
    assert [row["prediction"] for row in found] == expected
    assert [{len(form.target.texts) for form in forms} for forms in seen] == [{2, 3, 5}]
    assert len({*expected}) > 2


def test_several_labels_and_one_have_their_probabilities_in_one_batch(tmp_path, monkeypatch):
    backbone, _ = load_backbone(str(tiny_encoder(tmp_path / "encoder")))
    targets = {"one": Labels(("a", "b")), "several": LabelSet(("x", "y", "z"))}
    for name, target in targets.items():
        save_task(tmp_path / "adapters" / name, backbone, TaskFormat(name, ("text",), target, style="bare"))
    rows = [{"task": name, "text": text} for text in SENTENCES for name in targets]
    alone = {name: load_predictor(tmp_path / "adapters" / name) for name in targets}
    seen = []
    score = ENCODINGS["encoder"].score_labels
    monkeypatch.setattr(ENCODINGS["encoder"], "score_labels", lambda *given: seen.append(given[2]) or score(*given))
    found = list(_FolderPredictor(tmp_path / "adapters").file(write(tmp_path / "rows.jsonl", rows), top=None))
    assert [{form.name for form in forms} for forms in seen] == [{"one", "several"}]
    for row in found:
        (wanted,) = alone[row["task"]].scored([row])
        assert row["prediction"] == wanted.prediction
        assert row["scores"] == pytest.approx(wanted.scores, rel=1e-5)
    several = [row for row in found if row["task"] == "several"]
    for row in several:
        assert [*row["scores"].values()] == sorted(row["scores"].values(), reverse=True)
        assert row["prediction"] == sorted(label for label, share in row["scores"].items() if share >= 0.5)
        assert len(row["scores"]) == 3

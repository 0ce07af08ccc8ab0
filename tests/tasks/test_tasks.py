"""Tasks: text, answers, the papers' splits, the demo grammar, and a user's own files."""

import json
import re
from collections import Counter

import pytest

from hyperadapters import TASKS, InputError, own_task
from hyperadapters.tasks.demo import _ROWS, _lexicon
from hyperadapters.tasks.registry import task_named
from hyperadapters.tasks.splits import _halve_validation, _hold_out_thousand, permutation
from hyperadapters.tasks.targets import FreeText, Labels, _Score
from hyperadapters.tasks.task_format import Example, TaskFormat


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        (408, [30, 63, 342, 322, 6]),
        (1043, [911, 408, 813, 657, 710]),
        (277, [207, 84, 253, 243, 190]),
        (67_349, [6677, 49_712, 38_268, 32_909, 23_395]),
    ],
)
def test_the_permutations_are_the_papers(rows, first):
    assert permutation(rows)[:5] == first


def test_small_sets_halve_their_validation_set():
    splits = _halve_validation({"train": [1], "validation": list(range(277))})
    assert splits["train"] == [1]
    assert splits["validation"][:5] == [207, 84, 253, 243, 190]
    assert (len(splits["validation"]), len(splits["test"])) == (138, 139)
    assert sorted(splits["validation"] + splits["test"]) == list(range(277))


def test_large_sets_hold_out_a_thousand_training_rows():
    splits = _hold_out_thousand({"train": list(range(67_349)), "validation": ["v"]})
    assert splits["validation"][:3] == [6677, 49_712, 38_268]
    assert (len(splits["validation"]), len(splits["train"]), splits["test"]) == (1000, 66_349, ["v"])
    assert not set(splits["validation"]) & set(splits["train"])


GOLDEN = {
    "glue/cola": "cola sentence: a",
    "glue/mrpc": "mrpc sentence1: a sentence2: b c",
    "glue/sst2": "sst2 sentence: a",
    "glue/stsb": "stsb sentence1: a sentence2: b c",
    "glue/stsb-published": "stsb sentence1: a sentence2: b c",
    "glue/qqp": "qqp question1: a question2: b c",
    "glue/mnli": "mnli premise: a hypothesis: b c",
    "glue/mnli-published": "mnli premise: a hypothesis b c",
    "glue/qnli": "qnli question: a sentence: b c",
    "glue/rte": "rte sentence1: a sentence2: b c",
    "glue/wnli": "wnli sentence1: a sentence2: b c",
    "superglue/boolq": "superglue-boolq question: a passage: b c",
    "superglue/cb": "superglue-cb premise: a hypothesis: b c",
    "superglue/copa": "superglue-copa premise: a choice1: b c choice2: d question: e",
    "superglue/copa-published": "superglue-copa premise: a choice1: b c choice2: d",
    "superglue/multirc": "superglue-multirc question: a answer: b c paragraph: d",
    "superglue/record": "superglue-record query: a entities: b c passage: d",
    "superglue/rte": "superglue-rte premise: a hypothesis: b c",
    "superglue/wic": "superglue-wic sentence1: a sentence2: b c word: d",
    "superglue/wsc": "superglue-wsc.fixed text: a",
    "scitail": "scitail sentence1: a sentence2: b c",
    "imdb": "imdb sentence: a",
    "yelp_polarity": "yelp_polarity sentence: a",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_source_is_the_papers_text(name):
    form = TASKS[name].form
    values = dict(zip(form.fields, ("a ", "b c", " d", "e"), strict=False))
    assert form.source(values, prefix=True) == GOLDEN[name]
    assert form.source(values) == GOLDEN[name].split(" ", 1)[1]


METRICS_OF = {
    "glue/cola": ["matthews"],
    "glue/mrpc": ["f1", "accuracy"],
    "glue/qqp": ["f1", "accuracy"],
    "glue/stsb": ["pearson", "spearman"],
    "superglue/cb": ["macro_f1", "accuracy"],
    "superglue/multirc": ["answer_f1", "question_exact_match"],
    "superglue/record": ["token_f1", "normalized_exact_match"],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_metrics_are_the_papers(name):
    expected = METRICS_OF.get(name.removesuffix("-published"), ["accuracy"])
    assert [metric.__name__ for metric in TASKS[name].metrics] == expected


def test_the_papers_averages_have_eleven_and_nine_columns():
    glue = ("cola", "mrpc", "sst2", "stsb", "qqp", "mnli", "qnli", "rte")
    superglue = ("boolq", "cb", "copa", "multirc", "record", "wic")
    assert sum(len(TASKS[f"glue/{name}"].metrics) for name in glue) == 11
    assert sum(len(TASKS[f"superglue/{name}"].metrics) for name in superglue) == 9


def test_a_task_that_is_not_the_benchmarks_own_says_so():
    for name, task in TASKS.items():
        own = name in GOLDEN and not name.endswith("-published")
        assert bool(task.description) != (own or name.startswith("demo/")), name


@pytest.mark.parametrize("name", TASKS)
def test_a_form_survives_json(name):
    form = TASKS[name].form
    assert TaskFormat.from_json(json.loads(json.dumps(form.to_json()))) == form


def test_scores_are_rounded_to_a_fifth():
    target = _Score(0.0, 5.0, 0.2)
    assert all(target.encode(f"{k / 1000}") == f"{round(5 * (k / 1000)) / 5:.1f}" for k in range(5001))
    assert [target.encode(raw) for raw in ("3.8", "2.97", "4.45", "5.000", "0", "5.1", "x")] == [
        "3.8",
        "3.0",
        "4.4",
        "5.0",
        "0.0",
        None,
        None,
    ]
    assert (target.decode("3.8"), target.decode("x"), target.decode("9")) == (3.8, None, None)


def test_labels_are_known_by_number_and_name():
    target = Labels(("0", "1"), ("entailment", "not_entailment"))
    assert [target.encode(raw) for raw in ("entailment", "1", " 0 ", "2")] == ["0", "1", "0", None]
    assert [target.decode(text) for text in (" 1", "0", "maybe")] == [1, 0, -1]


def glue_folder(folder, dev_rows=8, label="entailment"):
    (folder / "RTE").mkdir(parents=True)
    for name, rows in (("train.tsv", 4), ("dev.tsv", dev_rows)):
        lines = ["index\tsentence1\tsentence2\tlabel", *(f"{i}\tp {i}\th {i}\t{label}" for i in range(rows))]
        (folder / "RTE" / name).write_text("\n".join(lines) + "\n")
    return folder


def test_the_official_folder_is_read_from_inside_or_above(tmp_path):
    folder = glue_folder(tmp_path)
    inside = TASKS["glue/rte"].examples(folder / "RTE")
    assert inside == TASKS["glue/rte"].examples(folder)
    assert inside["train"][0] == Example("sentence1: p 0 sentence2: h 0", "0", 0, ("p 0", "h 0"))


def test_a_label_outside_the_set_is_named_with_its_line(tmp_path):
    with pytest.raises(InputError, match=r"(?s)4 label.*not one of entailment.*train.tsv:2: label 'yes'"):
        TASKS["glue/rte"].examples(glue_folder(tmp_path, label="yes"))


def test_missing_official_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"lacks train.tsv, dev.tsv. Expected the official RTE folder"):
        TASKS["glue/rte"].examples(tmp_path)


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(InputError, match="no rows in validation"):
        TASKS["glue/rte"].examples(glue_folder(tmp_path, dev_rows=1))


def test_without_files_or_network_the_error_says_what_to_do():
    with pytest.raises(InputError, match=r"nyu-mll/glue \(rte\) could not be read.*--data a folder"):
        TASKS["glue/rte"].examples(None)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean glue/mrpc"):
        task_named("glue/mprc")


REAL_SIZES = {
    "glue/cola": (8551, 521, 522),
    "glue/sst2": (66_349, 1000, 872),
    "glue/mrpc": (3668, 204, 204),
    "glue/stsb": (5749, 750, 750),
    "glue/rte": (2490, 138, 139),
    "glue/qnli-dev": (3463, 1000, 1000),
    "glue/mnli-dev-matched": (7815, 1000, 1000),
    "glue/qqp-subset": (21_496, 1000, 1000),
    "superglue/boolq-1886": (1886, 1635, 1635),
    "superglue/cb": (250, 28, 28),
    "superglue/copa": (400, 50, 50),
    "superglue/multirc": (27_243, 2410, 2438),
    "superglue/rte": (2490, 138, 139),
    "superglue/wic": (5428, 319, 319),
    "superglue/wsc": (554, 52, 52),
    "scitail-test": (826, 300, 1000),
    "imdb": (24_000, 1000, 25_000),
}


@pytest.mark.parametrize("name", REAL_SIZES)
def test_the_real_files_are_read(name, shared):
    examples = TASKS[name].examples(shared)
    assert tuple(len(examples[split]) for split in ("train", "validation", "test")) == REAL_SIZES[name]
    assert all(row.source and row.target for rows in examples.values() for row in rows)


DEMOS = sorted(name for name in TASKS if name.startswith("demo/"))


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_task_is_deterministic_and_balanced(name):
    first, second = TASKS[name].examples(None), TASKS[name].examples(None)
    assert first == second
    assert {split: len(rows) for split, rows in first.items()} == _ROWS
    for rows in first.values():
        counts = Counter(row.target for row in rows)
        assert len(set(rows)) == len(rows)
        assert max(counts.values()) - min(counts.values()) < 0.02 * len(rows)


def test_the_words_of_the_demo_tasks_are_split():
    words = {split: {w for part in _lexicon(split) for w in part} for split in _ROWS}
    assert not words["train"] & words["test"]
    assert not words["train"] & words["validation"]


@pytest.mark.parametrize(("name", "chance"), [(name, 1 / 3 if "entailment" in name else 1 / 2) for name in DEMOS])
def test_counting_words_does_not_solve_a_demo_task(name, chance):
    """Logistic regression on the words of each field stays near chance."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    examples, fields = TASKS[name].examples(None), TASKS[name].form.fields

    def words(row):
        parts = re.split("|".join(f"{field}: " for field in fields), row.source)[1:]
        return [f"{field}:{word}" for field, part in enumerate(parts) for word in part.split()]

    bag = CountVectorizer(analyzer=words)
    model = LogisticRegression(max_iter=500)
    model.fit(bag.fit_transform(examples["train"]), [row.target for row in examples["train"]])
    test = examples["test"]
    assert model.score(bag.transform(test), [row.target for row in test]) < chance + 0.08


def own_files(folder, labels=("yes", "no", "yes")):
    files = {}
    for split in ("train", "validation"):
        files[split] = folder / f"{split}.jsonl"
        rows = [{"premise": f"p{i}", "hypothesis": f"h{i}", "gold": label} for i, label in enumerate(labels)]
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def test_own_files_with_classes_become_a_task(tmp_path):
    task = own_task(own_files(tmp_path), ("premise", "hypothesis"), "gold", answers="label", name="mine")
    assert task.form.target == Labels(("no", "yes"))
    assert task.examples(None)["train"][0] == Example("premise: p0 hypothesis: h0", "yes", 1, ("p0", "h0"))


def test_own_files_with_text_answers_become_a_task(tmp_path):
    task = own_task(own_files(tmp_path), ("premise",), "hypothesis", answers="text", name="mine")
    assert task.form.target == FreeText()
    assert [metric.__name__ for metric in task.metrics] == ["exact_match", "normalized_exact_match", "token_f1"]


def test_a_text_column_may_be_called_label(tmp_path):
    path = tmp_path / "lab.jsonl"
    path.write_text('{"label": "some text one", "category": "A"}\n{"label": "some text two", "category": "B"}\n')
    for answers in ("label", "text"):
        task = own_task(dict.fromkeys(("train", "validation"), path), ("label",), "category", answers=answers, name="m")
        assert [row[:2] for row in task.examples(None)["train"]] == [
            ("label: some text one", "A"),
            ("label: some text two", "B"),
        ]


def test_a_column_that_is_both_text_and_answer_is_refused(tmp_path):
    with pytest.raises(InputError, match="column 'gold' is both text and answer"):
        own_task(own_files(tmp_path), ("premise", "gold"), "gold", answers="label", name="mine")


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds 1 class.*classification needs two. For free text use --target"):
        own_task(own_files(tmp_path, labels=("a", "a")), ("premise",), "gold", answers="label", name="mine")


def test_a_validation_label_that_training_lacks_is_refused(tmp_path):
    files = own_files(tmp_path)
    files["validation"].write_text('{"premise": "p", "hypothesis": "h", "gold": "perhaps"}\n')
    with pytest.raises(InputError, match="validation.jsonl:1: label 'perhaps'"):
        own_task(files, ("premise",), "gold", answers="label", name="mine").examples(None)

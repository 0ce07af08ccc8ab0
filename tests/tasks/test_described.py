"""The family of described tasks: its parts, balance, splits and answers."""

import json
import lzma
from pathlib import Path

import pytest

from hyperadapters._utils import InputError
from hyperadapters.tasks import TASKS, described_tasks
from hyperadapters.tasks.attributes import ATTRIBUTES

PARTS = ("train", "attribute", "form")
EVERY = [name for part in PARTS for name in described_tasks(part)]


def _question(name: str) -> tuple[str, str]:
    """Return the form and the attribute of a task."""
    forms = ("second-has", "first-has", "both-have", "begins", "has")
    form = next(form for form in forms if name.startswith(f"described/{form}-"))
    return form, name.removeprefix(f"described/{form}-")


def test_the_family_has_200_tasks_in_three_parts() -> None:
    assert [len(described_tasks(part)) for part in PARTS] == [150, 40, 10]
    assert {*EVERY} == {name for name in TASKS if name.startswith("described/")}


def test_held_out_tasks_ask_what_no_training_task_asks() -> None:
    asked = [_question(name) for name in described_tasks("train")]
    assert not {_question(name)[1] for name in described_tasks("attribute")} & {attribute for _, attribute in asked}
    assert not {_question(name)[0] for name in described_tasks("form")} & {form for form, _ in asked}
    assert {_question(name)[1] for name in described_tasks("form")} <= {attribute for _, attribute in asked}


def test_each_task_has_five_wordings_of_its_own() -> None:
    wordings = [wording for name in EVERY for wording in TASKS[name].wordings]
    assert len(wordings) == len({*wordings}) == 5 * 200


@pytest.mark.parametrize("name", EVERY[::23])
def test_rows_are_balanced_and_their_answers_true(name: str) -> None:
    form, attribute = _question(name)
    place = ATTRIBUTES[attribute].place
    for rows in TASKS[name].examples(None).values():
        assert 2 * sum(row.target == "1" for row in rows) == len(rows) == len({row.texts for row in rows})
        for row in rows:
            places = [place(text) for text in row.texts]
            found = [where is not None for where in places]
            early = found[0] and (places[0] or 0) < len(row.texts[0].split()) / 2
            true = {"has": found[0], "first-has": found[0], "second-has": found[-1], "both-have": all(found)}
            assert (row.target == "1") == (early if form == "begins" else true[form])


def test_no_sentence_is_in_two_splits() -> None:
    splits = [{text for row in rows for text in row.texts} for rows in TASKS[EVERY[0]].examples(None).values()]
    assert len(set.union(*splits)) == sum(map(len, splits))


def test_rows_are_the_same_every_time() -> None:
    assert TASKS[EVERY[7]].examples(None) == TASKS[EVERY[7]].examples(None)
    first = TASKS["described/has-dog"].examples(None)["train"][0]
    assert first == TASKS["described/has-dog"].examples(None)["train"][0]


@pytest.mark.parametrize(
    ("attribute", "having", "lacking"),
    [
        ("bird", "Two geese? No: two seagulls .", "a birdcage is no word for it ."),
        ("passive", "The cake was eaten .", "They were late ."),
        ("negation", "He didn't come .", "He noted it ."),
        ("negation", "He didn’t come .", "A knot ."),
        ("number", "In 1999 it began .", "It began ."),
        ("long", "a b c d e f g h i j k l m .", "a b c d e f g h i j k l . , ! ? ."),
        ("comma", "Yes, please .", "Yes please ."),
        ("person", "Mary sings .", "A merry song ."),
    ],
)
def test_attributes_are_told_by_words(attribute: str, having: str, lacking: str) -> None:
    place = ATTRIBUTES[attribute].place
    assert place(having) is not None
    assert place(lacking) is None


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks nli/snli-dev\.jsonl"):
        TASKS[EVERY[0]].examples(tmp_path)


def _few_files(folder: Path, sentence: str) -> None:
    """Write the files that the sentences come from, with hardly any."""
    for name in ("nli", "glue/STS-B", "corpus"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    row = {"premise": sentence, "hypothesis": "Nothing ."}
    (folder / "nli/snli-dev.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    for name in ("train", "dev"):
        (folder / f"glue/STS-B/{name}.tsv").write_text("sentence1\tsentence2\na .\tb .\n", encoding="utf-8")
    (folder / "corpus/wiki-prose.txt.xz").write_bytes(lzma.compress(b"A line .\n"))


def test_too_few_sentences_and_damaged_files_are_refused(tmp_path: Path) -> None:
    _few_files(tmp_path, "A dog .")
    with pytest.raises(InputError, match="0 distinct rows in train, 200 are wanted"):
        TASKS["described/has-space"].examples(tmp_path)
    (tmp_path / "corpus/wiki-prose.txt.xz").write_bytes(lzma.compress(b"A line .\n" * 99)[:-20])
    with pytest.raises(InputError, match=r"wiki-prose.txt.xz cannot be read"):
        TASKS["described/has-space"].examples(tmp_path)


def test_real_sentences(shared: Path) -> None:
    for name in EVERY[::40]:
        rows = TASKS[name].examples(shared)
        assert {split: len(found) for split, found in rows.items()} == {"train": 200, "validation": 60, "test": 100}

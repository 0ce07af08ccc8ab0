"""Where own rows are: several files, patterns, and places as they move."""

from pathlib import Path

import pytest

from hyperadapters import InputError
from hyperadapters.tasks.own_places import absolute_place, check_places, files_at, moved_places, share_of


@pytest.fixture(name="folder")
def folder_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    for name in ("part-2.jsonl", "part-1.jsonl", "deep/part-3.jsonl", "a,b.jsonl"):
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("data/part-*.jsonl", ["part-1", "part-2"]),
        ("data/**/part-*.jsonl", ["part-3", "part-1", "part-2"]),
        ("data/part-2.jsonl, data/part-1.jsonl", ["part-2", "part-1"]),
        ("data/deep/*, data/part-[1].jsonl", ["part-3", "part-1"]),
        ("data/a,b.jsonl", ["a,b"]),
        ("hf://owner/name", []),
        ("10%", []),
    ],
)
def test_a_place_names_files_and_patterns(place, names, folder):
    assert [path.stem for path in files_at(place)] == names
    assert [path.stem for path in files_at(absolute_place(place))] == names


def test_a_place_from_the_root_is_the_same_from_everywhere_even_in_an_odd_folder(folder, monkeypatch):
    odd = folder / "[x]"
    odd.mkdir()
    (odd / "part-1.jsonl").touch()
    monkeypatch.chdir(odd)
    place = absolute_place("part-*.jsonl")
    monkeypatch.chdir(folder)
    assert files_at(place) == [odd / "part-1.jsonl"]


def test_all_wrong_places_are_in_one_error(folder):
    with pytest.raises(InputError) as error:
        check_places(["none.jsonl", "data", "data/x-*.jsonl", "data/part-1.jsonl,data/*", "0.1", "", "hf://a/b"])
    said = str(error.value)
    assert "none.jsonl, 0.1 do not exist (looked in" in said
    assert "For a share of the training rows write 10%" in said
    assert "data is a folder: name its files, such as data/*.jsonl" in said
    assert "no file matches data/x-*.jsonl" in said
    assert "data/part-1.jsonl: data/part-1.jsonl,data/* names it twice" in said


def test_a_share_is_more_than_nothing_and_less_than_all():
    assert (share_of("10%"), share_of(" 2.5 %"), share_of("a.jsonl"), share_of(Path("a"))) == (0.1, 0.025, None, None)
    for wrong in ("0%", "100%", "-5%", "250%"):
        with pytest.raises(InputError, match="more than 0% and less than 100%"):
            share_of(wrong)


def test_moved_places_lie_to_each_other_as_before(folder, tmp_path):
    places = {"train": f"{folder}/part-*.jsonl,{folder}/deep/part-3.jsonl", "validation": "10%", "test": "hf://a/b"}
    assert moved_places(places, Path("/new")) == {"train": "/new/part-*.jsonl,/new/deep/part-3.jsonl"}
    with pytest.raises(InputError, match="the rows are from the Hugging Face Hub"):
        moved_places({"train": "hf://a/b"}, tmp_path)

"""Paths as users give them: the home folder, links, and files below a folder."""

import os
from pathlib import Path

import pytest

from hyperadapters import InputError
from hyperadapters._utils.paths import absolute_path, expand_path, find_files, follow_links


def test_the_home_folder_is_written_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expand_path("~/rows.jsonl") == tmp_path / "rows.jsonl"
    assert expand_path("a~b") == Path("a~b")
    assert absolute_path("~/a/../b") == absolute_path("b") == tmp_path / "b"


def test_the_home_of_nobody_is_refused():
    with pytest.raises(InputError, match="there is no such user"):
        expand_path("~nobody-of-this-name/rows.jsonl")


def test_a_link_leads_to_its_file_whether_it_is_there_or_not(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later")
    (tmp_path / "second").symlink_to(tmp_path / "link")
    assert follow_links(tmp_path / "second") == tmp_path / "later"
    assert follow_links(tmp_path / "later") == tmp_path / "later"
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(InputError, match="leads back to itself"):
        follow_links(tmp_path / "circle")


def test_files_are_found_through_links_and_a_circle_of_them_ends(tmp_path):
    real = tmp_path / "elsewhere" / "mood"
    real.mkdir(parents=True)
    (real / "x.json").touch()
    folder = tmp_path / "pool"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / name).symlink_to(real)
    (real / "back").symlink_to(folder)
    found = [os.fspath(path.relative_to(folder)) for path in find_files(folder, "x.json")]
    assert {"first/x.json", "second/x.json"} <= set(found)
    assert len(found) < 10

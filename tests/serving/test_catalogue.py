"""What a folder of adapters answers, while adapters come and go."""

import shutil
import threading

import pytest

from hyperadapters import InputError
from hyperadapters.serving import catalogue as module
from hyperadapters.serving.catalogue import Catalogue


@pytest.fixture
def folder(adapters, tmp_path):
    for name in ("mood", "words", "free"):
        shutil.copytree(adapters / name, tmp_path / "adapters" / name)
    return tmp_path / "adapters"


def test_what_is_dropped_or_taken_while_it_is_described_is_not_known_as_it_was(folder, monkeypatch):
    found = Catalogue(folder)
    describe = module._describe

    def during(change):
        def described(name, place):
            value = describe(name, place)
            monkeypatch.setattr(module, "_describe", describe)
            change()
            return value

        monkeypatch.setattr(module, "_describe", described)

    during(lambda: found.drop("free"))
    with pytest.raises(InputError, match="knows no task 'free'"):
        found.task("free")
    assert found.described("free") is None

    def replace():
        shutil.rmtree(folder / "words")
        shutil.copytree(folder / "mood" / "first", folder / "words")
        found.take(found.read("words"))

    before = found.task("mood/first").version
    during(replace)
    assert found.task("words").version == found.described("words").version == before


def test_what_is_taken_or_dropped_while_the_folder_is_looked_at_stays_so(folder, monkeypatch):
    found = Catalogue(folder)
    folders = found._folders

    def slow():
        listed = folders()
        shutil.copytree(folder / "words", folder / "new")
        found.take(found.read("new"))
        found.drop("free")
        return listed

    monkeypatch.setattr(found, "_folders", slow)
    found.find()
    assert "new" in found
    assert "free" not in found
    monkeypatch.undo()
    found.find()
    assert "new" in found
    assert "free" not in found


def test_while_the_folder_is_looked_at_all_adapters_are_known(folder):
    found, done, missed = Catalogue(folder), threading.Event(), []

    def ask():
        while not done.is_set():
            try:
                found.place("first")
            except (InputError, KeyError, RuntimeError) as error:
                missed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(100):
        found._replace(dict(found._seen))
    done.set()
    asking.join()
    assert not missed


def test_one_adapter_by_itself_is_looked_at_again_too(folder):
    found = Catalogue(folder / "words")
    assert [*found] == ["words"]
    before = found.task("words").version
    shutil.rmtree(folder / "words")
    shutil.copytree(folder / "mood" / "first", folder / "words")
    found.find()
    assert found.task("words").version != before

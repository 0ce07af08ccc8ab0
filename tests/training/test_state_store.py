"""The store of states: memory, files, and what is wrong with them."""

from pathlib import Path

import pytest
import torch

from hyperadapters.training.state_store import _StateStore


def states(number: int, length: int = 3) -> torch.Tensor:
    return torch.randn(2, length, 4, generator=torch.Generator().manual_seed(number))


def filled(root: Path | None, rows: int = 5, **options: int) -> _StateStore:
    store = _StateStore(root, {"backbone": "a"}, torch.float32, **options)
    for number in range(rows):
        store.put(str(number), states(number, 1 + number))
    store.write()
    return store


def again(root: Path, of: str = "a", dtype: torch.dtype = torch.float32) -> _StateStore:
    store = _StateStore(root, {"backbone": of}, dtype)
    store.read()
    return store


def test_what_was_put_is_read_by_another_store(tmp_path: Path) -> None:
    filled(tmp_path)
    found = again(tmp_path).get([str(number) for number in (3, 0, 4)])
    assert found is not None
    for number, own in zip((3, 0, 4), found, strict=True):
        assert torch.equal(own, states(number, 1 + number))


def test_rows_that_are_not_there_are_none(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.get(["1", "nosuch"]) is None
    assert "nosuch" not in store


def test_files_are_written_whenever_memory_is_full(tmp_path: Path) -> None:
    store = filled(tmp_path, rows=6, bound=100)
    assert store.folder is not None
    assert len(list(store.folder.glob("*.safetensors"))) > 1
    assert len(again(tmp_path)) == 6


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = filled(None, bound=1)
    assert len(store) == 5
    assert not list(tmp_path.iterdir())


def test_another_backbone_and_another_type_have_folders_of_their_own(tmp_path: Path) -> None:
    filled(tmp_path)
    assert len(again(tmp_path, of="b")) == 0
    assert len(again(tmp_path, dtype=torch.bfloat16)) == 0


def test_a_foreign_file_is_reported_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, other = filled(tmp_path / "one"), _StateStore(tmp_path / "two", {"backbone": "b"}, torch.float32)
    assert store.folder is not None
    assert other.folder is not None
    (file,) = store.folder.glob("*.safetensors")
    other.folder.mkdir(parents=True)
    copied = other.folder / file.name
    copied.write_bytes(file.read_bytes())
    other.read()
    assert len(other) == 0
    assert "of another backbone" in " ".join(capsys.readouterr().err.split())
    assert copied.exists()


@pytest.mark.parametrize("damage", ["cut", "bit", "text"])
def test_a_damaged_file_is_reported_and_removed(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path)
    assert store.folder is not None
    (file,) = store.folder.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes({"cut": bytes(content[:-9]), "bit": bytes(content), "text": b"no tensors"}[damage])
    found = again(tmp_path)
    assert len(found) == 0
    assert not file.exists()
    assert "computed again" in " ".join(capsys.readouterr().err.split())


def test_a_full_folder_is_reported_once_and_no_row_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = filled(tmp_path, rows=8, bound=200, most=500)
    assert store.is_full
    assert " ".join(capsys.readouterr().err.split()).count("no room") == 1
    kept = [number for number in range(8) if str(number) in store]
    assert 0 < len(kept) < 8
    for number in kept:
        (own,) = store.get([str(number)]) or []
        assert torch.equal(own, states(number, 1 + number))


def test_states_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    store = _StateStore(tmp_path, {}, torch.float32)
    store.put("bad", states(0) / 0)
    assert "bad" not in store
    store.write()
    assert not list(tmp_path.rglob("*.safetensors"))

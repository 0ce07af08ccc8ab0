"""Files that are whole or not there: what a kill or a full disk leaves, who may read them, what checksums tell."""

import contextlib
import hashlib
import json
import os
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperadapters import InputError
from hyperadapters._utils import CannotWriteError
from hyperadapters._utils.files import open_output, replacing, write_bytes, write_text
from hyperadapters._utils.json_files import read_json, write_json
from hyperadapters._utils.output_folders import alone_in, check_output, make_output
from hyperadapters._utils.tensor_files import read_tensors, write_tensors

TENSORS = {"half": torch.ones(3, dtype=torch.bfloat16), "a": torch.randn(2, 3), "count": torch.tensor(4.0)}
BYTES = {"states": torch.arange(5, dtype=torch.uint8), "none": torch.zeros(0, 4)}


@contextlib.contextmanager
def full_disk(room):
    """No file can grow beyond `room` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_with_only_what_a_kill_left_half_written_is_as_good_as_empty(tmp_path):
    (tmp_path / "experiment.json.tmp").write_text("{")
    check_output(tmp_path, resume=False)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"is not empty \(thesis.tex\)"):
        check_output(tmp_path, resume=False)


def test_of_two_writers_of_a_file_each_writes_a_whole_one_and_the_last_one_stays(tmp_path):
    path = tmp_path / "a.bin"
    with replacing(path) as first:
        first.write(b"A" * 20000)
        with replacing(path) as second:
            second.write(b"B" * 12000)
        assert path.read_bytes() == b"B" * 12000
    assert path.read_bytes() == b"A" * 20000
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_half_written_is_removed_by_the_next_process_in_the_folder(tmp_path):
    with contextlib.suppress(ZeroDivisionError), alone_in(tmp_path):
        (tmp_path / ".0123456789abcdef.tmp").touch()
        raise ZeroDivisionError
    with alone_in(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_link_beside_a_file_is_not_written_through(tmp_path):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "a.json.tmp").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "a.json", "{}")
    assert (tmp_path / "theirs").read_text() == "kept"
    assert not (tmp_path / "a.json").is_symlink()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_tensors_may_be_read_by_those_who_may_read_the_rest(mask, tmp_path):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    finally:
        os.umask(before)
    modes = {oct(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {oct(0o100666 & ~mask)}


WRITERS = {
    "bytes": lambda path, size: write_bytes(path, b"x" * size),
    "text": lambda path, size: write_text(path, "x" * size),
    "JSON": lambda path, size: write_json(path, {"text": "x" * size}),
    "tensors": lambda path, size: write_tensors(path, {"a": torch.zeros(size)}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_told_in_one_line_and_leaves_what_was_there(write, tmp_path):
    path = tmp_path / "file"
    write(path, 10)
    before = path.read_bytes()
    with (
        full_disk(room=4096),
        pytest.raises(CannotWriteError, match="file cannot be written: File too large. Make room"),
    ):
        write(path, 100_000)
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == before


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_place_that_is_no_folder_is_told_in_one_line(write, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match="cannot be written: (Not a directory|File exists)"):
        write(tmp_path / "file" / "inside", 10)


def _copy(source, opened, path):
    with opened(path) as file:
        file.write(b"half")
        file.write(source.read_bytes())


@pytest.mark.parametrize("opened", [replacing, open_output])
def test_what_cannot_be_read_meanwhile_is_not_blamed_on_the_output(opened, tmp_path):
    (tmp_path / "out").write_text("before")
    with pytest.raises(FileNotFoundError, match="rows.jsonl"):
        _copy(tmp_path / "rows.jsonl", opened, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "before"


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match="file cannot be written: File exists"):
        make_output(tmp_path / "file")


def test_devices_pipes_and_folders_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder"):
        with pytest.raises(CannotWriteError, match="it is no regular file"):
            write_text(path, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_what_a_link_points_to_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "x"


def test_tensors_are_read_to_the_bit_by_us_and_by_the_library(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {**TENSORS, **BYTES}, {"state": "ü"})
    found = read_tensors(path)
    for tensors in (found.tensors, load_file(path)):
        assert tensors.keys() == {*TENSORS, *BYTES}
        assert all(torch.equal(tensors[name], tensor) for name, tensor in {**TENSORS, **BYTES}.items())
        assert {name: tensor.dtype for name, tensor in tensors.items()}["half"] == torch.bfloat16
    assert found.metadata["state"] == "ü"
    assert found.metadata["format"] == "pt"


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    digests = set()
    for number in range(8):
        write_tensors(tmp_path / str(number), TENSORS, {str(i): "x" for i in range(6)})
        digests.add(hashlib.sha256((tmp_path / str(number)).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_every_flipped_bit_of_tensors_and_header_is_noticed(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {**TENSORS, **BYTES}, {"state": "{}"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            found = read_tensors(path)  # as after a space of the padding becomes a tab, if anything
            assert all(torch.equal(found.tensors[name], tensor) for name, tensor in {**TENSORS, **BYTES}.items())
            assert found.metadata["state"] == "{}"


def test_a_file_that_another_wrote_has_no_checksum(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="has no checksum, so hyperadapters did not write it"):
        read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_not_written(value, tmp_path):
    path = tmp_path / "new" / "t.safetensors"
    with pytest.raises(InputError, match="not written: NaN or infinity in a.*smaller learning rate"):
        write_tensors(path, {**TENSORS, "a": torch.tensor([1.0, value])})
    assert not path.parent.exists()


def test_infinities_of_both_signs_are_noticed_and_large_numbers_are_none(tmp_path):
    with pytest.raises(InputError, match="NaN or infinity in a"):
        write_tensors(tmp_path / "t.safetensors", {"a": torch.tensor([float("inf"), 1.0, -float("inf")])})
    large = torch.full((100,), torch.finfo(torch.float16).max, dtype=torch.float16)
    write_tensors(tmp_path / "t.safetensors", {"a": large})
    assert read_tensors(tmp_path / "t.safetensors").tensors["a"].equal(large)


@pytest.mark.parametrize("length", [2**16 - 12, 2**16, 2**20])
def test_long_json_is_read_whole(length, tmp_path):
    write_json(tmp_path / "a.json", {"a": "x" * length})
    assert read_json(tmp_path / "a.json") == {"a": "x" * length}


def test_json_is_the_same_however_it_is_spaced_and_ordered(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": (1, 2.50), "a": {2: None, "1": "ü", "path": "\udcff"}})
    values = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(values.items())), indent=7))
    assert read_json(path) == {"b": [1, 2.5], "a": {"2": None, "1": "ü", "path": "\udcff"}}


def test_json_that_was_changed_is_refused_unless_its_checksum_is_gone(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"lr": 0.25})
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.raises(InputError, match="a.json was changed after it was written.*remove its checksum"):
        read_json(path)
    path.write_text('{"lr": 0.75}')
    assert read_json(path) == {"lr": 0.75}

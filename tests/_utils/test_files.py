"""Files that are whole or not there: what a kill leaves, and who may read them."""

import os

import pytest
import torch

from hyperadapters import InputError
from hyperadapters._utils.files import check_output, write_json, write_tensors


def test_a_folder_with_only_what_a_kill_left_half_written_is_as_good_as_empty(tmp_path):
    (tmp_path / "experiment.json.tmp").write_text("{")
    check_output(tmp_path, resume=False)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"is not empty \(thesis.tex\)"):
        check_output(tmp_path, resume=False)


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

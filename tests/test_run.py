"""Whole runs: one process at a time in a folder, and nothing left behind by what is refused."""

import pytest
from filelock import FileLock

from hyperadapters import InputError, run
from hyperadapters.files import LOCK
from hyperadapters.run import RESULT
from test_precision import small  # noqa: F401 (a fixture)


def test_a_folder_that_another_process_is_at_work_in_is_left_to_it(small, tmp_path):  # noqa: F811
    folder = tmp_path / "out"
    folder.mkdir()
    with FileLock(folder / LOCK), pytest.raises(InputError, match="another process is at work in"):
        run(small, folder, quiet=True)
    assert [path.name for path in folder.iterdir()] == [LOCK]  # as one that was killed leaves it
    run(small, folder, quiet=True)
    assert (folder / RESULT).exists()
    assert not (folder / LOCK).exists()

"""Sources of a benchmark's rows: official folders, the Hugging Face Hub or a copy of it; and generated rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, UnavailableError, check_extra
from hyperadapters.tasks.hub_rows import _why_not_on_hub
from hyperadapters.tasks.readers import _read_rows, _read_unfolded, _Record, _Unfold
from hyperadapters.tasks.splits import _Splits
from hyperadapters.tasks.task import _Source


@dataclass(frozen=True)
class _Hub:
    """A data set on the Hugging Face Hub."""

    repository: str
    configuration: str
    splits: Mapping[str, str]
    """The Hub's name of each split, by ours."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The Hub's name of each column, by ours, where they differ."""
    unfold: _Unfold | None = None
    """Makes rows of one of the Hub's records, where these are not rows already."""

    def read(self, columns: Mapping[str, str | int], copy: Path | None = None) -> _Splits:
        """Read rows through `datasets`: downloaded, from its cache, or from a folder with the Hub's Parquet files."""
        check_extra("data", f"the data set {self.repository} of the Hub")
        import datasets  # noqa: PLC0415 (only where a Hub data set is asked for)

        if copy is None:
            self.check()
        try:
            if copy:
                found = datasets.load_dataset("parquet", data_files=self.parquet_files(copy))
            else:
                found = datasets.load_dataset(self.repository, self.configuration)
        except (OSError, ValueError, RuntimeError) as error:
            place = str(copy or "the Hugging Face Hub or its local cache")
            raise self._unreadable(place, str(error).splitlines()[0]) from error
        return {
            ours: [
                _Record(values, f"{theirs}:{number}")
                for number, record in enumerate(found[theirs])
                for values in self._rows(record, columns)
            ]
            for ours, theirs in self.splits.items()
        }

    def check(self) -> None:
        """Raise UnavailableError unless the Hub has the data set, or an earlier run has left it in the local cache."""
        check_extra("data", f"the data set {self.repository} of the Hub")
        if reason := _why_not_on_hub(self.repository):
            raise self._unreadable("the Hugging Face Hub or its local cache", reason)

    def _unreadable(self, place: str, reason: str) -> UnavailableError:
        return UnavailableError(
            f"data set {self.repository} ({self.configuration}) could not be read from {place}: {reason}. "
            "Connect to the network, or give --data a folder with the official files."
        )

    def _rows(self, record: Mapping[str, Any], columns: Mapping[str, str | int]) -> list[dict[str, str]]:
        """Return the rows of one record."""
        if self.unfold:
            return list(self.unfold(record))
        return [{name: str(record[self.renamed.get(name, name)]) for name in columns}]

    def copy_in(self, data: Path) -> Path | None:
        """Return the copy of the repository that a folder is or holds (`configuration/split-*.parquet`), if any."""
        for folder in (data, data / self.repository.split("/")[-1]):
            if any((folder / self.configuration).glob("*.parquet")):
                return folder
        return None

    def parquet_files(self, copy: Path) -> dict[str, list[str]]:
        """Return the files of each split in a copy.

        Raises:
            InputError: a split has none.
        """
        folder = copy / self.configuration
        files = {split: sorted(map(str, folder.glob(f"{split}-*.parquet"))) for split in self.splits.values()}
        missing = [f"{split}-*.parquet" for split, found in files.items() if not found]
        if missing:
            raise UnavailableError(f"{folder.resolve()} lacks {', '.join(missing)} of {self.repository}.")
        return files


@dataclass(frozen=True, kw_only=True)
class _Official(_Source):
    """The files a benchmark was published as, or the same from the Hub where no folder is given."""

    benchmark: str = ""
    """Name of the benchmark's folder."""
    folder: str
    """Name of the task's folder inside the benchmark's."""
    files: Mapping[str, str]
    """The file of each split, by our name."""
    columns: Mapping[str, str | int]
    """The files' column of each of ours: its name or, without a header, its number."""
    hub: _Hub | None = None
    """The same rows on the Hub, if they are there."""
    header: bool = True
    whole_rows_only: bool = False
    """Skip rows that lack cells: the official QQP has some."""
    unfold: _Unfold | None = None
    """Makes rows of one record of a file, where these are not rows already."""

    def read(self, data: Path | None) -> _Splits:
        if data is None:
            if self.hub is None:
                raise self._nowhere()
            return self.hub.read(self.columns)
        copy = self.hub.copy_in(data) if self.hub else None
        if self.hub and copy:
            return self.hub.read(self.columns, copy)
        folder = self._find(data)
        return {split: self._read_file(folder / name) for split, name in self.files.items()}

    def dataset(self) -> dict[str, str]:
        return {"type": self.hub.repository, "config": self.hub.configuration} if self.hub else {}

    def check(self, data: Path | None) -> None:
        if data is None and self.hub:
            self.hub.check()
        elif data is None:
            raise self._nowhere()
        else:
            self.paths(data)

    def _nowhere(self) -> InputError:
        return InputError(f"these rows are in no data set of the Hub: give --data a folder with {self.folder}.")

    def paths(self, data: Path | None) -> dict[str, list[Path]]:
        if data is None:
            return {}
        copy = self.hub.copy_in(data) if self.hub else None
        if self.hub and copy:
            return {split: [*map(Path, found)] for split, found in self.hub.parquet_files(copy).items()}
        folder = self._find(data)
        return {split: [folder / name] for split, name in self.files.items()}

    def _find(self, data: Path) -> Path:
        """Return the folder that holds the files: the one given, the task's in it, or that in the benchmark's.

        Raises:
            InputError: none of them has all files.
        """
        folders = [data / self.benchmark / self.folder, data / self.folder, data]
        for folder in folders:
            if all((folder / name).is_file() for name in self.files.values()):
                return folder
        nearest = next((folder for folder in folders if folder.is_dir()), data)
        missing = [name for name in self.files.values() if not (nearest / name).is_file()]
        raise UnavailableError(
            f"{nearest.resolve()} lacks {', '.join(missing)}. Expected the official {self.folder} folder "
            f"({', '.join(self.files.values())}), or a folder that holds it."
        )

    def _read_file(self, path: Path) -> list[_Record]:
        """Return the rows of one file."""
        if self.unfold:
            return _read_unfolded(path, self.unfold, header=self.header)
        return _read_rows(path, self.columns, header=self.header, whole_rows_only=self.whole_rows_only)


@dataclass(frozen=True)
class _Generated(_Source):
    """Rows that the package makes itself."""

    make: Callable[[], _Splits]
    has_files = False

    def read(self, data: Path | None) -> _Splits:
        return self.make()

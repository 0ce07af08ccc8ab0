"""Sources of rows: official folders, the Hugging Face Hub or a copy of it, and a user's own files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError
from hyperadapters.tasks.readers import Record, Unfold, read_rows, read_unfolded
from hyperadapters.tasks.task import Source, Splits


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face Hub."""

    repository: str
    configuration: str
    splits: Mapping[str, str]
    """Our name of a split -> the Hub's."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Our column -> the Hub's, where they differ."""
    unfold: Unfold | None = None
    """Makes rows from one of the Hub's records, where columns alone do not."""

    def read(self, columns: Mapping[str, str | int], copy: Path | None = None) -> Splits:
        """Download, or take from the cache or from a folder with the Hub's Parquet files, through `datasets`."""
        import datasets  # noqa: PLC0415 (only where a Hub data set is asked for)

        try:
            if copy:
                found = datasets.load_dataset("parquet", data_files=self.parquet_files(copy))
            else:
                found = datasets.load_dataset(self.repository, self.configuration)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"data set {self.repository} ({self.configuration}) could not be had from "
                f"{copy or 'the Hugging Face Hub or its local cache'}: {str(error).splitlines()[0]}. "
                "Connect to the network, or give --data a folder with the official files."
            ) from error
        return {
            ours: [
                Record(values, f"{theirs}:{number}")
                for number, record in enumerate(found[theirs])
                for values in self.rows(record, columns)
            ]
            for ours, theirs in self.splits.items()
        }

    def rows(self, record: Mapping[str, Any], columns: Mapping[str, str | int]) -> list[dict[str, str]]:
        """The rows of one record."""
        if self.unfold:
            return list(self.unfold(record))
        return [{name: str(record[self.renamed.get(name, name)]) for name in columns}]

    def copy_in(self, data: Path) -> Path | None:
        """The copy of the repository that a folder is or holds, if it does: `configuration/split-*.parquet`."""
        for folder in (data, data / self.repository.split("/")[-1]):
            if any((folder / self.configuration).glob("*.parquet")):
                return folder
        return None

    def parquet_files(self, copy: Path) -> dict[str, list[str]]:
        """The files of each split.

        Raises:
            InputError: a split has none.
        """
        folder = copy / self.configuration
        files = {split: sorted(map(str, folder.glob(f"{split}-*.parquet"))) for split in self.splits.values()}
        missing = [f"{split}-*.parquet" for split, found in files.items() if not found]
        if missing:
            raise InputError(f"{folder.resolve()} lacks {', '.join(missing)} of {self.repository}.")
        return files


@dataclass(frozen=True, kw_only=True)
class Official(Source):
    """The files a benchmark was published as, or the same from the Hub where no folder is given."""

    benchmark: str = ""
    """Name of the benchmark's folder."""
    folder: str
    """Name of the task's folder inside the benchmark's."""
    files: Mapping[str, str]
    """Our name of a split -> file name."""
    columns: Mapping[str, str | int]
    """Our column -> the files' column, by name or, without a header, by number."""
    hub: Hub | None = None
    """The same on the Hub, where it is there."""
    header: bool = True
    whole_rows_only: bool = False
    """Skip rows that lack cells: the official QQP has some."""
    unfold: Unfold | None = None
    """Makes rows from one record of a file, where columns alone do not."""

    def read(self, data: Path | None) -> Splits:
        if data is None:
            if self.hub is None:
                raise InputError(f"these rows are in no data set of the Hub: give --data a folder with {self.folder}.")
            return self.hub.read(self.columns)
        copy = self.hub.copy_in(data) if self.hub else None
        if self.hub and copy:
            return self.hub.read(self.columns, copy)
        folder = self.find(data)
        return {split: self.read_file(folder / name) for split, name in self.files.items()}

    def find(self, data: Path) -> Path:
        """The folder that holds the files: the one given, the task's in it, or the benchmark's and the task's.

        Raises:
            InputError: none of them has all files.
        """
        folders = [data / self.benchmark / self.folder, data / self.folder, data]
        for folder in folders:
            if all((folder / name).is_file() for name in self.files.values()):
                return folder
        nearest = next((folder for folder in folders if folder.is_dir()), data)
        missing = [name for name in self.files.values() if not (nearest / name).is_file()]
        raise InputError(
            f"{nearest.resolve()} lacks {', '.join(missing)}. Expected the official {self.folder} folder "
            f"({', '.join(self.files.values())}), or a folder that holds it."
        )

    def read_file(self, path: Path) -> list[Record]:
        """The rows of one file."""
        if self.unfold:
            return read_unfolded(path, self.unfold, header=self.header)
        return read_rows(path, self.columns, header=self.header, whole_rows_only=self.whole_rows_only)


@dataclass(frozen=True)
class OwnFiles(Source):
    """A user's own files, one for each split."""

    files: Mapping[str, Path] = field(default_factory=dict)
    columns: Mapping[str, str | int] = field(default_factory=dict)

    def read(self, data: Path | None) -> Splits:
        return {split: read_rows(path, self.columns) for split, path in self.files.items()}


@dataclass(frozen=True)
class Generated(Source):
    """Rows that the package makes itself."""

    make: Callable[[], Splits]

    def read(self, data: Path | None) -> Splits:
        return self.make()

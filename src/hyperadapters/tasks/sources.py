"""Sources of rows: official folders, the Hugging Face Hub, and a user's own files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperadapters.errors import InputError
from hyperadapters.tables import Row, read_rows
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

    def read(self, columns: Mapping[str, str | int]) -> Splits:
        """Download, or take from the cache, through `datasets`."""
        import datasets  # noqa: PLC0415 (only where a Hub data set is asked for)

        try:
            found = datasets.load_dataset(self.repository, self.configuration)
        except (OSError, ValueError) as error:
            raise InputError(
                f"data set {self.repository} ({self.configuration}) could not be had from the Hugging Face Hub or its "
                f"local cache: {str(error).splitlines()[0]}. Connect to the network, or give --data a folder with the "
                "official files."
            ) from error
        return {
            ours: [
                Row({name: str(record[self.renamed.get(name, name)]) for name in columns}, f"{theirs}:{number}")
                for number, record in enumerate(found[theirs])
            ]
            for ours, theirs in self.splits.items()
        }


@dataclass(frozen=True)
class Official(Source):
    """The files a benchmark was published as, or the same from the Hub where no folder is given."""

    folder: str
    """Name of the task's folder inside the benchmark's."""
    files: Mapping[str, str]
    """Our name of a split -> file name."""
    columns: Mapping[str, str | int]
    """Our column -> the files' column, by name or, without a header, by number."""
    hub: Hub
    header: bool = True

    def read(self, data: Path | None) -> Splits:
        if data is None:
            return self.hub.read(self.columns)
        folder = data / self.folder if (data / self.folder).is_dir() else data
        missing = [name for name in self.files.values() if not (folder / name).is_file()]
        if missing:
            raise InputError(
                f"{folder.resolve()} lacks {', '.join(missing)}. Expected the official {self.folder} folder "
                f"({', '.join(self.files.values())}), or a folder that holds it."
            )
        return {split: read_rows(folder / name, self.columns, header=self.header) for split, name in self.files.items()}


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

"""The source of a user's own rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperadapters._utils import listed, short_names
from hyperadapters.tasks.hub_rows import _hub_records, _parse_hub_place
from hyperadapters.tasks.list_cells import _is_list
from hyperadapters.tasks.notices import _say_once
from hyperadapters.tasks.own_places import files_at, is_on_hub, share_of
from hyperadapters.tasks.readers import _Located, _located, _Record, _rows, _Unfold, _unfolded
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.splits import _as_given, _hold_out, _Split, _Splits
from hyperadapters.tasks.task import _Source
from hyperadapters.tasks.text_lines import _Problems


@dataclass(frozen=True, kw_only=True)
class _OwnRows(_Source):
    """A user's own rows: files, or data sets of the Hub, for each split."""

    places: Mapping[str, str | Path]
    """Where the rows of each split are (`own_places`); a share of the training rows is no place."""
    reading: Reading = AS_USUAL
    columns: Mapping[str, str | int] = field(default_factory=dict)
    """The file's column for each of ours."""
    lists: Mapping[str, str] = field(default_factory=dict)
    """Those of our columns that hold lists of texts; for each, what stands between them where they are no lists."""
    unfold: _Unfold | None = None
    """Makes rows of one record, where these are not rows already."""
    unfit: Callable[[Mapping[str, Any]], str] = lambda _: ""
    """Says, in words, why the values of a whole row do not go together; empty: they do. Asked where bad rows are left
    out: elsewhere the answers are checked all at once, with what to do about them."""
    _bad: dict[str, int] = field(default_factory=dict, init=False, compare=False, repr=False)
    """How many bad rows of each split were left out when they were last read."""

    def read(self, data: Path | None) -> _Splits:
        return {split: self.rows(split) for split in self.places}

    def left_out(self) -> dict[str, int]:
        return dict(self._bad)

    def dataset(self) -> dict[str, str]:
        place = self.places.get("train", "")
        if not is_on_hub(place):
            return {}
        found = _parse_hub_place(str(place), "train")
        return {"type": found.repository, **({"config": found.configuration} if found.configuration else {})}

    def rows(self, split: str) -> list[_Record]:
        """Return the rows of one split.

        Raises:
            InputError: as for `_read_rows`; with `reading.skip_bad_rows`, bad rows are left out and said instead.
        """
        place, rows = self.places[split], list[_Record]()
        problems = _Problems(options=True)
        for source, records in _sources(place, split, problems, self.reading):
            if self.unfold:
                rows += _unfolded(records, self.unfold, problems)
            else:
                rows += _rows(records, self.columns, problems, source, lists=self.lists)
        rows = rows if self.unfold else [row for row in rows if len(row.values) == len(self.columns)]
        if self.reading.skip_bad_rows:
            found = [(row, self.unfit(row.values)) for row in rows]
            for row, what in found:
                if what:
                    problems.add(row.place, what)
            rows = [row for row, what in found if not what]
        self._bad[split] = len(problems.places)
        if not self.reading.skip_bad_rows:
            problems.raise_any(str(place))
        elif problems.found:
            _say_once(f"{place}: left out {len(problems.places)} bad row(s):\n  {listed(problems.found)}")
        return rows

    def first_columns(self, split: str = "train") -> list[str]:
        """Return the columns of the first row of a split; none where there is no row.

        Raises:
            InputError: no such file, or its first line is bad.
        """
        return [str(column) for column in self._first_record(split)]

    def starts_with_list(self, column: str) -> bool:
        """Return whether a column of the first training row is a list.

        Raises:
            InputError: no such file, or its first line is bad.
        """
        return _is_list(self._first_record("train").get(column))

    def _first_record(self, split: str) -> Mapping[Any, Any]:
        problems = _Problems(options=True)
        _, records = next(_sources(self.places[split], split, problems, self.reading))
        _, record = next(iter(records), ("", dict[str, Any]()))
        if not record:
            problems.raise_any(str(self.places[split]))
        return record


def holds_lists(files: Mapping[str, str | Path], column: str, reading: Reading = AS_USUAL) -> bool:
    """Return whether a column of a user's own training rows holds lists, as the first row has it.

    Args:
        files: as for `own_task`.
        column: its name.
        reading: how the files are read.

    Raises:
        InputError: no such file, or its first line is bad.
    """
    return _OwnRows(places={"train": files["train"]}, reading=reading).starts_with_list(column)


def _sources(place: str | Path, split: str, problems: _Problems, reading: Reading) -> Iterator[tuple[str, _Located]]:
    """Yield every file of a place, or the data set that it is, by its name, with its records.

    Raises:
        InputError: there is no such file, or what reading it raises.
    """
    if is_on_hub(place):
        yield str(place), _hub_records(str(place), split)
        return
    paths = files_at(place)
    names = short_names([path.as_posix() for path in paths])
    for path in paths:
        yield str(path), _located(path, problems, reading, name=names[path.as_posix()])


def _places_and_split(
    files: Mapping[str, str | Path], seed: int, answer: str = "", alike: Sequence[str] = ()
) -> tuple[dict[str, str | Path], _Split]:
    """Return where rows are, and how train and validation become of them.

    Args:
        files: of each split; of validation perhaps a share of the training rows.
        seed: draws that share.
        answer: the column whose classes the share has in proportion; empty: any rows.
        alike: columns of which rows that hold the same stay together, in the share or outside.

    Raises:
        InputError: a share is not between 0 and 100 %.
    """
    share = share_of(files["validation"])
    if share is None:
        return dict(files), _as_given
    return {split: place for split, place in files.items() if split != "validation"}, _hold_out(
        share, seed, answer, alike
    )

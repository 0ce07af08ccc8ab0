"""A store of states that were computed once: in memory up to a bound, then in files that are mapped into memory.

A folder holds the states of one backbone's layers (`_StateStore.folder`), in files of some hundred megabytes, each
written whole or not at all and with a checksum. Several processes may write into one folder; each reads what is there.
"""

import hashlib
import json
import shutil
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hyperadapters._utils import CannotWriteError, InputError, console, make_folder, read_tensors, write_tensors
from hyperadapters.backbones import RowStates

_BOUND = 256 * 2**20
"""Bytes that are kept in memory before they are written to a file."""

_MOST = 32 * 2**30
"""Bytes that the files of one folder take at most."""

_LEFT = 2**30
"""Bytes of the disk that are left free."""


class _StateStore:
    """States of rows by their keys.

    Args:
        root: the folder below which files are written, in a folder named by `of`; None: all stay in memory.
        of: what the states depend on besides the rows' tokens, as JSON; files that say something else are not read.
        dtype: in which they are kept.
        bound: bytes in memory before a file is written.
        most: bytes of the folder's files at most; rows beyond them are not kept.
    """

    def __init__(
        self,
        root: Path | None,
        of: Mapping[str, Any],
        dtype: torch.dtype,
        *,
        bound: int = _BOUND,
        most: int = _MOST,
    ) -> None:
        self._of = json.dumps([of, str(dtype)], sort_keys=True)
        self._dtype, self._bound, self._most = dtype, bound, most
        self.folder = None if root is None else root / hashlib.sha256(self._of.encode()).hexdigest()[:16]
        """Where its files are."""
        self.is_full = False
        """Whether states were not kept because there was no room."""
        self._kept: dict[str, RowStates] = {}
        self._unwritten: dict[str, RowStates] = {}
        self._size = 0
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, keys: Sequence[str]) -> list[RowStates] | None:
        """Return the states of rows, in the store's type; None if some are not there.

        Args:
            keys: of the rows.
        """
        if not all(key in self._kept for key in keys):
            return None
        return [self._kept[key] for key in keys]

    def put(self, key: str, states: RowStates) -> None:
        """Keep the states of a row, unless there is no room or they are not finite.

        Args:
            key: of the row.
            states: of the layers that are kept.
        """
        own = states.detach().to("cpu", self._dtype).contiguous()
        if self.is_full or key in self._kept or not own.isfinite().all():
            return
        self._kept[key] = self._unwritten[key] = own
        self._size += own.nbytes
        if self._size >= self._bound:
            self.write()

    def write(self) -> None:
        """Write what is in memory to a file, from which it is read from then on; without a folder, do nothing.

        Where the disk or the folder's share of it is full, the rows stay in memory, no more are kept, and a line says
        so.
        """
        if self.folder is None or self.is_full or not self._unwritten:
            return
        make_folder(self.folder)
        taken = sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))
        if taken + self._size > self._most or shutil.disk_usage(self.folder).free < self._size + _LEFT:
            self._fill_up(f"{self.folder} has no room for more states")
            return
        together: dict[int, dict[str, RowStates]] = defaultdict(dict)  # a decoder may keep more layers than its encoder
        for key, states in self._unwritten.items():
            together[len(states)][key] = states
        self._unwritten, self._size = {}, 0
        for rows in together.values():
            self._write_file(self.folder / f"{uuid.uuid4().hex}.safetensors", rows)

    def _write_file(self, path: Path, rows: Mapping[str, RowStates]) -> None:
        """Write rows of which as many layers are kept to a file, and read them from it from then on."""
        lengths = {key: states.shape[1] for key, states in rows.items()}
        tokens = torch.cat([states.movedim(1, 0) for states in rows.values()])
        try:
            write_tensors(path, {"states": tokens}, {"of": self._of, "rows": json.dumps(lengths)})
        except CannotWriteError as error:
            self._fill_up(str(error))
            return
        self._take_in(path)

    def _fill_up(self, reason: str) -> None:
        self.is_full = True
        console.print(f"{reason}: the layers of further rows are computed in every pass.")

    def read(self) -> None:
        """Take in the files that are in the folder and were not read before; a damaged or foreign one is reported."""
        for path in sorted(self.folder.glob("*.safetensors")) if self.folder else ():
            if path.name not in self._read:
                self._take_in(path)

    def _take_in(self, path: Path) -> None:
        """Map a file into memory; a damaged one is removed, so that its rows are computed again."""
        self._read.add(path.name)
        try:
            found = self._parse(path)
        except InputError as error:
            console.print(f"states are computed again: {error}")
            path.unlink(missing_ok=True)
            return
        if found is None:
            console.print(f"{path} holds states of another backbone or of other layers; it is not read.")
            return
        self._kept |= found

    def _parse(self, path: Path) -> dict[str, RowStates] | None:
        """Return the rows of a file; None if they are of another backbone.

        Raises:
            InputError: the file is damaged.
        """
        tensors, metadata = read_tensors(path)
        if metadata.get("of") != self._of:
            return None
        try:
            lengths = {str(key): int(length) for key, length in json.loads(metadata["rows"]).items()}
            states = tensors["states"]
            pieces = torch.split(states, [*lengths.values()]) if states.dim() == 3 else None
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError):
            pieces = None
        if pieces is None or states.dtype != self._dtype:
            raise InputError(f"{path} is damaged: it does not hold the rows that it names.")
        return {key: piece.movedim(0, 1) for key, piece in zip(lengths, pieces, strict=True)}

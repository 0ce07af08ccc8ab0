"""Answers to a whole file of rows, written as a stream."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from hyperadapters._utils import SECONDS_BETWEEN_LINES, console, files


class _FileAnswerer(Protocol):
    """What answers the rows of a file: a `Predictor` or a `FolderPredictor`."""

    def file(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the rows in order, each with its `prediction`."""


def write_predictions(predictor: _FileAnswerer, source: Path, output: Path) -> int:
    """Answer a file row by row into JSONL, which appears at `output` when it is whole; return the number of rows."""
    count, shown = 0, time.monotonic()
    with files.replacing(output) as file:
        for row in predictor.file(source):
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode(errors="backslashreplace"))
            count += 1
            if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                console.print(f"predict  {count:,} rows")
                shown = time.monotonic()
    return count

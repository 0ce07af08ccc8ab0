"""Answers to a whole file of rows, written as a stream."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from hyperadapters._utils import SECONDS_BETWEEN_LINES, console


class _FileAnswerer(Protocol):
    """What answers the rows of a file: a `Predictor` or a `FolderPredictor`."""

    def file(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the rows in order, each with its `prediction`."""


def write_predictions(predictor: _FileAnswerer, source: Path, output: Path) -> int:
    """Answer a file row by row into JSONL, which appears at `output` when it is whole; return the number of rows."""
    temporary = output.with_name(output.name + ".tmp")
    count, shown = 0, time.monotonic()
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for row in predictor.file(source):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
                if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                    console.print(f"predict  {count:,} rows")
                    shown = time.monotonic()
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return count

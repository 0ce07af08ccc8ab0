"""A client of the server that answers as the predictors of this process do."""

import json
import math
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from hyperadapters._utils import InputError, UnavailableError, expand_path, few_names
from hyperadapters.serving import (
    ROWS_AT_ONCE,
    Scored,
    answered_row,
    check_unanswered,
    file_of_all,
    rows_of_file,
    rows_of_texts,
)
from hyperadapters.tasks import AS_USUAL, Reading, TaskFormat, iterate_tasks

_ROWS_OF_A_REQUEST = 64
_ROWS_UNDER_WAY = 512
"""Rows that the server has at a time, about: out of so many it can make batches of like length."""

_REQUESTS_UNDER_WAY = 64
_FANS_UNDER_WAY = 4
"""Requests that all adapters answer: so much work each that a few of them fill the server."""
_SECONDS = 600
"""How long a request may take."""

_PATIENCE = 120.0
"""Seconds that a request is repeated for where the server has no room or is away."""


class _Connection:
    """A server, and what its adapters answer."""

    def __init__(self, url: str, api_key: str) -> None:
        """Ask nothing yet.

        Raises:
            InputError: the address is none.
        """
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InputError(f"--server {url}: give its address, such as http://localhost:8000.")
        self._url, self._key = url.rstrip("/"), api_key
        self._forms: dict[str, TaskFormat] = {}
        self.truncated = 0

    @property
    def limit(self) -> str:
        """The longest texts that are not cut, in words."""
        return "their tasks' limits of training"

    def form_of(self, adapter: str) -> TaskFormat:
        """Return the form of an adapter's task.

        Raises:
            InputError: there is no such adapter, or it has no task.
        """
        if adapter not in self._forms:
            found = self._ask(f"/v1/models/{quote(adapter)}")
            if found["answers"] == "embeddings":
                raise InputError(f"{adapter} has no task, and gives embeddings: POST {self._url}/embed.")
            self._forms[adapter] = TaskFormat.from_json(found["task"])
        return self._forms[adapter]

    def _ask(self, route: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer of a route; where the server has no room or is away for a moment, it is asked again.

        Raises:
            InputError: the server refuses the request.
            UnavailableError: it does not answer.
        """
        end = time.monotonic() + _PATIENCE
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self._key}"} if self._key else {})
        data = None if body is None else json.dumps(body).encode()
        while True:
            request = urllib.request.Request(self._url + route, data, headers)
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                    found: dict[str, Any] = json.loads(answer.read())
                    return found
            except urllib.error.HTTPError as error:
                wait = _seconds_to_wait(error)
                if wait is None or time.monotonic() + wait > end:
                    raise InputError(f"{self._url}: {_said(error)}") from error
            except (OSError, ValueError) as error:  # refused, broken off, or no JSON
                raise UnavailableError(f"{self._url} does not answer: {error}.") from error
            time.sleep(wait)


class ServerPredictor(_Connection):
    """Answers from adapters on a server, with the methods of `Predictor`."""

    def __init__(self, url: str, adapter: str = "", *, api_key: str = "") -> None:
        """Ask the server what the adapter answers.

        Args:
            url: where the server is, such as http://localhost:8000.
            adapter: one of its adapters; empty: every row names its own in the column `task`.
            api_key: the server's key, if it has one.

        Raises:
            InputError: the address is none, or the server has no such adapter.
            UnavailableError: the server does not answer.
        """
        super().__init__(url, api_key)
        self._adapter, self.counts = adapter, Counter[str]()
        if adapter:
            self.form_of(adapter)

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Return the answers to rows of the adapter, in order."""
        return [found["prediction"] for found in self._answers([(self._adapter, row) for row in rows], 0)]

    def probabilities(self, rows: Iterable[Mapping[str, Any]], top: int | None = None) -> list[dict[str, float]]:
        """Return the labels of rows with their probabilities, the likeliest first; `top` of each at most."""
        return [found["scores"] for found in self._answers([(self._adapter, row) for row in rows], top)]

    def scored(self, rows: Iterable[Mapping[str, Any]], top: int | None = None) -> list[Scored]:
        """Return the answers to rows, each with its likeliest labels and their probabilities; `top` of each at most."""
        found = self._answers([(self._adapter, row) for row in rows], top)
        return [Scored(**one) for one in found]

    def rows(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return rows made of bare texts, as `Predictor.rows` does."""
        return rows_of_texts(self.form_of(self._adapter), texts)

    def file(self, path: Path, *, top: int | None = 0, reading: Reading = AS_USUAL) -> Iterator[dict[str, Any]]:
        """Yield the rows of a file in order, with all their columns and a `prediction`, as `Predictor.file` does."""
        path = expand_path(path)
        rows = self._rows_of_file(path, reading)
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            for adapter, row in chunk:
                check_unanswered(row.given, row.place, scored=top != 0)
                self.counts[adapter] += 1
            found = self._answers([(adapter, row.values) for adapter, row in chunk], top)
            for (_, row), answer in zip(chunk, found, strict=True):
                yield answered_row(row.given, answer["prediction"] if top == 0 else Scored(**answer))

    def _rows_of_file(self, path: Path, reading: Reading) -> Iterator[tuple[str, Any]]:
        if self._adapter:
            return ((self._adapter, row) for row in rows_of_file(self.form_of(self._adapter), path, reading))
        return iterate_tasks(path, lambda adapter: self.form_of(adapter).fields, reading)

    def _answers(self, rows: Sequence[tuple[str, Mapping[str, Any]]], top: int | None) -> list[dict[str, Any]]:
        """Return what the server answers to rows of adapters, in order."""
        parts = _requests_of(rows)
        count = math.ceil(_ROWS_UNDER_WAY * len(parts) / max(1, len(rows)))
        with ThreadPoolExecutor(min(count, _REQUESTS_UNDER_WAY)) as pool:
            asked = [(adapter, [rows[i][1] for i in numbers], top) for adapter, numbers in parts]
            replies = list(pool.map(lambda each: self._predict(*each), asked))
        found: dict[int, dict[str, Any]] = {}
        for (_, numbers), reply in zip(parts, replies, strict=True):
            self.truncated += reply["truncated"]
            found |= dict(zip(numbers, reply["predictions"], strict=True))
        return [found[i] for i in range(len(rows))]

    def _predict(self, adapter: str, rows: list[Mapping[str, Any]], top: int | None) -> dict[str, Any]:
        return self._ask("/predict", {"model": adapter, "rows": rows, "top": top})


class ServerFan(_Connection):
    """Answers of several adapters on a server to each row, with the methods of `Fan`."""

    def __init__(self, url: str, adapter: str = "", *, api_key: str = "") -> None:
        """Ask the server which adapters there are.

        Args:
            url: where the server is, such as http://localhost:8000.
            adapter: the beginning of their names, such as a folder; empty: all of them.
            api_key: the server's key, if it has one.

        Raises:
            InputError: the address is none, or the server has no such adapter.
            UnavailableError: the server does not answer.
        """
        super().__init__(url, api_key)
        known = [found["id"] for found in self._ask("/v1/models")["data"]]
        start = f"{adapter}/" if adapter else ""
        self.tasks = tuple(name for name in known if name == adapter or name.startswith(start))
        if not self.tasks:
            wanted = f'{adapter}: it knows {few_names(known)}. "" asks all of them' if adapter else "at all"
            raise InputError(f"{self._url} knows no adapter {wanted}.")

    def __call__(self, rows: Iterable[Mapping[str, Any] | str]) -> list[dict[str, Any]]:
        """Return what each adapter answers to each row, in order, by the adapter's name."""
        given = list(rows)
        parts = _split([*range(len(given))])
        with ThreadPoolExecutor(_FANS_UNDER_WAY) as pool:
            bodies = [{"input": [given[i] for i in part], "models": [*self.tasks]} for part in parts]
            replies = list(pool.map(lambda body: self._ask("/fan", body), bodies))
        self.truncated += sum(sum(reply.get("truncated", {}).values()) for reply in replies)
        return [row["predictions"] for reply in replies for row in reply["data"]]

    def file(self, path: Path, *, top: int | None = 0, reading: Reading = AS_USUAL) -> Iterator[dict[str, Any]]:
        """Yield the rows of a file in order, with all their columns and all answers, as `Fan.file` does."""
        fields = [field for name in self.tasks for field in self.form_of(name).fields]
        return file_of_all(self, fields, path, top=top, reading=reading)


def _requests_of(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, list[int]]]:
    """Return requests for rows of adapters: the adapter of each, and the numbers of its rows.

    Rows of like length stand near each other, so that the server's batches are not mostly padding.
    """
    lengths = [sum(len(str(value)) for value in row.values()) for _, row in rows]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    found = []
    for start in range(0, len(rows), _ROWS_UNDER_WAY):
        by_adapter: dict[str, list[int]] = defaultdict(list)
        for number in order[start : start + _ROWS_UNDER_WAY]:
            by_adapter[rows[number][0]].append(number)
        for adapter, numbers in by_adapter.items():
            found += [(adapter, part) for part in _split(numbers)]
    return found


def _split(numbers: list[int]) -> list[list[int]]:
    return [numbers[i : i + _ROWS_OF_A_REQUEST] for i in range(0, len(numbers), _ROWS_OF_A_REQUEST)]


def _seconds_to_wait(error: urllib.error.HTTPError) -> float | None:
    """Return after how many seconds a refused request may be sent again; None: it will be refused again."""
    if error.code not in (429, 503):
        return None
    given = error.headers.get("retry-after", "1")
    return min(float(given), 30.0) if given.isdigit() else 1.0


def _said(error: urllib.error.HTTPError) -> str:
    """Return what a server says is wrong."""
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code} ({error.reason})"

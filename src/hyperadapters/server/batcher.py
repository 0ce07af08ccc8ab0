"""Rows of many requests in batches: which are computed next, and together with which others."""

import heapq
import math
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hyperadapters._utils import InputError

_T = TypeVar("_T")

_WINDOW = 4
"""Rows looked through for a batch, in batches."""

_SHORT = 32
"""Tokens up to which all rows are of like length."""


class _BusyError(InputError):
    """The queue is full, or the server is stopping.

    Args:
        message: what is full.
        seconds: after which there should be room.
    """

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(eq=False)
class Waiting(Generic[_T]):
    """A row that waits to be computed."""

    lane: Hashable
    """Rows of one lane can be computed together."""
    adapter: str
    length: int
    """In tokens."""
    work: _T
    future: "Future[Any]" = field(default_factory=Future)
    arrived: float = 0.0
    """Seconds of `time.monotonic`."""
    turn: float = 0.0
    """By which rows of a lane are taken, the smallest first."""
    batched: float = 0.0
    """When its batch began."""
    batch: int = 0
    """How many rows its batch had."""

    def __lt__(self, other: "Waiting[Any]") -> bool:
        return (self.turn, self.arrived) < (other.turn, other.arrived)


class Batcher(Generic[_T]):
    """A queue of rows, and one thread that computes them in batches.

    A batch is computed when it is full or its first row has waited long enough. Lanes take turns, the one served
    longest ago first. Within a lane, adapters have equal shares (start-time fair queueing; Goyal et al., SIGCOMM 1996,
    §2): a row's turn is one behind that of its adapter's row before it, so an adapter with a thousand rows does not
    delay one with a single row by more than a batch. The row whose turn it is takes rows of like length with it, so
    that a batch is not mostly padding.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Waiting[_T]]], None],
        *,
        most_rows: int = 64,
        longest_wait: float = 0.005,
        most_waiting: int = 1024,
        most_adapters: Callable[[Hashable], int | None] = lambda lane: None,
    ) -> None:
        """Start the thread.

        Args:
            compute: computes the rows of one lane and sets the result of each one's future.
            most_rows: of a batch.
            longest_wait: seconds that a row waits for others, where nothing else is computed.
            most_waiting: rows; more are refused.
            most_adapters: of a batch of a lane; None: any number.
        """
        self._compute, self._most_rows, self._longest_wait = compute, most_rows, longest_wait
        self._most_waiting, self._most_adapters = most_waiting, most_adapters
        self._changed = threading.Condition()
        self._lanes: OrderedDict[Hashable, list[Waiting[_T]]] = OrderedDict()
        """The rows of each lane, as a heap; the lane served longest ago first."""
        self._now: dict[Hashable, float] = defaultdict(float)
        """The turn that each lane has come to."""
        self._last: dict[tuple[Hashable, str], float] = {}
        """The turn of the last row of each adapter of a lane that has rows waiting."""
        self._tasks: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._waiting, self._closing = 0, False
        self.busy = False
        """Whether a batch is being computed."""
        self._rate = 0.0
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return self._waiting

    def submit(self, rows: Sequence[Waiting[_T]]) -> None:
        """Queue rows, all of them or none.

        Raises:
            _BusyError: there is no room for them, or the server is stopping.
            InputError: they are more than may wait.
        """
        with self._changed:
            self._check_room(len(rows))
            for row in rows:
                self._enqueue(row)
            self._changed.notify()

    def _enqueue(self, row: Waiting[_T]) -> None:
        place = (row.lane, row.adapter)
        row.arrived = time.monotonic()
        row.turn = max(self._now[row.lane], self._last.get(place, -1.0) + 1)
        self._last[place] = row.turn
        heapq.heappush(self._lanes.setdefault(row.lane, []), row)
        self._waiting += 1
        row.future.add_done_callback(lambda _: self._leave(row))

    def _leave(self, row: Waiting[_T]) -> None:
        """Free the place of a row that was given up while it waited."""
        if row.batched or not row.future.cancelled():
            return
        with self._changed:
            lane = self._lanes.get(row.lane, [])
            if row in lane:
                lane.remove(row)
                heapq.heapify(lane)
                self._waiting -= 1
            self._tidy(row.lane)

    def check_room(self, count: int) -> None:
        """Raise _BusyError if so many rows would be refused now."""
        with self._changed:
            self._check_room(count)

    def _check_room(self, count: int) -> None:
        if self._closing:
            raise _BusyError("the server is stopping: ask another one.", 1)
        if self._waiting + count <= self._most_waiting:
            return
        if count > self._most_waiting:
            raise InputError(f"{count:,} rows at once are more than may wait, {self._most_waiting:,}: send fewer.")
        seconds = math.ceil(max(1.0, self._waiting / self._rate)) if self._rate else 1
        raise _BusyError(
            f"{self._waiting:,} rows wait, of {self._most_waiting:,} that may: try again in {seconds} s.", seconds
        )

    def next_rows(self, lane: Hashable, most: int) -> list[Waiting[_T]]:
        """Return rows that wait in a lane, the next ones first as far as is known."""
        with self._changed:
            return self._lanes.get(lane, [])[:most]

    def between(self, function: Callable[[], Any]) -> "Future[Any]":
        """Run a function in the thread that computes, before the next batch."""
        found: Future[Any] = Future()
        with self._changed:
            if self._closing:
                found.set_exception(_BusyError("the server is stopping: ask another one.", 1))
                return found
            self._tasks.append((function, found))
            self._changed.notify()
        return found

    def close(self) -> None:
        """Refuse further rows, compute those that wait, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                batch = None
                while not self._tasks and (batch := self._take()) is None:
                    if self._closing and not self._waiting:
                        return
                    self._changed.wait(self._until_ready())
                tasks, self._tasks = self._tasks, []
                self.busy = bool(batch)
            for function, future in tasks:
                _resolve(function, future)
            if batch:
                self._carry_out(batch)

    def _carry_out(self, batch: list[Waiting[_T]]) -> None:
        start = time.monotonic()
        for row in batch:
            row.batched, row.batch = start, len(batch)
        try:
            self._compute(batch)
        except Exception as error:  # of any kind: the thread must live, and each row have an answer
            for row in batch:
                if not row.future.done():
                    row.future.set_exception(error)
        rate = len(batch) / max(time.monotonic() - start, 1e-6)
        self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
        self.busy = False

    def _until_ready(self) -> float | None:
        """Return the seconds until the first row has waited long enough; None: no row waits."""
        first = [min(row.arrived for row in lane) for lane in self._lanes.values() if lane]
        return max(0.0, min(first) + self._longest_wait - time.monotonic()) if first else None

    def _take(self) -> list[Waiting[_T]] | None:
        """Take a batch of the lane served longest ago that has one ready; None: none has."""
        now = time.monotonic()
        for name, lane in self._lanes.items():
            full = len(lane) >= self._most_rows
            if full or self._closing or now - min(row.arrived for row in lane) >= self._longest_wait:
                batch = self._choose(name, lane)
                self._lanes.move_to_end(name)
                self._tidy(name)
                return batch or None
        return None

    def _choose(self, name: Hashable, lane: list[Waiting[_T]]) -> list[Waiting[_T]]:
        """Take the row whose turn it is out of a lane, and rows of like length with it."""
        first, *others = (heapq.heappop(lane) for _ in range(min(len(lane), _WINDOW * self._most_rows)))
        self._now[name] = first.turn
        batch, adapters = [first], {first.adapter}
        most_adapters = self._most_adapters(name) or self._most_rows
        for row in sorted(others, key=lambda row: abs(row.length - first.length)):
            room = len(batch) < self._most_rows and (row.adapter in adapters or len(adapters) < most_adapters)
            if room and _alike(row.length, first.length):
                batch.append(row)
                adapters.add(row.adapter)
            else:
                heapq.heappush(lane, row)
        self._waiting -= len(batch)
        return [row for row in batch if row.future.set_running_or_notify_cancel()]

    def _tidy(self, name: Hashable) -> None:
        """Forget a lane without rows, and the turns of its adapters."""
        if not self._lanes.get(name, [None]):
            del self._lanes[name]
            self._now.pop(name, None)
            self._last = {place: turn for place, turn in self._last.items() if place[0] != name}


def _alike(one: int, other: int) -> bool:
    """Return whether rows of these lengths waste little of a batch."""
    return max(one, other) <= max(_SHORT, 2 * min(one, other))


def _resolve(function: Callable[[], Any], future: "Future[Any]") -> None:
    if not future.set_running_or_notify_cancel():  # whoever asked has left
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)

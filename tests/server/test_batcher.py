"""Which rows are computed next, and together with which others."""

import threading
import time

import pytest

from hyperadapters import InputError
from hyperadapters.server.batcher import Batcher, Waiting, _BusyError


class Computing:
    """Notes the batches, and holds the first one until it is let go."""

    def __init__(self, *, held=True):
        self.batches = []
        self.go, self.begun = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def __call__(self, rows):
        self.begun.set()
        assert self.go.wait(10)
        self.batches.append([row.work for row in rows])
        for row in rows:
            row.future.set_result(row.work)


def row(work, adapter="a", length=10, lane="lane"):
    return Waiting(lane, adapter, length, work)


def queued(computing, rows, **options):
    """A batcher that computes a first row alone, while others queue up."""
    batcher = Batcher(computing, longest_wait=0.0, **options)
    batcher.submit([row("first", "first", lane="first")])
    assert computing.begun.wait(10)
    batcher.submit(rows)
    return batcher


def finish(batcher, computing):
    computing.go.set()
    batcher.close()
    return computing.batches[1:]


def test_an_adapter_with_many_rows_does_not_delay_one_with_few():
    computing = Computing()
    rows = [row(("busy", i), "busy") for i in range(100)] + [row(("quiet", i), "quiet") for i in range(2)]
    batches = finish(queued(computing, rows, most_rows=8), computing)
    assert ("quiet", 0) in batches[0]
    assert ("quiet", 1) in batches[0]
    assert sorted(work for batch in batches for work in batch) == sorted(each.work for each in rows)
    assert [len(batch) for batch in batches] == [8] * 12 + [6]


def test_lanes_take_turns():
    computing = Computing()
    rows = [row(("one", i), lane="one") for i in range(12)] + [row(("two", i), lane="two") for i in range(4)]
    batches = finish(queued(computing, rows, most_rows=4), computing)
    assert [{work[0] for work in batch} for batch in batches] == [{"one"}, {"two"}, {"one"}, {"one"}]


def test_rows_of_like_length_share_a_batch_and_none_is_left_behind():
    computing = Computing()
    lengths = [200, 10, 12, 190, 20, 210, 30, 900]
    rows = [row(length, f"{i}", length) for i, length in enumerate(lengths)]
    batches = finish(queued(computing, rows, most_rows=4), computing)
    assert batches[0][0] == 200
    assert sorted(map(sorted, batches)) == [[10, 12, 20, 30], [190, 200, 210], [900]]


def test_a_batch_has_no_more_adapters_than_fit():
    computing = Computing()
    rows = [row((name, i), name) for i in range(2) for name in "abcde"]
    batches = finish(queued(computing, rows, most_rows=64, most_adapters=lambda lane: 2), computing)
    assert max(len({work[0] for work in batch}) for batch in batches) == 2
    assert sum(map(len, batches)) == 10


def test_a_row_waits_for_others_but_not_for_long():
    computing = Computing(held=False)
    batcher = Batcher(computing, longest_wait=0.3, most_rows=3)
    start = time.monotonic()
    batcher.submit([row(1)])
    batcher.submit([row(2)])
    alone = row(3)
    batcher.submit([alone])
    alone.future.result(10)
    assert time.monotonic() - start < 0.3  # full: nothing is waited for
    late = row(4)
    batcher.submit([late])
    late.future.result(10)
    assert late.batched - late.arrived >= 0.29
    assert computing.batches == [[1, 2, 3], [4]]
    batcher.close()


def test_a_full_queue_refuses_all_rows_of_a_request():
    computing = Computing()
    batcher = queued(computing, [row(i) for i in range(7)], most_waiting=8)
    with pytest.raises(_BusyError, match=r"7 rows wait, of 8 that may: try again in 1 s") as refused:
        batcher.submit([row(8), row(9)])
    assert refused.value.seconds >= 1
    with pytest.raises(InputError, match="9 rows at once are more than may wait, 8") as never:
        batcher.submit([row(i) for i in range(9)])
    assert not isinstance(never.value, _BusyError)
    batcher.submit([row(7)])
    assert sorted(work for batch in finish(batcher, computing) for work in batch) == [*range(8)]


def test_a_row_that_nobody_waits_for_frees_its_place():
    computing = Computing()
    rows = [row(i) for i in range(8)]
    batcher = queued(computing, rows, most_waiting=8)
    for each in rows[:4]:
        assert each.future.cancel()
    assert len(batcher) == 4
    batcher.submit([row(8)])
    assert sorted(work for batch in finish(batcher, computing) for work in batch) == [4, 5, 6, 7, 8]


def test_an_error_is_every_rows_and_the_next_batch_is_computed():
    def compute(rows):
        if rows[0].work == "bad":
            raise RuntimeError("broken")
        for each in rows:
            each.future.set_result(each.work)

    batcher = Batcher(compute, longest_wait=0.0)
    bad, good = row("bad"), row("good")
    batcher.submit([bad])
    with pytest.raises(RuntimeError, match="broken"):
        bad.future.result(10)
    batcher.submit([good])
    assert good.future.result(10) == "good"
    batcher.close()


def test_at_the_end_what_waits_is_computed_and_more_is_refused():
    computing = Computing()
    rows = [row(i) for i in range(20)]
    batcher = queued(computing, rows, most_rows=4)
    batcher.between(lambda: None)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closing:
        time.sleep(0.01)
    with pytest.raises(_BusyError, match="stopping"):
        batcher.submit([row(20)])
    with pytest.raises(_BusyError, match="stopping"):
        batcher.between(lambda: None).result(1)
    computing.go.set()
    closing.join(10)
    assert [each.future.result(0) for each in rows] == [*range(20)]


def test_a_function_runs_between_batches_in_the_thread_that_computes():
    threads = []

    def compute(rows):
        threads.append(threading.current_thread())
        for each in rows:
            each.future.set_result(None)

    batcher = Batcher(compute, longest_wait=0.0)
    one = row(1)
    batcher.submit([one])
    one.future.result(10)
    assert batcher.between(threading.current_thread).result(10) is threads[0]
    go = threading.Event()
    batcher.between(lambda: go.wait(10))
    given_up = batcher.between(lambda: None)
    assert given_up.cancel()
    go.set()
    with pytest.raises(ZeroDivisionError):
        batcher.between(lambda: 1 / 0).result(10)
    batcher.close()

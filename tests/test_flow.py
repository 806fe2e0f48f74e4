"""Overlap without surprises: order, bounds, errors and endings of the two helpers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.flow import close, parallel_map, prefetch


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Every test ends with the threads it began with."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Upstream:
    """An iterator that counts what was taken from it and knows that it was closed."""

    def __init__(self, items: list[int], error: Exception | None = None) -> None:
        self.items, self.error, self.taken, self.closed = items, error, 0, False

    def __iter__(self) -> Iterator[int]:
        try:
            for item in self.items:
                self.taken += 1
                yield item
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def eventually(condition: Callable[[], bool]) -> None:
    """Waits until it is so, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@given(st.lists(st.integers(), max_size=30), st.integers(0, 4), st.integers(1, 5), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_results_come_in_order(items: list[int], workers: int, ahead: int, max_bytes: int) -> None:
    """Whatever the workers and bounds, the result is that of `map`, and that of the iterator itself."""
    assert list(parallel_map(lambda x: x * 2, items, workers=workers, ahead=ahead, size=abs, max_bytes=max_bytes)) == [x * 2 for x in items]
    assert list(prefetch(items, depth=min(workers, 1) * ahead, size=abs, max_bytes=max_bytes)) == items


def test_order_is_kept_when_later_items_are_quicker() -> None:
    """A slow item is waited for, not overtaken."""

    def first_is_slow(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return number

    assert list(parallel_map(first_is_slow, range(6), workers=3)) == list(range(6))


def test_look_ahead_is_bounded_in_items() -> None:
    """What nobody consumes is not produced: at most `ahead` items are under way or waiting beside the one at hand."""
    upstream = Upstream(list(range(100)))
    results = parallel_map(lambda x: x, upstream, workers=4, ahead=5)
    assert next(results) == 0
    time.sleep(0.05)
    assert upstream.taken == 6
    assert next(results) == 1
    assert upstream.taken == 7
    close(results)


def test_one_ahead_is_made_while_one_is_consumed() -> None:
    """The smallest depth overlaps too: the next item is under way before the first is handed out."""
    upstream = Upstream([1, 2, 3])
    items = prefetch(upstream, depth=1)
    assert next(items) == 1
    eventually(lambda: upstream.taken == 2)
    assert list(items) == [2, 3]


def test_prefetch_is_bounded_in_items() -> None:
    """The thread of its own stops when `depth` items wait beside the one at hand."""
    upstream = Upstream(list(range(100)))
    items = prefetch(upstream, depth=3)
    assert next(items) == 0
    time.sleep(0.05)
    assert upstream.taken == 4
    close(items)


def test_look_ahead_is_bounded_in_bytes() -> None:
    """Nothing is started while the results that wait hold `max_bytes`, though `ahead` would allow it."""
    upstream = Upstream(list(range(100)))
    results = parallel_map(lambda x: x, upstream, workers=1, ahead=50, size=lambda _: 10, max_bytes=30)
    for expected in range(20):
        assert next(results) == expected
        time.sleep(0.005)  # lets what was started finish, so that it counts
    assert upstream.taken < 20 + 50
    waiting = upstream.taken
    time.sleep(0.02)
    assert next(results) == 20
    assert upstream.taken == waiting
    close(results)


@pytest.mark.parametrize("workers", [0, 2])
def test_error_of_the_function_surfaces_at_its_item(workers: int) -> None:
    """Results before the failing item are delivered; the error stands in its place; nothing comes after it."""
    upstream = Upstream(list(range(50)))
    results = parallel_map(lambda x: 1 // (x - 3), upstream, workers=workers)
    assert [next(results) for _ in range(3)] == [1 // (x - 3) for x in range(3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
    assert upstream.closed
    assert upstream.taken < 50


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_error_of_the_items_surfaces_after_what_came_before(workers: int) -> None:
    """What was listed before a source failed is not lost, however far ahead the failure was met."""
    upstream = Upstream([1, 2, 3], OSError("gone"))
    got: list[int] = []
    with pytest.raises(OSError, match="gone"):
        got.extend(parallel_map(lambda x: x, upstream, workers=workers, ahead=10))
    assert got == [1, 2, 3]
    assert upstream.closed


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_prefetched_error_surfaces_where_it_is_consumed(depth: int) -> None:
    """An error in the thread is raised in the consumer, after the items before it."""
    items = prefetch(Upstream([1, 2, 3], OSError("gone")), depth=depth)
    assert [next(items) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="gone"):
        next(items)


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_ends_the_threads_and_the_upstream(workers: int) -> None:
    """A consumer that leaves early leaves nothing behind: no thread, no open file upstream, nothing half done."""
    upstream = Upstream(list(range(1000)))
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        time.sleep(0.01)

    results = parallel_map(work, prefetch(upstream, depth=workers * 4), workers=workers)
    next(results)
    close(results)
    assert upstream.closed
    finished = len(done)
    time.sleep(0.03)
    assert len(done) == finished < 50


def test_closing_waits_for_what_is_under_way() -> None:
    """After closing, no call of the function runs: what it uses may be freed."""
    running = threading.Event()
    over = threading.Event()

    def slow(_: int) -> None:
        running.set()
        time.sleep(0.1)
        over.set()

    results = parallel_map(lambda x: slow(x) if x else None, [0, 1, 2, 3], workers=1)
    next(results)
    eventually(running.is_set)
    close(results)
    assert over.is_set()


def test_closing_starts_nothing_more() -> None:
    """What waits for a worker when the consumer leaves is dropped: a stopped run does not first read all that was queued."""
    started: list[int] = []

    def work(number: int) -> None:
        started.append(number)
        time.sleep(0.02)

    results = parallel_map(work, range(100), workers=1, ahead=40)
    next(results)
    close(results)
    assert len(started) < 5


def test_without_workers_everything_happens_in_the_callers_thread() -> None:
    """The debug mode is plain serial Python: one thread, one item at a time."""
    upstream = Upstream([1, 2, 3])
    threads = parallel_map(lambda _: threading.current_thread(), prefetch(upstream, depth=0), workers=0)
    assert next(threads) is threading.current_thread()
    assert upstream.taken == 1
    assert set(threads) == {threading.current_thread()}


def test_workers_overlap() -> None:
    """Four workers do four naps at the same time."""
    start = time.perf_counter()
    list(parallel_map(lambda _: time.sleep(0.1), range(8), workers=4))
    assert time.perf_counter() - start < 0.6  # one after the other: 0.8


def test_prefetch_overlaps_with_its_consumer() -> None:
    """Production and consumption take turns in different threads, so their times do not add up."""

    def produce() -> Iterator[int]:
        for number in range(8):
            time.sleep(0.05)
            yield number

    start = time.perf_counter()
    for _ in prefetch(produce(), depth=2):
        time.sleep(0.05)
    assert time.perf_counter() - start < 0.7  # one after the other: 0.8


def test_prefetch_takes_no_generator_from_two_threads() -> None:
    """However deep it looks ahead, one thread asks, one item at a time: a generator may not be entered twice."""
    inside = threading.Lock()

    def produce() -> Iterator[int]:
        for number in range(50):
            assert inside.acquire(blocking=False)
            time.sleep(0.0005)
            inside.release()
            yield number

    assert list(prefetch(produce(), depth=8)) == list(range(50))


def test_close_takes_any_iterator() -> None:
    """A list's iterator has nothing to close."""
    close(iter([1]))

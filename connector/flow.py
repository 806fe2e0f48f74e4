"""Makes stations overlap: two helpers that turn one iterator into another, in order and bounded.

`parallel_map` applies a function in worker threads; `prefetch` lets an iterator run ahead in a thread of its own. Both keep the order, look
ahead a bounded number of items and bytes, and raise an error where its result is consumed. With `workers=0` both
are plain serial Python: the mode for debugging and tests.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

_END: Any = object()


def parallel_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    ahead: int | None = None,
    size: Callable[[R], int] = lambda _: 0,
    max_bytes: int = 1 << 62,
) -> Iterator[R]:
    """Yields `function(item)` for each item, in order, computed by `workers` threads.

    At most `ahead` results (default: workers + 2) are under way or waiting, and none is started while those that wait hold
    `max_bytes` by `size`. An error of `items` is raised after the results of what came before it. Closing the generator waits for
    what is under way, then closes `items`.
    """
    source = iter(items)
    try:
        if workers == 0:
            yield from map(function, source)
            return
        pending: deque[Future[R]] = deque()
        pool = ThreadPoolExecutor(workers)
        try:
            more = True
            while more or pending:
                while more and len(pending) < (ahead or workers + 2) and not _full(pending, size, max_bytes):
                    try:
                        item = next(source, _END)
                    except Exception as error:  # noqa: BLE001 - it surfaces below, after the results of what came before it
                        pending.append(_failed(error))
                        more = False
                        break
                    more = item is not _END
                    if more:
                        pending.append(pool.submit(function, item))
                if pending:
                    yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    finally:
        close(source)


def prefetch(
    items: Iterable[T], *, depth: int, size: Callable[[T], int] = lambda _: 0, max_bytes: int = 1 << 62
) -> Iterator[T]:
    """Lets `items` run up to `depth` items and `max_bytes` ahead in one thread of its own; `depth=0` is `iter(items)`."""
    source = iter(items)
    try:
        if depth == 0:
            yield from source
            return

        def measure(item: T) -> int:
            return 0 if item is _END else size(item)

        ahead = parallel_map(lambda _: next(source, _END), repeat(None), workers=1, ahead=depth, size=measure, max_bytes=max_bytes)
        try:
            for item in ahead:
                if item is _END:
                    return
                yield item
        finally:
            close(ahead)
    finally:
        close(source)


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _full(pending: deque[Future[R]], size: Callable[[R], int], max_bytes: int) -> bool:
    done = (f.result() for f in pending if f.done() and f.exception() is None)
    return sum(map(size, done)) >= max_bytes


def close(items: Iterator[Any]) -> None:
    """Closes a generator, so that its threads and files end now and not when it is collected."""
    shut = getattr(items, "close", None)
    if shut is not None:
        shut()

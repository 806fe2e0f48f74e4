"""Makes stations overlap: two helpers that turn one iterator into another, in order and bounded, and a thread for one thing at a time.

`parallel_map` applies a function in worker threads; `prefetch` lets an iterator run ahead in a thread of its own. Both keep the order, look
ahead a bounded number of items and bytes, and raise an error where its result is consumed, after the results of what came before it.
Handing an item from thread to thread costs some 30 microseconds; `chunk` shares that between several. With `workers=0` both are plain
serial Python: the mode for debugging and tests.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

_END: Any = object()


@dataclass(slots=True)
class _Chunk(Generic[T]):
    """Consecutive items; what ended them early, if anything did."""

    items: list[T] = field(default_factory=list)
    error: Exception | None = None
    last: bool = False
    nbytes: int = 0


class _Room(Generic[T]):
    """Adds up the bytes of chunks that are done and wait to be consumed."""

    def __init__(self, size: Callable[[T], int] | None, max_bytes: int) -> None:
        self._size, self._max_bytes, self._held = size, max_bytes, 0
        self._mutex = threading.Lock()

    @property
    def full(self) -> bool:
        return self._held >= self._max_bytes

    def fill(self, task: Callable[[], _Chunk[T]]) -> _Chunk[T]:
        chunk = task()
        if self._size is not None:
            chunk.nbytes = sum(map(self._size, chunk.items))
            with self._mutex:
                self._held += chunk.nbytes
        return chunk

    def free(self, chunk: _Chunk[T]) -> None:
        with self._mutex:
            self._held -= chunk.nbytes


def parallel_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    ahead: int | None = None,
    chunk: int = 1,
    weight: Callable[[T], float] | None = None,
    size: Callable[[R], int] | None = None,
    max_bytes: int = 1 << 62,
) -> Iterator[R]:
    """Yields `function(item)` for each item, in order, computed by `workers` threads.

    A thread takes `chunk` items at a time, or, by `weight`, as many as together weigh so much. At most `ahead` chunks (default: two more
    than workers) are under way or waiting beside the one that is being consumed, and none is started while those that are done hold
    `max_bytes` by `size`. Closing the generator waits for what is under way, then closes `items`.
    """
    source = iter(items)
    try:
        if workers == 0:
            yield from map(function, source)
        else:
            tasks = (partial(_apply, function, some) for some in _chunks(source, chunk, weight))
            yield from _overlap(tasks, workers, ahead or workers + 2, _Room(size, max_bytes), deque())
    finally:
        close(source)


class Ahead(Generic[T]):
    """Items that run ahead of whoever takes them."""

    def __init__(self, items: Iterable[T], depth: int, size: Callable[[T], int] | None, max_bytes: int) -> None:
        self._pending: deque[Future[_Chunk[T]]] = deque()
        self._items = _ahead(iter(items), depth, _Room(size, max_bytes), self._pending)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return next(self._items)

    def peek(self) -> T | None:
        """What `next` gives without waiting; None if it would wait, if there is no more, or if it would raise."""
        chunk = self._pending[0].result() if self._pending and self._pending[0].done() else None
        return chunk.items[0] if chunk is not None and chunk.items else None

    def close(self) -> None:
        """Waits for what is under way, then closes the items."""
        close(self._items)


def _ahead(source: Iterator[T], depth: int, room: _Room[T], pending: deque[Future[_Chunk[T]]]) -> Iterator[T]:
    try:
        if depth == 0:
            yield from source
        else:
            yield from _overlap(repeat(partial(_take, source, 1)), 1, depth, room, pending)
    finally:
        close(source)


def prefetch(items: Iterable[T], *, depth: int, size: Callable[[T], int] | None = None, max_bytes: int = 1 << 62) -> Ahead[T]:
    """Lets up to `depth` of `items`, and `max_bytes`, run ahead in one thread of its own; `depth=0` is `iter(items)`."""
    return Ahead(items, depth, size, max_bytes)


def _overlap(
    tasks: Iterator[Callable[[], _Chunk[T]]], workers: int, ahead: int, room: _Room[T], pending: deque[Future[_Chunk[T]]]
) -> Iterator[T]:
    """Runs the tasks in a pool, up to `ahead` at a time, and yields their items in order until the last chunk or an error.

    Args:
        tasks: Each makes a chunk.
        workers: Threads of the pool.
        ahead: Most tasks.
        room: For the bytes of what they made.
        pending: Empty; holds the tasks that were started and whose items were not handed out.
    """
    pool = ThreadPoolExecutor(workers, initializer=_inherit, initargs=(copy_context(),))

    def start() -> None:
        while len(pending) < ahead and not (pending and room.full):
            task = next(tasks, None)
            if task is None:
                return
            pending.append(pool.submit(room.fill, task))

    try:
        start()
        while pending:
            chunk = pending.popleft().result()
            if not chunk.last:
                start()  # before its items are handed out, so that work goes on while they are consumed
            yield from chunk.items
            room.free(chunk)
            if chunk.error is not None:
                raise chunk.error
            if chunk.last:
                return
            start()  # what was consumed has made room
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _inherit(context: Context) -> None:
    """Lets a thread know which run it works for: its log lines, its spans and its retries belong there."""
    for variable, value in context.items():
        variable.set(value)


def _chunks(source: Iterator[T], count: int, weight: Callable[[T], float] | None) -> Iterator[_Chunk[T]]:
    some: _Chunk[T] = _Chunk()
    while not some.last:
        some = _take(source, count, weight)
        yield some


def _take(source: Iterator[T], count: int, weight: Callable[[T], float] | None = None) -> _Chunk[T]:
    """Items that weigh `count` together, each 1 by default; an error of the source ends the chunk, which carries it."""
    some: _Chunk[T] = _Chunk()
    left: float = count
    try:
        while left > 0 and not some.last:
            item = next(source, _END)
            if item is _END:
                some.last = True
            else:
                some.items.append(item)
                left -= 1 if weight is None else weight(item)
    except Exception as error:  # noqa: BLE001 - it is raised where the chunk is consumed
        some.error, some.last = error, True
    return some


def _apply(function: Callable[[T], R], some: _Chunk[T]) -> _Chunk[R]:
    """The function's results; its first error ends them."""
    done: _Chunk[R] = _Chunk(error=some.error, last=some.last)
    try:
        for item in some.items:
            done.items.append(function(item))
    except Exception as error:  # noqa: BLE001 - it is raised where the chunk is consumed
        done.error, done.last = error, True
    return done


def flat(lots: Iterator[list[T]]) -> Iterator[T]:
    """The items of lists, one after the other; closing it closes `lots`."""
    try:
        for some in lots:
            yield from some
    finally:
        close(lots)


def close(items: Iterator[Any]) -> None:
    """Closes a generator, so that its threads and files end now and not when it is collected."""
    shut = getattr(items, "close", None)
    if shut is not None:
        shut()


class Aside:
    """One thread that does what it is given, one thing after the other; a context manager that waits for the last.

    Attributes:
        waits: Set to False, nobody waits: the thread ends by itself, or with the process.
    """

    def __init__(self, name: str) -> None:
        self.waits = True
        self._given: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), name=name, daemon=True)

    def do(self, task: Callable[[], T]) -> Future[T]:
        """Has it done, behind what was given before."""
        done: Future[T] = Future()
        if not self._thread.ident:
            self._thread.start()
        self._given.put((done, task))
        return done

    def _work(self) -> None:
        while (given := self._given.get()) is not None:
            done, task = given
            try:
                done.set_result(task())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                done.set_exception(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._given.put(None)
        if self._thread.ident and self.waits:
            self._thread.join()

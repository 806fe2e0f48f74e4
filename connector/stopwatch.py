"""Times the stations of a run and counts the bytes that they handle: filled from several threads, read at any moment."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeVar

from connector.flow import close

T = TypeVar("T")


class Stopwatch:
    """Adds up seconds and bytes by station; called from several threads."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._nbytes: defaultdict[str, int] = defaultdict(int)
        self._mutex = threading.Lock()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by station so far, in the order of first use."""
        with self._mutex:
            return dict(self._seconds)

    def add(self, station: str, seconds: float) -> None:
        """Adds to a station."""
        with self._mutex:
            self._seconds[station] += seconds

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes by station so far."""
        with self._mutex:
            return dict(self._nbytes)

    def moved(self, station: str, nbytes: int) -> None:
        """Counts bytes that a station has handled."""
        with self._mutex:
            self._nbytes[station] += nbytes

    def note(self, **numbers: int) -> None:
        """Says more of what is being timed, to whoever traces it; here nobody does."""

    def now(self) -> Any:
        """What `lap` counts from."""
        return time.perf_counter()

    def lap(self, station: str, since: Any) -> Any:
        """Adds what passed since then to a station; returns what the next one counts from. A third of the cost of `time`."""
        now = time.perf_counter()
        self.add(station, now - since)
        return now

    @contextlib.contextmanager
    def time(self, station: str) -> Iterator[None]:
        """Times a block."""
        start = self.now()
        try:
            yield
        finally:
            self.lap(station, start)

    def each(self, station: str, items: Iterator[T]) -> Iterator[T]:
        """Times every step of an iterator; closing it closes `items`."""
        try:
            while True:
                start = self.now()
                try:
                    item: Any = next(items, self)
                finally:
                    self.lap(station, start)
                if item is self:
                    return
                yield item
        finally:
            close(items)

"""Lets SIGINT and SIGTERM end a run at a safe place.

The first signal raises `Interrupted` in the main thread, except while a window is being written and committed: then it waits until
that is done, so that what Milvus acknowledged is also in the ledger, or until a call fails that would be tried again: Milvus is away then,
and the window's intent stands. A second signal does not wait. A time limit ends it there as well. A run in another thread, which no signal
reaches, is asked to end with `ask`.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING

from connector.errors import Interrupted, OutOfTime, Transient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from connector.errors import ConnectorError


class Stop:
    """Whether to stop, asked by stations in any thread; installed as a signal handler by the command line only.

    Attributes:
        event: Set once somebody asked to stop.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._signal: int | None = None
        self._why: ConnectorError | None = None
        self._shielded = False
        self._end: float | None = None

    def limit(self, seconds: float | None) -> None:
        """Lets `check_time` raise when so many seconds are over; None: never. Counted by a clock that nobody sets."""
        self._end = None if seconds is None else time.monotonic() + seconds

    def check_time(self) -> None:
        """Raises OutOfTime if the time limit is over."""
        if self._end is not None and time.monotonic() >= self._end:
            raise OutOfTime("the time limit is over; what was written is committed", hint="run the same command again to go on")

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM inside the block; main thread only."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        second = self._signal is not None
        self._signal = number
        self.event.set()
        if second or not self._shielded:
            raise Interrupted(number)

    def ask(self, why: ConnectorError) -> None:
        """Asks a run in another thread to end, at the next safe place, with this error; the first reason counts."""
        self._why = self._why or why
        self.event.set()

    def check(self) -> None:
        """Raises if somebody asked to stop: the reason that was given, else `Interrupted`."""
        if self.event.is_set():
            raise self._why or Interrupted(self._signal or signal.SIGINT)

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Puts the first signal off until the block is done, or until it fails for want of Milvus."""
        self._shielded = True
        try:
            yield
        except Transient as error:
            if self.event.is_set():
                raise (self._why or Interrupted(self._signal or signal.SIGINT)) from error
            raise
        finally:
            self._shielded = False
        if self._signal is not None or self._why is not None:
            self.check()

"""How fast a sink sends: as fast as the server takes it until it refuses, then at a pace that it finds out.

A refused request has been uploaded in vain, so blind repetition costs the most where there is the least room. The pace is kept in bytes a
second and follows additive increase, multiplicative decrease (Chiu and Jain, 1989), with the quick return of CUBIC once the last
known limit is passed: a limit that was lifted is noticed after some dozen requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from connector.errors import Throttled

FIRST_WAIT, LONGEST_WAIT = 0.25, 15.0
"""Seconds between two requests after the first refusal, and at the slowest."""

_DOWN, _DOWN_AGAIN = 0.7, 0.5
_STEP = 0.05
_FREE = 0.01


class Pace:
    """When the next request may go; used by one thread.

    Args:
        clock: Seconds that only grow.
        sleep: Waits.

    Attributes:
        rate: Bytes a second; None: nothing holds us back.
        refusals: How many requests were refused.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self.rate: float | None = None
        self.refusals = 0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0
        self._limit = 0.0
        self._again = False

    @contextmanager
    def turn(self, nbytes: int, latest: float = math.inf) -> Iterator[None]:
        """Waits until a request of so many bytes may be sent, and learns from what comes of it: `Throttled` means too fast.

        Args:
            nbytes: Size of the request.
            latest: On the clock; it is sent then even if that is too early.
        """
        self._sleep(max(0.0, min(self._next, latest) - self._clock()))
        try:
            yield
        except Throttled:
            self._slower(nbytes)
            raise
        self._faster(nbytes)

    def _slower(self, nbytes: int) -> None:
        self.refusals += 1
        if self.rate is None:
            self.rate = nbytes / FIRST_WAIT
        else:
            self._limit = self.rate
            self.rate = max(self.rate * (_DOWN_AGAIN if self._again else _DOWN), nbytes / LONGEST_WAIT)
        self._again = True
        self._next = self._clock() + min(nbytes / self.rate, LONGEST_WAIT)

    def _faster(self, nbytes: int) -> None:
        self._again = False
        if self.rate is None:
            return
        self._next = self._clock() + min(nbytes / self.rate, LONGEST_WAIT)
        self.rate += max(self._limit * _STEP, (self.rate - self._limit) / 2)
        if nbytes / self.rate < _FREE:
            self.rate = None

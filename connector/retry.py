"""Tries a network call again until it passes or the deadline is over; the only user of tenacity.

Only `Transient` is retried: whether an error is transient is decided where foreign exceptions are translated, never here. Waits
grow exponentially with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), so that many clients do
not come back at the same moment. A server that says how long it wants to be left alone is left alone so long; where that is
beyond the deadline, the error is raised at once. Where waiting would hold up somebody who asked to stop, `until` ends it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import tenacity

from connector.errors import Throttled, Transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)
T = TypeVar("T")

_END: ContextVar[threading.Event | None] = ContextVar("_END", default=None)


@dataclass(slots=True)
class Attempts:
    """What had to be tried again.

    Attributes:
        repeated: Calls that were made again.
        throttled: Calls that were refused because they came too fast.
    """

    repeated: int = 0
    throttled: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, repeated: int = 0, throttled: int = 0) -> None:
        """Adds up; called from several threads."""
        with self._mutex:
            self.repeated += repeated
            self.throttled += throttled


ATTEMPTS: ContextVar[Attempts] = ContextVar("ATTEMPTS")
"""Whose attempts are counted: set by a run for itself and its threads; nobody else counts."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to keep trying.

    Attributes:
        deadline: Seconds after which the last error is raised.
        first: Upper bound of the first wait, in seconds.
        longest: Upper bound of any wait, in seconds.
        paced: The call waits by itself after `Throttled`, so it is called again at once.
    """

    deadline: float = 300.0
    first: float = 0.2
    longest: float = 15.0
    paced: bool = False


@contextlib.contextmanager
def until(end: threading.Event) -> Iterator[None]:
    """Inside the block, and in the threads that a run begins there, nothing is tried again once the event is set."""
    token = _END.set(end)
    try:
        yield
    finally:
        _END.reset(token)


def pause(seconds: float) -> None:
    """Waits so long, or until a run that is asked to end; see `until`."""
    end = _END.get()
    if end is None:
        time.sleep(seconds)
    else:
        end.wait(seconds)


def retry(call: Callable[[], T], policy: RetryPolicy, what: str) -> T:
    """Calls `call` until it returns.

    Args:
        call: Idempotent: after an unknown outcome the same request is sent again.
        policy: When to give up.
        what: Names the call in the log.

    Raises:
        Transient: The last one, when the deadline is over or the run is asked to end.
    """
    counted = ATTEMPTS.get(None) or Attempts()

    def attempt() -> T:
        try:
            return call()
        except Throttled:
            counted.count(throttled=1)
            raise

    def warn(state: tenacity.RetryCallState) -> None:
        counted.count(repeated=1)
        error = state.outcome.exception() if state.outcome else None
        message = error.message if isinstance(error, Transient) else ""
        log.warning("%s failed, attempt %d, trying again: %s", what, state.attempt_number, message)

    jitter = tenacity.wait_random_exponential(multiplier=policy.first, max=policy.longest)

    def wait(state: tenacity.RetryCallState) -> float:
        if policy.paced and state.outcome and isinstance(state.outcome.exception(), Throttled):
            return 0.0
        left = max(0.0, policy.deadline - (state.seconds_since_start or 0.0))
        return max(min(jitter(state), left), _asked(state))  # the last attempt is at the deadline

    end = _END.get()

    def over(state: tenacity.RetryCallState) -> bool:
        if end is not None and end.is_set():
            return True
        too_late = _asked(state) > 0 and (state.seconds_since_start or 0.0) + state.upcoming_sleep > policy.deadline
        return too_late or tenacity.stop_after_delay(policy.deadline)(state)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        wait=wait,
        stop=over,
        sleep=pause,
        before_sleep=warn,
        reraise=True,
    )
    return retrying(attempt)


def _asked(state: tenacity.RetryCallState) -> float:
    """Seconds that the other side asked for."""
    error = state.outcome.exception() if state.outcome else None
    return error.after if isinstance(error, Transient) else 0.0

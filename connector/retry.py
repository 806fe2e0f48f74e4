"""Tries a network call again until it passes or the deadline is over; the only user of tenacity.

Only `Transient` is retried: whether an error is transient is decided where foreign exceptions are translated, never here. Waits
grow exponentially with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), so that many clients do
not come back at the same moment. A server that says how long it wants to be left alone is left alone so long; where that is
beyond the deadline, the error is raised at once.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import tenacity

from connector.errors import Throttled, Transient

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to keep trying.

    Attributes:
        deadline: Seconds after which the last error is raised.
        first: Upper bound of the first wait, in seconds.
        longest: Upper bound of any wait, in seconds.
        paced: The call waits by itself after `Throttled`, so it is called again at once.
        stop: Set by whoever asks the run to end: then nothing is tried again, and no wait goes on.
    """

    deadline: float = 300.0
    first: float = 0.2
    longest: float = 15.0
    paced: bool = False
    stop: threading.Event | None = None


def retry(call: Callable[[], T], policy: RetryPolicy, what: str) -> T:
    """Calls `call` until it returns.

    Args:
        call: Idempotent: after an unknown outcome the same request is sent again.
        policy: When to give up.
        what: Names the call in the log.

    Raises:
        Transient: The last one, when the deadline is over or the run is asked to end.
    """
    asked_to_end = policy.stop or threading.Event()

    def warn(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        message = error.message if isinstance(error, Transient) else ""
        log.warning("%s failed, attempt %d, trying again: %s", what, state.attempt_number, message)

    jitter = tenacity.wait_random_exponential(multiplier=policy.first, max=policy.longest)

    def wait(state: tenacity.RetryCallState) -> float:
        if policy.paced and state.outcome and isinstance(state.outcome.exception(), Throttled):
            return 0.0
        left = max(0.0, policy.deadline - (state.seconds_since_start or 0.0))
        return max(min(jitter(state), left), _asked(state))  # the last attempt is at the deadline

    def over(state: tenacity.RetryCallState) -> bool:
        too_late = _asked(state) > 0 and (state.seconds_since_start or 0.0) + state.upcoming_sleep > policy.deadline
        return too_late or asked_to_end.is_set() or tenacity.stop_after_delay(policy.deadline)(state)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        wait=wait,
        stop=over,
        sleep=tenacity.sleep_using_event(asked_to_end),
        before_sleep=warn,
        reraise=True,
    )
    return retrying(call)


def _asked(state: tenacity.RetryCallState) -> float:
    """Seconds that the other side asked for."""
    error = state.outcome.exception() if state.outcome else None
    return error.after if isinstance(error, Transient) else 0.0

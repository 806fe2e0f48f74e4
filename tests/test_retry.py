"""What is tried again, for how long, and what the log says."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from connector.errors import AuthError, SinkError, Throttled, Transient
from connector.retry import RetryPolicy, retry, until

QUICK = RetryPolicy(deadline=5.0, first=0.001, longest=0.002)


class Calls:
    """Fails as told, then returns 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.count = list(errors), 0

    def __call__(self) -> int:
        """Raises the next error, or returns."""
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7


def test_transient_errors_are_tried_again() -> None:
    """A server that is down for a moment costs a wait, not the run; subtypes count too."""
    calls = Calls(Transient("down"), Throttled("slow"), Transient("down"))
    assert retry(calls, QUICK, "insert") == 7
    assert calls.count == 4


@pytest.mark.parametrize("error", [SinkError("bad"), AuthError("who"), ValueError("bug"), KeyboardInterrupt()])
def test_nothing_else_is_tried_again(error: BaseException) -> None:
    """A refusal, a wrong password or a bug does not get better by asking again."""
    calls = Calls(error)  # type: ignore[arg-type]  # raises whatever it is given
    with pytest.raises(type(error)):
        retry(calls, QUICK, "insert")
    assert calls.count == 1


def test_the_last_error_itself_is_raised_at_the_deadline() -> None:
    """Not a wrapper of the retry library: callers see the tree's types, message and hint."""
    calls = Calls(*(Transient(f"attempt {number}", hint="wait") for number in range(1000)))
    start = time.monotonic()
    with pytest.raises(Transient) as caught:
        retry(calls, RetryPolicy(deadline=0.1, first=0.005, longest=0.01), "insert")
    assert caught.value.message == f"attempt {calls.count - 1}"
    assert caught.value.hint == "wait"
    assert calls.count > 3
    assert time.monotonic() - start < 2


def test_deadline_of_zero_means_one_attempt() -> None:
    """`retry_deadline: 0` switches retrying off."""
    calls = Calls(Transient("down"))
    with pytest.raises(Transient):
        retry(calls, RetryPolicy(deadline=0), "insert")
    assert calls.count == 1


def test_every_attempt_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wonders why a run is slow finds the call, the attempt and the reason."""
    with caplog.at_level(logging.WARNING):
        retry(Calls(Transient("no route to host"), Transient("refused")), QUICK, "upsert 20 rows")
    assert [record.getMessage() for record in caplog.records] == [
        "upsert 20 rows failed, attempt 1, trying again: no route to host",
        "upsert 20 rows failed, attempt 2, trying again: refused",
    ]


def test_waits_are_bounded() -> None:
    """No wait is longer than `longest`, however many attempts there were."""
    start = time.monotonic()
    retry(Calls(*[Transient("down")] * 12), RetryPolicy(first=0.001, longest=0.01), "insert")
    assert time.monotonic() - start < 1


def test_a_server_is_left_alone_as_long_as_it_asks() -> None:
    """The wait is at least what the error says, and none is begun that would end after the deadline."""
    start = time.monotonic()
    assert retry(Calls(Throttled("busy", after=0.3)), QUICK, "embed") == 7
    assert 0.3 <= time.monotonic() - start < 2
    calls = Calls(Throttled("busy", after=60.0))
    with pytest.raises(Throttled, match="busy"):
        retry(calls, QUICK, "embed")
    assert (calls.count, time.monotonic() - start < 3) == (1, True)


def test_who_asks_to_stop_is_not_kept_waiting() -> None:
    """The wait under way ends and the last error is raised; other threads, and this one afterwards, try again as before."""
    end, patient = threading.Event(), RetryPolicy(deadline=600.0, first=500.0, longest=500.0)
    calls = Calls(*(Transient("down") for _ in range(1000)))
    asks = threading.Timer(0.05, end.set)
    asks.start()
    with until(end), pytest.raises(Transient, match="down"):
        retry(calls, patient, "insert")
    asks.join()
    assert calls.count < 1000
    assert retry(Calls(Transient("down")), QUICK, "insert") == 7

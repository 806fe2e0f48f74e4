"""Signals end a run where nothing is half done."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from connector.errors import Interrupted, OutOfTime
from connector.stopping import Stop


def send(number: int) -> None:
    """Sends ourselves a signal; Python handles it before the next statement."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def commit(stop: Stop, signals: list[int], steps: list[bool], error: Exception | None = None) -> None:
    """A commit in which these signals come; after each, a step is done. It ends with the error, if any."""
    with stop.shield():
        for number in signals:
            send(number)
            steps.append(stop.event.is_set())
        if error is not None:
            raise error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_at_once(number: int) -> None:
    """Outside of a commit there is nothing to wait for; the signal is known, for the exit code."""
    stop = Stop()
    with stop.on_signals(), pytest.raises(Interrupted) as caught:
        send(number)
    assert caught.value.signal_number == number
    assert stop.event.is_set()


def test_a_commit_is_finished_first() -> None:
    """What Milvus acknowledged is also in the ledger: the signal takes effect when the block is done."""
    stop, steps = Stop(), list[bool]()
    with stop.on_signals(), pytest.raises(Interrupted) as caught:
        commit(stop, [signal.SIGTERM], steps)
    assert steps == [True]
    assert caught.value.signal_number == signal.SIGTERM


def test_a_second_signal_does_not_wait() -> None:
    """Whoever presses Ctrl-C twice means it; the commit protocol survives that too."""
    stop, steps = Stop(), list[bool]()
    with stop.on_signals(), pytest.raises(Interrupted):
        commit(stop, [signal.SIGINT] * 3, steps)
    assert steps == [True]


def test_an_error_in_a_commit_is_not_hidden_by_a_signal() -> None:
    """Why the commit failed is what the user must see."""
    stop = Stop()
    with stop.on_signals(), pytest.raises(ValueError, match="disk full"):
        commit(stop, [signal.SIGINT], [], ValueError("disk full"))


def test_without_a_signal_nothing_happens() -> None:
    """Many commits pass."""
    stop = Stop()
    for _ in range(3):
        with stop.shield():
            pass
    assert not stop.event.is_set()


def test_handlers_are_put_back() -> None:
    """After a run the process handles signals as before, also when the run failed."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with contextlib.suppress(ValueError), Stop().on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
        raise ValueError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def asked(stop: Stop, steps: list[bool]) -> None:
    """A commit in which two others ask to stop."""
    with stop.shield():
        stop.ask(OutOfTime("it hangs"))
        stop.ask(Interrupted(signal.SIGTERM))
        steps.append(stop.event.is_set())


def test_a_run_in_another_thread_is_asked() -> None:
    """With the reason that was given first, after the commit under way, wherever it looks."""
    stop, steps = Stop(), list[bool]()
    with pytest.raises(OutOfTime, match="it hangs"):
        asked(stop, steps)
    assert steps == [True]
    with pytest.raises(OutOfTime, match="it hangs"):
        stop.check()

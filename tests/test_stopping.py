"""Signals end a run where nothing is half done."""

from __future__ import annotations

import os
import signal
import time

import pytest

from connector.errors import Interrupted
from connector.stopping import Stop


def send(number: int) -> None:
    """Sends ourselves a signal; Python handles it before the next statement."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


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
    stop = Stop()
    done = False
    with stop.on_signals(), pytest.raises(Interrupted) as caught, stop.shield():
        send(signal.SIGTERM)
        assert stop.event.is_set()
        done = True
    assert done
    assert caught.value.signal_number == signal.SIGTERM


def test_a_second_signal_does_not_wait() -> None:
    """Whoever presses Ctrl-C twice means it; the commit protocol survives that too."""
    stop = Stop()
    steps = []
    with stop.on_signals(), pytest.raises(Interrupted), stop.shield():
        send(signal.SIGINT)
        steps.append(1)
        send(signal.SIGINT)
        steps.append(2)
    assert steps == [1]


def test_an_error_in_a_commit_is_not_hidden_by_a_signal() -> None:
    """Why the commit failed is what the user must see."""
    stop = Stop()
    with stop.on_signals(), pytest.raises(ValueError, match="disk full"), stop.shield():
        send(signal.SIGINT)
        raise ValueError("disk full")


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
    with pytest.raises(ValueError, match="x"), Stop().on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
        raise ValueError("x")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

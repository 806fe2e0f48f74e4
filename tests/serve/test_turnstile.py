"""Turns on a device: in order, fair, and never kept by somebody who does not come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from connector.errors import Interrupted
from connector.serve.turnstile import PATIENCE, Owner, Turnstile
from connector.stopping import Stop


class Line:
    """Owners who queue up behind one who has the turn."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.order: list[int] = []
        self.threads: list[threading.Thread] = []

    def join(self, priority: int, stop: Stop | None = None) -> Owner:
        """Queues up in a thread, and is in line when this returns."""
        owner, before = Owner(priority, stop or Stop()), len(self.turnstile._waiting)

        def take() -> None:
            with self.turnstile.turn(owner):
                self.order.append(priority)

        self.threads.append(threading.Thread(target=take))
        self.threads[-1].start()
        until(lambda: len(self.turnstile._waiting) > before)
        return owner

    def finish(self) -> list[int]:
        """The order in which they had their turns."""
        for thread in self.threads:
            thread.join(30)
        return self.order


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that another thread does."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_highest_priority_first_then_first_come() -> None:
    """Among those who wait; who has the turn keeps it."""
    line = Line()
    with line.turnstile.turn(Owner(0, Stop())):
        for priority in (1, 5, 1, 9):
            line.join(priority)
        assert line.order == []
    assert line.finish() == [9, 5, 1, 1]


def test_nobody_waits_for_ever() -> None:
    """Who was passed over often enough is next, whatever the priorities."""
    line = Line()
    with line.turnstile.turn(Owner(0, Stop())):
        line.join(-5)
        for _ in range(PATIENCE + 3):
            line.join(5)
    assert line.finish() == [5] * PATIENCE + [-5] + [5] * 3


def test_who_is_asked_to_stop_leaves_the_line() -> None:
    """With the reason that was given; the others move up."""
    turnstile, stop = Turnstile(), Stop()
    with turnstile.turn(Owner(0, Stop())):
        stop.ask(Interrupted(15))
        with pytest.raises(Interrupted), turnstile.turn(Owner(9, stop)):
            pass
        assert turnstile._waiting == []


def test_a_turn_that_is_revoked() -> None:
    """The next one goes on; who hung and comes back late takes nobody's turn away."""
    line, hung = Line(), Owner(0, Stop())
    with line.turnstile.turn(hung):
        line.join(1)
        assert not line.turnstile.revoke(Owner(0, Stop()))
        assert line.turnstile.revoke(hung)
        assert line.finish() == [1]
        with line.turnstile.turn(Owner(2, Stop())):
            assert not line.turnstile.revoke(hung)
    assert line.turnstile._turn is None

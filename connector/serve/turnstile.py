"""Lets one run at a time use a device: who waits longest of the highest priority goes next, and nobody is passed over for ever."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from connector.stopping import Stop

PATIENCE = 8
"""How often others may go first; then it is one's turn whatever the priorities."""

_LOOK = 0.5
"""Seconds after which a run that waits looks whether it is asked to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """A run, as far as turns are concerned.

    Attributes:
        priority: The higher goes first.
        stop: Ends its waiting.
    """

    priority: int
    stop: Stop


@dataclass(slots=True, eq=False)
class _Ticket:
    owner: Owner
    passed: int = 0


class Turnstile:
    """Turns on one device."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._turn: _Ticket | None = None

    @contextlib.contextmanager
    def turn(self, owner: Owner) -> Iterator[None]:
        """Waits for a turn and holds it for the block.

        Raises:
            ConnectorError: The owner was asked to stop while it waited; with that reason.
        """
        ticket = _Ticket(owner)
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._turn is not None or self._next() is not ticket:
                    owner.stop.check()
                    self._changed.wait(_LOOK)
            except BaseException:
                self._waiting.remove(ticket)
                self._changed.notify_all()
                raise
            self._take(ticket)
        try:
            yield
        finally:
            self._end(ticket)

    def revoke(self, owner: Owner) -> bool:
        """Takes the turn away from a run that does not come back; whether it had it."""
        with self._changed:
            turn = self._turn
        if turn is None or turn.owner is not owner:
            return False
        self._end(turn)
        return True

    def _next(self) -> _Ticket:
        return min(self._waiting, key=lambda one: (one.passed < PATIENCE, -one.owner.priority))  # of equal ones the first in line

    def _take(self, ticket: _Ticket) -> None:
        for other in self._waiting[: self._waiting.index(ticket)]:
            other.passed += 1
        self._waiting.remove(ticket)
        self._turn = ticket

    def _end(self, ticket: _Ticket) -> None:
        with self._changed:
            if self._turn is ticket:
                self._turn = None
                self._changed.notify_all()

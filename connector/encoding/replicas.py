"""Deals a window's micro-batches to several open copies of a model, one a device, and gives their outputs back in the order of the batches.

A copy that raises is not believed at once, and neither is the batch: another copy does it again, twice at most. If one can, the copies that
could not are given up and the run goes on with those that are left; if none can, the batch is to blame, and its rows are rejected. Two
batches in a row that nobody can do mean that the model itself is broken, which ends the run. A single copy runs in the caller's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from connector.encoding.microbatches import AHEAD, Done, Replica, Running, Wait
from connector.interfaces import DeviceSpec, Encoder, Head, Prepared

TRIES = 3
"""How often a micro-batch is done at most."""


class Replicas:
    """Open copies of one model; used by one thread.

    Args:
        copies: The copies, at least one.
        notes: Where it is said that a copy was given up.
    """

    def __init__(self, copies: Sequence[Replica], notes: list[str]) -> None:
        self._copies, self._notes = list(copies), notes
        self._free, self._changed = list(copies), threading.Condition()
        self._undecided: list[list[Replica]] = []
        self._hopeless = 0
        self._pool = ThreadPoolExecutor(len(copies), "replica") if len(copies) > 1 else None

    @property
    def first(self) -> Replica:
        """One that speaks for all of them."""
        return self._copies[0]

    @property
    def ahead(self) -> bool:
        """Whether there is use in giving more before what is under way is done."""
        return self._pool is not None or self.first.submit is not None

    def run(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Running:
        """The items on their way; iterating raises what the only copy raised, or the last of several when two batches in a row failed."""
        if self._pool is None:
            return self.first.run(items, heads)
        pool, stop = self._pool, self.first.stop

        def work(batch: list[int]) -> list[Done]:
            return [] if stop.is_set() else self._halved(items, batch, heads)

        def give(batch: list[int]) -> Wait:
            return pool.submit(work, batch).result

        def cut(some: Iterator[Prepared]) -> int:
            return min(self._copies, key=lambda one: one.budget).cut(some)

        return Running(items, give, cut, AHEAD * len(self._copies), stop, drain=True)

    def close(self) -> None:
        """Waits for what is under way."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _halved(self, items: Sequence[Prepared], batch: list[int], heads: Sequence[Head]) -> list[Done]:
        """Does a batch, in halves where memory does not suffice."""
        done = self._tried(items, batch, heads)
        if done is not None:
            return [done]
        middle = len(batch) // 2
        return [*self._halved(items, batch[:middle], heads), *self._halved(items, batch[middle:], heads)]

    def _tried(self, items: Sequence[Prepared], batch: list[int], heads: Sequence[Head]) -> Done | None:
        """Does a batch as often as it takes; None if it does not fit in memory and may be cut."""
        with self._deciding() as failed:
            for attempt in range(TRIES):
                copy = self._take(failed)
                try:
                    done = copy.forward(items, batch, heads)
                except Exception as error:
                    failed.append(copy)
                    reason = getattr(error, "message", f"{type(error).__name__}: {error}")[:300]
                    if attempt + 1 == TRIES and self._is_hopeless():
                        raise
                else:
                    self._give_up(failed, reason if failed else "")
                    return done
                finally:
                    self._give_back(copy)
            return Done(batch, None, f"{TRIES} attempts on {len(set(map(id, failed)))} replicas failed: {reason}")

    @contextmanager
    def _deciding(self) -> Iterator[list[Replica]]:
        """Notes who fails on a batch: until it is known whether it or they are to blame, others ask them only if nobody else is left."""
        failed: list[Replica] = []
        with self._changed:
            self._undecided.append(failed)
        try:
            yield failed
        finally:
            with self._changed:
                self._undecided = [one for one in self._undecided if one is not failed]
                self._changed.notify_all()

    def _take(self, failed: Sequence[Replica]) -> Replica:
        """A copy for oneself: of those that are left one that has not failed on this batch, if there is one, nor on one under way."""
        with self._changed:
            while True:
                fresh = [one for one in self._copies if one not in failed] or self._copies
                fresh = [one for one in fresh if not any(one in some for some in self._undecided)] or fresh
                free = [one for one in self._free if one in fresh]
                if free:
                    self._free.remove(free[0])
                    return free[0]
                self._changed.wait()

    def _give_back(self, copy: Replica) -> None:
        with self._changed:
            if copy in self._copies:
                self._free.append(copy)
            self._changed.notify_all()

    def _give_up(self, failed: Sequence[Replica], reason: str) -> None:
        """Another copy did what these could not."""
        with self._changed:
            self._hopeless = 0
            for copy in failed:
                if copy in self._copies and len(self._copies) > 1:
                    self._copies.remove(copy)
                    self._free = [one for one in self._free if one is not copy]
                    self._notes.append(f"{copy.name}: a replica was given up, {len(self._copies)} are left: {reason}")
            self._changed.notify_all()

    def _is_hopeless(self) -> bool:
        """Counts a batch that nobody could do; whether it is the second one in a row."""
        with self._changed:
            self._hopeless += 1
            return self._hopeless > 1


def spread(encoder: Encoder, device: DeviceSpec) -> list[DeviceSpec]:
    """Where each copy of a model goes: as the encoder's own `spread` says, else as many copies as were asked for in the same place."""
    own: Callable[[DeviceSpec], list[DeviceSpec]] | None = getattr(encoder, "spread", None)
    return own(device) if own is not None else [device] * (1 if device.replicas == "auto" else device.replicas)

"""CONFORM, WRITE and COMMIT: window after window, in an order that survives a crash at any point.

While Milvus takes a window, the one before it is completed in the ledger, and the one behind it is conformed and begun, so that ledger
and server, which both wait for their disks, need not wait for each other. Two windows are under way together only if they have nothing in
common: no document, no key that rows of the first have or had, and none that it takes from a document before it. One request is under way
at a time all the same, the deletion of stale rows included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from connector.faults import hit
from connector.flow import Aside
from connector.observe import traces
from connector.record import Key, Visit, Window

if TYPE_CHECKING:
    from connector.interfaces import Receipt
    from connector.stations import Monitor, Stations

R = TypeVar("R")


@dataclass(slots=True)
class _Sent:
    """A window on its way to Milvus.

    Attributes:
        window: The window.
        keys: Primary keys of its good rows, by index.
        documents: Keys of its documents.
        had: Natural keys of rows that its documents have or had.
        robs: Whether it takes keys from documents before it.
        receipt: Comes when the window is acknowledged.
    """

    window: Window
    keys: dict[int, Key]
    documents: set[str]
    had: set[Key]
    robs: bool
    receipt: Future[Receipt]


class Committer:
    """The last three stations; a window that was given is committed when `finish` or the one after next returns.

    1. The intent is recorded: status `writing`, the largest number of rows before or now, natural keys.
    2. The good rows are upserted and acknowledged.
    3. Stale rows of documents that end here are deleted by primary key.
    4. One transaction marks these documents and their position.
    A crash before 4 leaves `writing`: the next run reads the document again, and every row it may have is known.

    Args:
        stations: Of the run.
        monitor: Its report is filled; `on_window` is called after every committed window.
        aside: The thread that sends; None: nothing overlaps.
    """

    def __init__(self, stations: Stations, monitor: Monitor, aside: Aside | None) -> None:
        self._stations, self._monitor, self._watch = stations, monitor, monitor.watch
        self._aside = aside
        self._sent: _Sent | None = None

    def __call__(self, window: Window) -> None:
        """Conforms, begins and sends a window, and completes the one before it."""
        documents = {part.visit.key for part in window.parts}
        if self._sent is not None and (self._sent.robs or not documents.isdisjoint(self._sent.documents)):
            self.finish()
        with self._time(window, "conform"):
            keys = self._stations.conform(window)
        hit("window.conformed")
        if self._sent is not None and not self._sent.had.isdisjoint(keys.values()):
            self.finish()
        had = self._begin(window, keys)
        before, robs = self._acknowledged(), self._stations.ledger.robs(window)
        try:
            self._monitor.stop.check_time()  # what is begun and not sent is read again by the next run, as what comes behind it is
            self._sent = _Sent(window, keys, documents, had, robs, self._apart(partial(self._write, window)))
        finally:
            if before is not None:
                self._complete(before)
        if self._aside is None:
            self.finish()

    def finish(self) -> None:
        """Completes what was sent."""
        before = self._acknowledged()
        if before is not None:
            self._complete(before)

    def _begin(self, window: Window, keys: dict[int, Key]) -> set[Key]:
        """Records the intent; rows whose key belongs to another document become bad. Returns the keys that its documents have or had."""
        stations, natural = self._stations, self._stations.natural
        with self._time(window, "ledger"):
            cursor, append = stations.source.mode == "cursor", stations.sync == "append"
            taken = stations.ledger.begin(window, keys if natural else None, take_over=cursor, append=append)
            had = stations.ledger.had(_ending(window)) | set(keys.values()) if natural else set[Key]()
        for index, owner in taken.items():
            window.bad[index] = ("claim", f"key {keys.pop(index)!r} belongs to the document `{owner}`")
        hit("ledger.begun")
        return had

    def _write(self, window: Window) -> Receipt:
        with self._time(window, "write"):
            return self._stations.sink.write(window)

    def _acknowledged(self) -> _Sent | None:
        """What was sent, once Milvus has it; nothing is under way then."""
        sent, self._sent = self._sent, None
        if sent is not None:
            sent.receipt.result()
        return sent

    def _complete(self, sent: _Sent) -> None:
        window, receipt, stations, report = sent.window, sent.receipt.result(), self._stations, self._monitor.report
        window.bad |= {index: ("write", reason) for index, reason in receipt.rejects.items()}
        _settle(window, sent.keys, receipt.acknowledged)
        with self._time(window, "ledger"):
            stale = stations.ledger.stale(_ending(window))
        if stale:
            report.rows.deleted += self._apart(partial(self._delete, window, stale)).result()
        hit("stale.deleted")
        with self._time(window, "ledger"):
            stations.ledger.complete(window, report.run_id, take_over=stations.source.mode == "cursor")
        hit("ledger.completed")
        report.rows.upserted += len(receipt.acknowledged)
        report.count_committed([part.visit for part in window.parts if part.last])
        self._watch.moved("commit", window.nbytes)
        traces.end(window)
        self._monitor.on_window(report)

    def _delete(self, window: Window, keys: Sequence[Key]) -> int:
        with self._time(window, "write"):
            return self._stations.sink.delete(keys)

    @contextmanager
    def _time(self, window: Window, station: str) -> Iterator[None]:
        """Times a block, within the window's span if runs are traced."""
        with traces.within(window), self._watch.time(station):
            yield

    def _apart(self, task: Callable[[], R]) -> Future[R]:
        """Does it in the thread that sends, behind what that is doing; without threads, here and now."""
        if self._aside is not None:
            return self._aside.do(task)
        done: Future[R] = Future()
        done.set_result(task())
        return done


def _ending(window: Window) -> list[Visit]:
    """Visits that end in this window and write."""
    return [part.visit for part in window.parts if part.last and part.visit.writes]


def _settle(window: Window, keys: dict[int, Key], acknowledged: list[int]) -> None:
    """Notes on every visit what was written of it and what was not."""
    accepted = set(acknowledged)
    for index, visit, ordinal in window.whose():
        if index in window.bad:
            station, reason = window.bad[index]
            visit.reject(station, reason, ordinal=ordinal, retry=station == "claim")
        elif index in accepted:
            visit.acknowledged.add(keys[index])
    for part in window.parts:
        if part.last and part.visit.outcome is None:
            part.visit.outcome = "written"

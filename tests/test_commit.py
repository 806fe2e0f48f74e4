"""A window is completed while the next one is being written, and only where neither can spoil the other."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connector.errors import Interrupted, Transient
from connector.interfaces import Receipt
from connector.ledger import Ledger
from connector.record import Key, Removed, Window
from connector.schema import spec_of
from connector.stopping import Stop
from connector.testing.sinks import MemorySink
from tests.test_pipeline import Bench, Notes, People

PATIENCE = 20.0


@dataclass
class WatchedSink(MemorySink):
    """Notes what was at work when.

    Attributes:
        together: How many calls were under way at a time, at most.
        order: What was done, by name.
    """

    together: int = 0
    order: list[str] = field(default_factory=list)
    _now: int = 0

    def write(self, window: Window) -> Receipt:
        """Takes a while, for others to come in between."""
        with self:
            time.sleep(0.01)
            self.order.append("write " + " ".join(part.visit.key for part in window.parts))
            return super().write(window)

    def delete(self, keys: Sequence[Key]) -> int:
        """The same."""
        with self:
            time.sleep(0.01)
            self.order.append(f"delete {' '.join(map(str, keys))}")
            return super().delete(keys)

    def __enter__(self) -> None:
        self._now += 1
        self.together = max(self.together, self._now)

    def __exit__(self, *_: object) -> None:
        self._now -= 1


def bench(folder: Path, natural: bool = False) -> tuple[Bench, WatchedSink]:  # noqa: FBT001, FBT002 - of a test
    """A collection that is watched."""
    made, sink = Bench(folder, spec_of(People if natural else Notes)), WatchedSink()
    made.sink = sink
    return made, sink


def documents(count: int, version: str = "1", rows: int = 4) -> list[Any]:
    """Each fills a window."""
    return [(f"d{number}", version, [f"{number}{row}={version}" for row in range(rows)]) for number in range(count)]


def test_the_ledger_works_while_milvus_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second write is not over before the first window is completed: if they did not overlap, this would wait in vain."""
    notes, sink = bench(tmp_path)
    completed = threading.Semaphore(0)
    complete, write, waited = Ledger.complete, sink.write, list[bool]()

    def noted(ledger: Ledger, *given: Any, **named: Any) -> None:
        complete(ledger, *given, **named)
        completed.release()

    def slow(window: Window) -> Receipt:
        if waited or len(sink.writes) > 0:
            waited.append(completed.acquire(timeout=PATIENCE))
        return write(window)

    monkeypatch.setattr(Ledger, "complete", noted)
    sink.write = slow  # type: ignore[method-assign]
    assert notes.run(documents(5), workers=1).counts.written == 5
    assert waited == [True] * 4
    assert sink.together == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_one_request_at_a_time(tmp_path: Path, workers: int) -> None:
    """Rows that are deleted wait for the window that is being written."""
    notes, sink = bench(tmp_path)
    notes.run(documents(6), workers=workers)
    report = notes.run(documents(6, "2", 2), workers=workers)
    assert (report.rows.upserted, report.rows.deleted, sink.together) == (12, 12, 1)
    assert len(notes.texts) == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_that_moves_waits_for_its_stale_row(tmp_path: Path, workers: int) -> None:
    """Deleting what the first window left behind never takes what the second one has just written."""
    people, sink = bench(tmp_path, natural=True)
    people.run([("a", "1", ["k=a", "l=a", "m=a", "n=a"]), ("b", "1", ["o=b", "p=b", "q=b", "r=b"])], workers=workers)
    sink.order.clear()
    report = people.run([("a", "2", ["l=A", "m=A", "n=A", "s=A"]), ("b", "2", ["k=B", "o=B", "p=B", "q=B"])], workers=workers)
    assert (report.counts.written, report.rows.deleted) == (2, 2)
    assert people.texts == ["k=B", "l=A", "m=A", "n=A", "o=B", "p=B", "q=B", "s=A"]
    assert sink.order == ["write a", "delete k", "write b", "delete r"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_document_twice_in_a_row(tmp_path: Path, workers: int) -> None:
    """A cursor's A, B, A, and a document longer than a window: each waits for itself, and the last version stays."""
    notes, sink = bench(tmp_path)
    long = [f"a{row}" for row in range(11)]
    report = notes.run([("a", "1", long), ("b", "1", ["b"]), ("a", "2", ["a0"]), Removed("b")], mode="cursor", workers=workers)
    assert (report.counts.written, notes.texts, sink.together) == (3, ["a0"], 1)
    assert notes.run([("a", "1", long), ("b", "1", ["b"]), ("a", "2", ["a0"]), Removed("b")], mode="cursor").counts.listed == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_keys_taken_from_earlier_windows(tmp_path: Path, workers: int) -> None:
    """In a cursor source each window takes a row from the document before it: the counts of all of them are right in the end."""
    people, _ = bench(tmp_path, natural=True)
    taking = [(f"d{number}", "1", [f"k{number}=x", f"k{number + 1}=x", f"u{number}=x", f"v{number}=x"]) for number in range(6)]
    people.run(taking, mode="cursor", workers=workers)
    with Ledger(tmp_path / "state.db") as ledger:
        ledger.look("job", "uid", natural=True)
        known = ledger.known([f"d{number}" for number in range(6)])
        assert {key: one.rows for key, one in known.items()} == {**{f"d{number}": 3 for number in range(5)}, "d5": 4}
        assert {one.status for one in known.values()} == {"done"}
        assert ledger.counts() == (6, len(people.sink.rows))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_write_that_fails_commits_what_came_before(tmp_path: Path, workers: int) -> None:
    """The window before the one that failed is done, those behind it are not, and the next run writes exactly these."""
    notes, sink = bench(tmp_path)
    sink.fail = [None, None, Transient("Milvus is away")]
    with pytest.raises(Transient):
        notes.run(documents(5), workers=workers)
    with Ledger(tmp_path / "state.db") as ledger:
        ledger.look("job", "uid")
        done = [key for key, known in ledger.known([f"d{number}" for number in range(5)]).items() if known.status == "done"]
    assert sorted(done) == ["d0", "d1"]
    report = notes.run(documents(5), workers=workers)
    assert (report.counts.unchanged, report.counts.written, len(notes.texts)) == (2, 3, 20)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_before_the_end_commits_what_was_sent(tmp_path: Path, workers: int) -> None:
    """A source that breaks off leaves nothing half done behind it."""
    notes, _ = bench(tmp_path)
    with pytest.raises(OSError, match="the disk is gone"):
        notes.run([*documents(3), OSError("the disk is gone")], workers=workers)
    with Ledger(tmp_path / "state.db") as ledger:
        ledger.look("job", "uid")
        assert ([*ledger.unfinished()], len(notes.texts)) == ([], 12)


def test_a_second_signal_waits_for_no_server(tmp_path: Path) -> None:
    """The first signal lets the window under way land; if Milvus is away for long, a second one ends the run at once all the same."""
    notes, sink = bench(tmp_path)
    landed: list[bool] = []
    stop, entered, back, write = Stop(), threading.Event(), threading.Event(), sink.write

    def away(window: Window) -> Receipt:
        entered.set()
        landed.append(back.wait(PATIENCE * 5))
        return write(window)

    def twice() -> None:
        assert entered.wait(PATIENCE)
        signal.pthread_kill(main, signal.SIGTERM)
        while not stop.event.wait(0.01):
            pass
        time.sleep(0.2)  # for the first one to be handled: two at once are one
        signal.pthread_kill(main, signal.SIGTERM)

    sink.write, main = away, threading.main_thread().ident or 0  # type: ignore[method-assign]
    sender = threading.Thread(target=twice)
    with stop.on_signals():
        sender.start()
        try:
            with pytest.raises(Interrupted):
                notes.run(documents(5), workers=1, stop=stop)
            assert landed == [], "nobody waited for it"
        finally:
            back.set()
            sender.join()
    while any(thread.name == "write" for thread in threading.enumerate()):
        time.sleep(0.01)

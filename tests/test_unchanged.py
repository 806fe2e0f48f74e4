"""What does not change costs next to nothing: it is compared while it is listed, and goes no further."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.record import Document, Gap, Position, Removed, Row, Visit, Window
from connector.report import RunReport
from connector.schema import spec_of
from connector.sources.rows import RowsSource
from connector.stations import Options
from connector.testing.sinks import MemorySink
from tests.bench.nowhere import fill, run_nowhere
from tests.test_pipeline import Bench, Listed, encode
from tests.test_pipeline import Notes as Texts


class Held(Listed):
    """A source whose payloads are in memory."""

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """The documents, as those of a table are."""
        for item in super().read(partition, after):
            yield replace(item, held=True) if isinstance(item, Document) else item


class Counting:
    """ENCODE, and how many windows came to it."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, windows: Iterator[Window]) -> Iterator[Window]:
        """As `encode`."""
        for window in encode(windows):
            self.windows += 1
            yield window


@pytest.fixture
def notes(tmp_path: Path) -> Bench:
    """Generated keys."""
    return Bench(tmp_path, spec_of(Texts))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_held_is_compared_while_it_is_listed(notes: Bench, workers: int) -> None:
    """Equal content without a version makes no row, no window and no note in the ledger; one that changed goes on alone."""
    documents: list[Any] = [(f"d{number}", None, [f"text {number}"]) for number in range(1200)]
    notes.run(Held(documents), workers=workers)
    seen = Counting()
    report = notes.run(Held(documents), workers=workers, encode=seen)
    assert (report.counts.unchanged, seen.windows) == (1200, 0)
    documents[700] = ("d700", None, ["changed"])
    before = len(notes.sink.writes)
    report = notes.run(Held(documents), workers=workers, encode=seen)
    assert (report.counts.unchanged, report.counts.written, seen.windows) == (1199, 1, 1)
    assert [len(keys) for keys in notes.sink.writes[before:]] == [1]


def test_only_what_is_sure_is_skipped(notes: Bench) -> None:
    """A key that stands twice, a document that was rejected, one whose version or settings changed: none of them is passed over."""
    documents: list[Any] = [("a", "1", ["a"]), ("b", "1", ValueError("not yet")), ("c", "1", ["c", "too long " * 9])]
    notes.run(Held(documents))
    twice = notes.run(Held([*documents, ("a", "1", ["another"])]))
    assert (twice.counts.unchanged, twice.counts.rejected) == (1, 3)
    assert "listed twice" in " ".join(twice.rejects)
    mended: list[Any] = [("a", "2", ["a"]), ("b", "1", ["b"]), ("c", "2", ["c", "short"])]
    assert notes.run(Held(mended)).counts.written == 2
    assert notes.texts == ["a", "b", "c", "short"]
    again = Held(mended)
    assert notes.run(again).counts.unchanged == 3
    assert again.opened == []  # the new version was noted
    assert notes.run(Held(mended), fingerprint="e" * 16).counts.written == 3
    assert notes.run(Held(mended), fingerprint="e" * 16, options=Options(full_refresh=True)).counts.written == 3


def test_what_cannot_be_compared_is_told_by_its_reading(notes: Bench) -> None:
    """A value that raises while it is hashed rejects its document by name, as on the first run, and ends nothing."""

    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no name")

    documents: list[Any] = [("a", None, ["a"]), ("b", None, ["b"])]
    notes.run(Held(documents))
    documents[0] = ("a", None, [Bad()])
    report = notes.run(Held(documents))
    assert (report.counts.unchanged, report.counts.rejected) == (1, 1)
    assert "a: RuntimeError: no name" in report.rejects


def test_two_threads_count() -> None:
    """The thread that lists and the one that commits add to the same counts, and lose none."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    report, visit = RunReport(run_id="1", job="j"), Visit(Document("a", lambda: pytest.fail("opened")), outcome="unchanged")

    def listed() -> None:
        for _ in range(20_000):
            report.count_listed([visit], [True])

    listing = threading.Thread(target=listed)
    try:
        listing.start()
        for _ in range(20_000):
            report.count(visit)
        listing.join()
    finally:
        sys.setswitchinterval(before)
    assert (report.counts.listed, report.counts.unchanged) == (20_000, 40_000)


MANY = 100_000


def test_one_of_a_hundred_thousand(tmp_path: Path) -> None:
    """One document changed: its rows are encoded and written, and nothing else is."""
    rows: list[Row] = [{"name": f"k{number:06}", "text": f"note {number}"} for number in range(MANY)]
    assert fill(RowsSource(rows, key="name"), tmp_path / "state.db") == MANY
    rows[MANY // 2] = {"name": f"k{MANY // 2:06}", "text": "another text"}
    sink = MemorySink()
    report, encoded = run_nowhere(RowsSource(rows, key="name"), tmp_path / "state.db", sink=sink)
    assert (report.counts.unchanged, report.counts.written, encoded) == (MANY - 1, 1, 1)
    assert [len(keys) for keys in sink.writes] == [1]
    assert [(row["connector_key"], row["text"]) for row in sink.rows.values()] == [(f"k{MANY // 2:06}", "another text")]
    assert sink.deletes == []

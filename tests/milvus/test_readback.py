"""A run that exits 0 has read its rows back; one behind whose back something changed says so, and the next one mends just that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

import connector
from connector.job import Job
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Document, Payload, Removed, Window
from tests.milvus.shelf import GOOD, Shelf, Tamper, contents, drop, flip, open_shelf, retitle, shelf_job


@pytest.fixture
def job(settings: MilvusSettings) -> Job:
    """Forty rows."""
    return shelf_job(settings)


def tampering(monkeypatch: pytest.MonkeyPatch, tamper: Tamper) -> None:
    """Does something to the collection right after the first window was acknowledged, once."""
    write, left = MilvusSink.write, [tamper]

    def acknowledged(self: MilvusSink, window: Window) -> Any:
        receipt = write(self, window)
        if left:
            left.pop()(self)
        return receipt

    monkeypatch.setattr(MilvusSink, "write", acknowledged)


def test_a_good_run_says_what_it_counted(job: Job) -> None:
    """All rows by count, and a sample; nothing differs, also when nothing was written."""
    report = connector.run(job)
    assert report.verified is not None
    assert (report.exit_code, report.verified.rows, report.verified.written, report.verified.sampled) == (0, 40, 40, 40)
    assert "verified: 40 rows counted as written, 40 read back equal" in str(report)
    again = connector.run(job).verified
    assert again is not None
    assert (again.rows, again.sampled, again.good) == (40, 0, True)


@pytest.mark.parametrize("tamper", [drop, flip, retitle], ids=lambda tamper: tamper.__name__)
def test_a_changed_row_turns_the_run_red_and_the_next_one_mends_it(
    job: Job, settings: MilvusSettings, monkeypatch: pytest.MonkeyPatch, tamper: Tamper
) -> None:
    """Exit code 3, the document by name; the next run encodes that document and no other."""
    tampering(monkeypatch, tamper)
    report = connector.run(job)
    assert report.verified is not None
    assert (report.exit_code, report.verified.differing) == (3, 1)
    assert "does not hold what was written" in report.message
    assert report.verified.shown[0].startswith("s7: ")
    assert contents(settings) != GOOD
    mended = connector.run(job)
    assert (mended.exit_code, mended.encoded, mended.counts.written, mended.counts.unchanged) == (0, 1, 1, 39)
    assert contents(settings) == GOOD


def test_rows_lost_between_two_runs_are_noticed_by_a_run_that_has_nothing_to_do(job: Job, settings: MilvusSettings) -> None:
    """Never "0 changed" over a collection that lost rows."""
    connector.run(job)
    with connect(settings) as connection:
        drop(open_shelf(connection))
    report = connector.run(job)
    assert (report.exit_code, report.counts.unchanged) == (3, 40)
    assert connector.run(job).encoded == 1
    assert contents(settings) == GOOD


def test_a_row_that_is_rewritten_in_the_same_run_is_not_held_against_it(settings: MilvusSettings) -> None:
    """A document that comes twice in a run, as a cursor source may have it, is compared with its last version; a removed one is not."""

    class Feed:
        mode = "cursor"

        def partitions(self) -> list[str]:
            return [""]

        def read(self, partition: str, after: Any) -> Iterator[Document | Removed]:
            titles: Sequence[str | None] = ("first", "second", None, "third", "second")
            for number, title in enumerate(titles):
                if after is None or number > after:
                    row = {"sku": "a" if number < 4 else "b", "title": title}
                    document = Document(str(row["sku"]), partial(Payload, row), position=number)
                    yield document if title else Removed("a", number)

    job = Job.check({"job": "feed", "into": Shelf, "milvus": settings, "source": Feed(), "workers": 0}, "test")
    report = connector.run(job)
    assert (report.exit_code, report.message, report.verified and report.verified.rows) == (0, "", 2)
    assert contents(settings) == {"a": ("third", True), "b": ("second", True)}

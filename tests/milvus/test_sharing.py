"""Several jobs and one collection: by namespaces they never touch each other's rows, and what two sources claim is told, not doubled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import connector
from connector.commands.verifying import verify_job
from connector.errors import Refused
from connector.job import Job
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Document, Payload, Row
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.sources.rows import RowsSource
from connector.stations import Options
from tests.milvus.shelf import Shelf, shelf_job

Rows = list[dict[str, Any]]


class Stock(Collection):
    """Natural keys, words encoded."""

    sku: str = Field(primary_key=True, max_length=8)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


def lines(row: Row) -> list[Row]:
    """As many rows as the document says."""
    return [{**row, "title": f"{row['title']} {number}"} for number in range(row["lines"])]


def found(settings: MilvusSettings, collection: type[Collection], namespace: str | None = None) -> list[str]:
    """The titles of a namespace's rows."""
    spec = spec_of(collection)
    with connect(settings) as connection:
        sink = MilvusSink(connection, f"{spec.name}__g1", spec)
        titles = sorted(row["title"] for row in sink.scan(namespace, ["title"]))
        assert sink.count(namespace) == len(titles)
    return titles


def wanted(rows: Rows) -> list[str]:
    """The titles that a namespace must have."""
    return sorted(f"{row['title']} {number}" for row in rows for number in range(row["lines"]))


def of(job: str, *counts: int) -> Rows:
    """Documents with the same keys in every job, with so many lines each."""
    return [{"sku": f"s{number}", "title": f"{job} {number}", "lines": count} for number, count in enumerate(counts)]


def test_two_mirrors_in_one_collection(settings: MilvusSettings) -> None:
    """Same document keys, every operation on one of them: the other one's rows stay exactly as they were, and it finds nothing to do."""

    def job(name: str, rows: Rows) -> Job:
        return shelf_job(settings, rows, job=name, transform=lines, split=None)

    def check(ours: Rows, theirs: Rows) -> None:
        assert found(settings, Shelf, "one") == wanted(ours)
        assert found(settings, Shelf, "two") == wanted(theirs)
        assert len(found(settings, Shelf)) == len(wanted(ours)) + len(wanted(theirs))

    theirs = of("two", 3, 1, 2)
    connector.run(job("two", theirs))
    history = [of("one", 5, 1, 0, 4), of("one", 1, 1, 3), of("one", 2), of("one", 2, 2, 2, 2, 2)]
    for ours in history:
        report = connector.run(job("one", ours), options=Options(allow_mass_delete=True))
        assert (report.exit_code, report.verified and report.verified.rows) == (0, len(wanted(ours)))
        check(ours, theirs)
    ours = history[-1]
    connector.run(job("one", ours), options=Options(full_refresh=True))
    assert verify_job(job("one", ours), full=True, repair=True).exit_code == 0
    job("one", ours).state_path.unlink()
    assert connector.run(job("one", ours)).encoded == 0
    check(ours, theirs)
    untouched = connector.run(job("two", theirs))
    assert (untouched.counts.unchanged, untouched.rows.upserted, untouched.rows.deleted, untouched.exit_code) == (3, 0, 0, 0)
    connector.purge(job("one", ours))
    check([], theirs)


def stock_job(settings: MilvusSettings, rows: Any, **keys: Any) -> Job:
    """A job over rows with natural keys."""
    source = rows if hasattr(rows, "read") else RowsSource(rows, key="sku")
    return Job.check({"job": "stock", "into": Stock, "milvus": settings, "source": source, "workers": 0, **keys}, "test")


LEFT: Rows = [{"sku": "a", "title": "left a"}, {"sku": "b", "title": "left b"}]
RIGHT: Rows = [{"sku": "b", "title": "right b"}, {"sku": "c", "title": "right c"}]


def test_natural_keys_have_one_namespace(settings: MilvusSettings) -> None:
    """A second namespace could overwrite the first one's rows, so it is refused and nothing is touched."""
    connector.run(stock_job(settings, LEFT))
    with pytest.raises(Refused, match="belongs to namespace `stock`"):
        connector.run(stock_job(settings, RIGHT, job="right"))
    assert found(settings, Stock) == ["left a", "left b"]


def test_two_sources_feed_one_namespace_through_one_ledger(settings: MilvusSettings) -> None:
    """With the ledger shared nothing is lost or doubled; the key that both list is the later run's, and every count is right."""
    for rows in (LEFT, RIGHT, LEFT, RIGHT):
        report = connector.run(stock_job(settings, rows, job="left" if rows is LEFT else "right", namespace="stock", state="shared.db"))
        assert (report.exit_code, report.counts.rejected) == (0, 0)
    assert found(settings, Stock) == ["left a", "right b", "right c"]
    assert verify_job(stock_job(settings, RIGHT, state="shared.db"), full=True).exit_code == 0


def test_two_ledgers_for_one_namespace_are_told(settings: MilvusSettings) -> None:
    """Each would believe that it alone writes there: the one that finds more rows than it wrote says so, and nothing is doubled."""
    assert connector.run(stock_job(settings, LEFT, state="left.db")).exit_code == 0
    assert connector.run(stock_job(settings, RIGHT, state="right.db")).exit_code == 0
    report = connector.run(stock_job(settings, LEFT, state="left.db"))
    assert (report.exit_code, report.verified and (report.verified.rows, report.verified.written)) == (3, (3, 2))
    assert found(settings, Stock) == ["left a", "right b", "right c"]


class Feed:
    """Documents named apart from their primary keys, as a listing or a cursor source."""

    def __init__(self, rows: list[tuple[str, str, str]], mode: str) -> None:
        self.rows = rows
        self.mode: Any = mode

    def partitions(self) -> list[str]:
        """One."""
        return [""]

    def read(self, partition: str, after: Any) -> Iterator[Document]:
        """The rows, in order."""
        for number, (name, sku, title) in enumerate(self.rows):
            if self.mode == "listing" or after is None or number > after:
                row = {"sku": sku, "title": title}
                yield Document(name, partial(Payload, row), version="1", position=number if self.mode == "cursor" else None)


TWICE = [("one", "a", "one a"), ("two", "a", "two a"), ("three", "b", "three b")]


def test_one_primary_key_in_two_documents_of_a_listing(settings: MilvusSettings) -> None:
    """The first one has it, the later one is rejected by name on every run, and counts and collection agree."""
    job = stock_job(settings, Feed(TWICE, "listing"), rejects={"fail_over": 1})
    for _ in range(3):
        report = connector.run(job)
        counts = report.counts
        assert (report.exit_code, counts.rejected, counts.listed) == (0, 1, 3)
        assert found(settings, Stock) == ["one a", "three b"]
    assert verify_job(job, full=True).exit_code == 0


@pytest.mark.parametrize("apart", [False, True], ids=["one run", "two runs"])
def test_one_primary_key_in_two_documents_of_a_cursor_source(settings: MilvusSettings, *, apart: bool) -> None:
    """The last one has it; the one that lost it is known to have a row less, so the run is green and stays so."""
    for rows in (TWICE[:1], TWICE) if apart else (TWICE,):
        report = connector.run(stock_job(settings, Feed(rows, "cursor")))
        assert (report.exit_code, report.message) == (0, "")
    assert found(settings, Stock) == ["three b", "two a"]
    again = connector.run(stock_job(settings, Feed(TWICE, "cursor")))
    assert (again.exit_code, again.rows.upserted) == (0, 0)
    found_now = verify_job(stock_job(settings, Feed(TWICE, "cursor")), full=True)
    assert found_now.exit_code == 0, str(found_now)

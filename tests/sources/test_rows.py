"""Rows from any iterable: each is a document, right or wrong."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import connector
from connector.errors import ConfigError, DocumentError
from connector.record import Document, Payload
from connector.sources.rows import RowsSource
from connector.testing.sources import check_source


def listing(rows: Any, **options: Any) -> list[Document]:
    """The documents that a source over `rows` lists."""
    return [item for item in RowsSource(rows, **options).read("", None) if isinstance(item, Document)]


@pytest.mark.parametrize("key", [None, "id"])
def test_contract(key: str | None) -> None:
    """The source keeps the contract of every source."""
    check_source(functools.partial(RowsSource, [{"id": 1}, {"id": "b"}], key=key))


def test_key_column_is_the_key() -> None:
    """The key column, as text, is the document's key, and the row is the payload."""
    document = listing([{"id": 7, "x": 1}], key="id")[0]
    assert (document.key, document.version) == ("7", None)
    assert document.open() == Payload({"id": 7, "x": 1})


def test_without_a_key_rows_are_numbered() -> None:
    """Without a key the row's number, from 1, is the key, and the source says so."""
    assert [d.key for d in listing([{}, {}])] == ["1", "2"]
    assert RowsSource([]).numbered
    assert not RowsSource([], key="id").numbered


def test_payload_is_a_copy() -> None:
    """What later stations do to a row does not reach the caller's own dict."""
    row = {"x": 1}
    listing([row])[0].open().fields["x"] = 2
    assert row == {"x": 1}


def test_generator_can_be_read_once() -> None:
    """A second reading of a generator is an error, not an empty listing."""
    source = RowsSource(row for row in [{"x": 1}])
    assert len(list(source.read("", None))) == 1
    with pytest.raises(ConfigError, match="generator can be read only once"):
        source.read("", None)


def test_rows_are_read_one_at_a_time() -> None:
    """An endless generator can be listed: rows are not gathered first."""
    source = RowsSource({"n": n} for n in iter(int, 1))
    first = next(source.read("", None))
    assert isinstance(first, Document)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["x"], "rows, row 2: wants a dict, found list"),
        (None, "rows, row 2: wants a dict, found NoneType"),
        ({"x": 1}, "rows, row 2: no column `id`, which is the key; found: x"),
        ({"id": None}, "rows, row 2: the key `id` wants text or a whole number, found None"),
        ({"id": ""}, "the key `id` wants text or a whole number, found ''"),
        ({"id": 1.5}, "the key `id` wants text or a whole number, found 1.5"),
        ({"id": True}, "the key `id` wants text or a whole number, found True"),
        ({"id": "\ud800"}, "is not valid text"),
        ({"id": "a\0b"}, "is not valid text"),
    ],
)
def test_wrong_row_is_listed_and_rejected(row: Any, reason: str) -> None:
    """A wrong row is listed under its place, which no key looks like, and says what is wrong when it is opened; others are untouched."""
    documents = listing([{"id": "a"}, row, {"id": "c"}], key="id")
    assert [(d.key, d.unnamed) for d in documents] == [("a", False), ("rows:2", True), ("c", False)]
    with pytest.raises(DocumentError) as caught:
        documents[1].open()
    assert reason in str(caught.value)


@pytest.mark.parametrize("rows", [{"a": 1}, "rows", b"rows", 5])
def test_what_is_no_iterable_of_rows_is_refused(rows: Any) -> None:
    """A dict, a text or a number instead of rows is the caller's mistake, told at once."""
    with pytest.raises(ConfigError, match="wants an iterable of dicts"):
        RowsSource(rows)


def test_rows_given_by_name_can_be_read_again() -> None:
    """A list stays a list on its way through the registry: a job object can be run twice."""
    source = connector.source("rows", rows=[{"id": 1}, {"id": 2}], key="id")
    assert [len(list(source.read("", None))) for _ in range(2)] == [2, 2]

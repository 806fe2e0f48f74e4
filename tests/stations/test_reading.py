"""READ to SPLIT: one document in, its rows out; nothing that is wrong with one document ends the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector.errors import AuthError, ConfigError, DocumentError, MissingExtra, RowError, Transient
from connector.interfaces import Parser
from connector.record import Document, Known, Payload, Row, Visit, content_hash
from connector.stations.reading import Reader
from connector.stopwatch import Stopwatch


class Lines:
    """A parser: one row a line."""

    media_types = frozenset({"text/plain"})

    def parse(self, payload: Payload) -> list[Row]:
        """Rows with a text and a title."""
        assert payload.data is not None
        return [{"text": line, "title": "parsed"} for line in payload.data.decode().splitlines()]


class Halves:
    """A splitter."""

    def split(self, text: str) -> list[tuple[int, int]]:
        """Two passages, none for white space."""
        middle = len(text) // 2
        return [(0, middle), (middle, len(text))] if text.strip() else []


def parsers(media_type: str) -> Parser:
    """The parser of a media type."""
    if media_type != "text/plain":
        raise DocumentError(f"no parser for {media_type}")
    return Lines()


def read(reader: Reader, payload: Payload | BaseException, *, known: Known | None = None, size: int | None = None) -> Visit:
    """Reads one document that holds this, or fails so when it is opened."""

    def opened() -> Payload:
        if isinstance(payload, BaseException):
            raise payload
        return payload

    return reader(Visit(Document("doc", opened, size=size), known=known))


TEXT = Payload({"path": "a.txt", "title": "offered"}, b"one\ntwo", "text/plain")
TABLE = Payload({"sku": "1", "text": "abcd"})


def test_a_file_is_parsed_and_split() -> None:
    """Rows hold what the source offers, what the parser found (which wins), and where each passage stands."""
    visit = read(Reader(parsers, Halves()), TEXT)
    assert visit.outcome is None
    assert visit.total == 4
    common = {"key": "doc", "path": "a.txt", "title": "parsed"}
    assert visit.rows == [
        {**common, "ordinal": 0, "text": "o", "start": 0, "end": 1},
        {**common, "ordinal": 1, "text": "ne", "start": 1, "end": 3},
        {**common, "ordinal": 2, "text": "t", "start": 0, "end": 1},
        {**common, "ordinal": 3, "text": "wo", "start": 1, "end": 3},
    ]


def test_a_table_row_is_split_only_when_the_job_says_so() -> None:
    """A row that came ready-made stays one row, unless `split:` is written."""
    assert read(Reader(parsers, Halves()), TABLE).rows == [{"key": "doc", "ordinal": 0, "sku": "1", "text": "abcd"}]
    assert [row["text"] for row in read(Reader(parsers, Halves(), split_rows=True), TABLE).rows] == ["ab", "cd"]
    without_text = Payload({"sku": "1"})
    assert [row["sku"] for row in read(Reader(parsers, Halves(), split_rows=True), without_text).rows] == ["1"]


def test_map_says_where_a_field_comes_from() -> None:
    """`map: {body: text}` fills `body` from the offered `text`; a text under another name is the one that is split."""
    row = read(Reader(parsers, mapping={"body": "text", "none": "missing"}), TABLE).rows[0]
    assert (row["body"], row["text"], "none" in row) == ("abcd", "abcd", False)
    other = Payload({"content": "wxyz"})
    rows = read(Reader(parsers, Halves(), split_rows=True, mapping={"text": "content"}), other).rows
    assert [row["text"] for row in rows] == ["wx", "yz"]


@pytest.mark.parametrize(
    ("transform", "texts", "outcome"),
    [
        (lambda row: {**row, "text": "new"}, ["new"], None),
        (lambda row: [{"text": "x"}, {"text": "y"}], ["x", "y"], None),
        (lambda _: None, [], "empty"),
        (lambda _: [], [], "empty"),
    ],
)
def test_transform(transform: Callable[[Row], Any], texts: list[str], outcome: str | None) -> None:
    """A row in; a row, several, or none out."""
    visit = read(Reader(parsers, transform=transform), TABLE)
    assert [row["text"] for row in visit.rows] == texts
    assert visit.outcome == outcome


@pytest.mark.parametrize("made", ["text", 5, ({"text": "x"},), ["x"], [None], True])
def test_a_transform_that_returns_something_else_is_a_wrong_set_up(made: Any) -> None:
    """It would do so for every document: the run ends and names the function's key, instead of rejecting everything."""
    with pytest.raises(ConfigError, match="the transform returned") as caught:
        read(Reader(parsers, transform=lambda _: made), TABLE)
    assert "transform:" in caught.value.hint


def test_one_dict_returned_twice_is_two_rows() -> None:
    """Rows are numbered in copies, so that a transform may return what it likes."""
    shared = {"text": "x"}
    visit = read(Reader(parsers, transform=lambda _: [shared, shared]), TABLE)
    assert [row["ordinal"] for row in visit.rows] == [0, 1]
    assert shared == {"text": "x"}


def test_own_columns_win() -> None:
    """A table may have a column called `key` or `ordinal`: it is not overwritten."""
    assert read(Reader(parsers), Payload({"key": "mine", "ordinal": 70})).rows == [{"key": "mine", "ordinal": 70}]


@pytest.mark.parametrize(
    ("error", "reason", "retry"),
    [
        (DocumentError("broken"), "broken", False),
        (DocumentError("denied", hint="chmod", retry=True), "denied  hint: chmod", True),
        (RowError("bad row"), "bad row", False),
        (PermissionError("no"), "PermissionError: no", True),
        (TimeoutError("slow"), "TimeoutError: slow", True),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops", True),
        (KeyError("x" * 1000), "KeyError: " + repr("x" * 1000)[:490], True),
        (RecursionError(), "RecursionError: ", True),
    ],
)
def test_errors_of_one_document_reject_it(error: Exception, reason: str, retry: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """It is rejected with the reason; tried again on the next run is what lies outside the document, and a bug once mended."""
    visit = read(Reader(parsers), error)
    assert (visit.outcome, visit.rows, visit.total) == ("rejected", (), 0)
    assert [(one.station, one.reason, one.retry, one.ordinal) for one in visit.rejects] == [("read", reason, retry, None)]


@pytest.mark.parametrize("error", [ConfigError("x"), MissingExtra("x"), Transient("x"), AuthError("x"), KeyboardInterrupt(), SystemExit()])
def test_errors_of_the_set_up_pass(error: BaseException) -> None:
    """A missing package or a source that is down is not the document's fault: rejecting every document would hide it."""
    with pytest.raises(type(error)):
        read(Reader(parsers), error)


def test_rejects_name_the_station() -> None:
    """Whoever reads the reject knows where to look."""

    def fails(_: Row) -> Any:
        raise ValueError("no")

    class Fussy:
        def split(self, text: str) -> list[tuple[int, int]]:
            raise DocumentError("too fussy")

    unknown = Payload({}, b"x", "video/mp4")
    stations = [
        read(Reader(parsers), unknown).rejects[0].station,
        read(Reader(parsers, Fussy()), TEXT).rejects[0].station,
        read(Reader(parsers, transform=fails), TEXT).rejects[0].station,
    ]
    assert stations == ["parse", "split", "transform"]


def test_a_document_over_the_limit_is_not_opened() -> None:
    """Memory is bounded: a known size is believed, an unknown one is checked after reading."""
    visit = read(Reader(parsers, max_bytes=6), AssertionError("opened"), size=7)
    assert visit.rejects[0].reason.startswith("7 bytes, over max_document_bytes (6)")
    assert read(Reader(parsers, max_bytes=6), TEXT).rejects[0].reason.startswith("7 bytes, over max_document_bytes (6)")
    assert read(Reader(parsers, max_bytes=7), TEXT, size=7).outcome is None


def known(status: Any = "done", *, content: str | None = None, fingerprint: str = "f") -> Known:
    """What the ledger knows of TEXT."""
    return Known(status, "v1", content or content_hash(TEXT.data, TEXT.fields), fingerprint, 2, 2)


@pytest.mark.parametrize(
    ("entry", "settings", "outcome"),
    [
        (known(), {}, "unchanged"),
        (known("partial"), {}, "unchanged"),
        (known("empty"), {}, "unchanged"),
        (known("writing"), {}, None),
        (known("rejected"), {}, None),
        (known(content="0" * 32), {}, None),
        (known(fingerprint="g"), {}, None),
        (known(), {"force": True}, None),
        (None, {}, None),
    ],
)
def test_equal_content_makes_no_rows(entry: Known | None, settings: dict[str, Any], outcome: str | None) -> None:
    """A touched document costs a read and nothing else; an unfinished or rejected one, other settings and a full refresh make rows."""
    visit = read(Reader(parsers, fingerprint="f", **settings), TEXT, known=entry)
    assert visit.outcome == outcome
    assert bool(visit.rows) == (outcome is None)
    assert visit.content == content_hash(TEXT.data, TEXT.fields)


def test_only_wanted_fields_are_content() -> None:
    """A new modification time that no field takes changes nothing."""
    reader = Reader(parsers, wanted=frozenset({"path", "missing"}))
    one, two = (read(reader, Payload({"path": "a", "modified": when}, b"x", "text/plain")) for when in (1, 2))
    assert one.content == two.content
    other = read(reader, Payload({"path": "b", "modified": 1}, b"x", "text/plain"))
    assert other.content != one.content


def test_an_empty_document_is_empty() -> None:
    """No rows is an outcome of its own, not an error."""
    assert read(Reader(parsers), Payload({}, b"", "text/plain")).outcome == "empty"
    assert read(Reader(parsers, Halves()), Payload({}, b" \n ", "text/plain")).outcome == "empty"


def test_a_settled_visit_passes_through() -> None:
    """What the listing decided is not opened."""
    visit = Visit(Document("doc", lambda: (_ for _ in ()).throw(AssertionError)), outcome="removed")
    assert Reader(parsers)(visit).outcome == "removed"
    assert visit.content is None


def test_every_station_is_timed() -> None:
    """The report says where the time went; a station that has nothing to do is not in it."""
    watch = Stopwatch()
    read(Reader(parsers, Halves(), mapping={"words": "text"}, watch=watch), TEXT)
    assert list(watch.seconds) == ["read", "parse", "split", "transform"]
    watch = Stopwatch()
    read(Reader(parsers, watch=watch), TEXT)
    assert list(watch.seconds) == ["read", "parse"]

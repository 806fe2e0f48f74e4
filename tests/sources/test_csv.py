"""CSV and TSV: strict, so that a shifted row is rejected instead of stored."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import pytest

from connector import registry
from connector.errors import ConfigError, DocumentError
from connector.record import Document, Gap
from connector.sources import csv as module
from connector.sources import streams
from connector.sources.csv import CsvSource, TsvSource
from connector.testing.sources import check_source


def listed(data: str | bytes, name: str = "a.csv", kind: type[CsvSource] = CsvSource, **options: Any) -> list[Document | Gap]:
    """What a source over a file with this content lists."""
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    source = kind(name, **options)
    return [item for part in source.partitions() for item in source.read(part, None) if isinstance(item, Document | Gap)]


def told(items: list[Document | Gap]) -> list[Any]:
    """Rows as they are, reasons of rejects as text, gaps by their reason."""
    return [item.reason if isinstance(item, Gap) else _told(item) for item in items]


def _told(document: Document) -> Any:
    try:
        return document.open().fields
    except DocumentError as error:
        return error.message


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("kind", [CsvSource, TsvSource])
def test_contract(kind: type[CsvSource], key: str | None) -> None:
    """The source keeps the contract of every source, with good and bad records."""
    Path("a.csv").write_text("id,n\na,1\nb,2,3\nc,3\n")
    Path("b.tsv").write_text("id\tn\nd\t1\n")
    check_source(functools.partial(kind, ["a.csv", "b.tsv"] if kind is CsvSource else ["b.tsv"], key=key))


def test_a_record_is_a_document() -> None:
    """The header names the values; values are text, empty ones None; a column without a name is left out."""
    items = listed('id,name,,n\na,"x, ""y""",q,1\nb,,,\n', key="id")
    assert told(items) == [{"id": "a", "name": 'x, "y"', "n": "1"}, {"id": "b", "name": None, "n": None}]
    assert [item.key for item in items if isinstance(item, Document)] == ["a", "b"]
    assert told(listed("id,n\na,\n", empty_as_none=False)) == [{"id": "a", "n": ""}]


def test_line_numbers_are_those_of_the_file() -> None:
    """A record is named by the line where it begins, however many lines its values and blank lines take."""
    items = listed('id,text\na,"one\ntwo\n\nthree"\n\n\nb,x\nc\nd,"y\r\nz"\ne\n', key=None)
    assert [item.key for item in items if isinstance(item, Document)] == ["2", "8", "9", "10", "12"]
    assert told(items)[2] == "a.csv, line 9: 1 values, but the header has 2 columns"
    assert told(items)[3] == {"id": "d", "text": "y\r\nz"}
    assert told(items)[4] == "a.csv, line 12: 1 values, but the header has 2 columns"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    """Unix, Windows and old Mac files, with and without an end of the last line."""
    assert told(listed(end.join(["id,n", "a,1", "b,2"]))) == [{"id": "a", "n": "1"}, {"id": "b", "n": "2"}]


def test_ragged_records_are_rejected() -> None:
    """Too few or too many values: listed under its place, nameless, the others read."""
    items = listed("id,n\na,1\nb,2,3\nc\nd,4\n", key="id")
    assert told(items) == [
        {"id": "a", "n": "1"},
        "a.csv, line 3: 3 values, but the header has 2 columns",
        "a.csv, line 4: 1 values, but the header has 2 columns",
        {"id": "d", "n": "4"},
    ]
    assert [(item.key, item.unnamed) for item in items if isinstance(item, Document)][1] == ("a.csv:3", True)


def test_a_record_without_a_key_is_rejected() -> None:
    """An empty key value is no key."""
    assert told(listed("id,n\n,1\n", key="id")) == ["a.csv, line 2: the key `id` wants text or a whole number, found None"]


def test_a_misplaced_quote_is_rejected() -> None:
    """A quote in the middle of a quoted value is not guessed at; one in the middle of an unquoted value is a character."""
    items = told(listed('id,n\na,"x"y\nb,5" disk\n'))
    assert items == ["a.csv, line 2: not CSV: ',' expected after '\"'", {"id": "b", "n": '5" disk'}]


def test_a_quote_that_is_never_closed_is_a_gap() -> None:
    """It swallows the rest of the file, whose rows are unknown: what came before is listed."""
    items = listed('id,n\na,1\nb,"2\nc,3\n', key="id")
    assert told(items) == [{"id": "a", "n": "1"}, "line 3: a quote is opened and never closed"]
    assert isinstance(items[1], Gap)
    assert told(listed('id,n\nb,"2\nc,3\n', quotes=False)) == [{"id": "b", "n": '"2'}, {"id": "c", "n": "3"}]


def test_an_unclosed_quote_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for its end is bounded."""
    monkeypatch.setattr(module, "MAX_ROW", 1000)
    items = listed('id,n\na,"' + "x\n" * 3000 + '"\nb,1\n')
    assert told(items) == ["line 2: a quote is opened and not closed within 1,000 characters"]


def test_a_line_that_is_too_long_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held, and the lines around it are read with the right numbers."""
    monkeypatch.setattr(streams, "MAX_ROW", 1000)
    items = told(listed("id,n\na,1\nb," + "x" * 5000 + "\nc,3\n"))
    assert items[0] == {"id": "a", "n": "1"}
    assert items[1].startswith("a.csv, line 3: over ")
    assert items[2] == {"id": "c", "n": "3"}


def test_a_value_of_ten_megabytes() -> None:
    """Just below the limit it is a value (the standard library alone stops at 128 KiB), above it a reject."""
    items = told(listed("id,n\na," + "x" * 10_000_000 + "\nb," + "x" * 11_000_000 + "\nc,1\n"))
    assert len(items[0]["n"]) == 10_000_000
    assert items[1] == "a.csv, line 3: over 10,485,760 characters"
    assert items[2] == {"id": "c", "n": "1"}


def test_byte_order_mark_is_passed_over() -> None:
    """The first column's name is not spoiled by it, declared UTF-8 or not."""
    data = b"\xef\xbb\xbfid,n\na,1\n"
    assert told(listed(data)) == [{"id": "a", "n": "1"}]
    assert told(listed(data, encoding="UTF8")) == [{"id": "a", "n": "1"}]


def test_another_encoding_is_declared() -> None:
    """Undeclared latin-1 is a reject a line that says what to set; declared, it reads; so does UTF-16."""
    data = "id,n\na,caf\xe9\nb,tea\n"
    problem = "a.csv, line 2: not utf-8; set the source's `encoding`, such as latin-1 or cp1252"
    assert told(listed(data.encode("latin-1"))) == [problem, {"id": "b", "n": "tea"}]
    for encoding in ("latin-1", "cp1252", "utf-16"):
        assert told(listed(data.encode(encoding), encoding=encoding)) == [{"id": "a", "n": "caf\xe9"}, {"id": "b", "n": "tea"}]


def test_bytes_that_end_in_the_middle_of_utf_16_are_a_gap() -> None:
    """What cannot be decoded any further breaks the file, not the run."""
    items = listed("id,n\na,1\n".encode("utf-16") + b"\x00", encoding="utf-16", key="id")
    assert isinstance(items[-1], Gap)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "header: is empty, without even a header line"),
        ("\n\n", "header: is empty, without even a header line"),
        ("id,n,n\na,1,2\n", "header: the column `n` stands twice"),
        ("sku;n\na;1\n", "header: no column `id`, which is the key; found: sku;n"),
        (b"id,caf\xe9\na,1\n", "header: not utf-8; set the source's `encoding`, such as latin-1 or cp1252"),
    ],
)
def test_a_wrong_header_is_a_gap(data: str | bytes, reason: str) -> None:
    """Nothing of such a file can be read, which is said once and not once a row."""
    assert listed(data, key="id") == [Gap("a.csv", reason)]


def test_files_without_a_header() -> None:
    """`columns` names the values; such a file may be empty."""
    assert told(listed("a,1\n", columns=["id", "n"])) == [{"id": "a", "n": "1"}]
    assert listed("", columns=["id", "n"]) == []


def test_types() -> None:
    """A column's text is converted where the job says so, and a value that is none is rejected by name."""
    types = {"i": "int", "f": "float", "b": "bool", "j": "json", "none": "int"}
    data = 'i,f,b,j,t\n-12,1e3,TRUE,"[1, {""a"": null}]",007\n,,,,\n'
    checked = registry.validate(CsvSource, {"path": "a.csv", "types": types}, where="test")
    assert told(listed(data, types=checked["types"])) == [
        {"i": -12, "f": 1000.0, "b": True, "j": [1, {"a": None}], "t": "007"},
        dict.fromkeys("ifbjt"),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("int", "1.0", "'1.0' is no int"),
        ("int", "1_000", "'1_000' is no int"),
        ("int", " 1", "' 1' is no int"),
        ("float", "nan", "'nan' is no float"),
        ("float", "1_0", "'1_0' is no float"),
        ("bool", "yes", "'yes' is no bool; wants true, false, 1 or 0"),
        ("json", "{", "'{' is no JSON: "),
        ("json", "[" * 100_000, "JSON that is nested too deeply"),
    ],
)
def test_a_value_of_another_type_is_rejected(kind: str, text: str, reason: str) -> None:
    """Line, column and value are named."""
    [problem] = told(listed(f"x\n{text}\n", types={"x": kind}))
    assert problem.startswith(f"a.csv, line 2: column `x`: {reason}")


def test_delimiters() -> None:
    """By suffix, by kind, or as the job says; through a compression's suffix too."""
    row = [{"id": "a", "n": "1"}]
    assert told(listed("id\tn\na\t1\n", "a.tsv")) == row
    assert told(listed("id\tn\na\t1\n", "a.txt", TsvSource)) == row
    assert told(listed(gzip.compress(b"id\tn\na\t1\n"), "a.tsv.gz")) == row
    assert told(listed("id;n\na;1\n", delimiter=";")) == row


def test_wrong_settings_are_refused() -> None:
    """At once, with what to write."""
    with pytest.raises(ConfigError, match="is not one character"):
        CsvSource("a.csv", delimiter="||")
    with pytest.raises(ConfigError, match="no text encoding is called 'nope'"):
        CsvSource("a.csv", encoding="nope")
    with pytest.raises(ConfigError, match="no text encoding is called 'hex'"):
        CsvSource("a.csv", encoding="hex")


def test_a_truncated_archive_is_a_gap() -> None:
    """What came before the break is listed; the record at the break is not."""
    rows = "".join(f"{number},{number * 7919 % 10007}\n" for number in range(50_000))
    packed = gzip.compress(b"id,n\n" + rows.encode())
    *documents, gap = listed(packed[: len(packed) // 2], "a.csv.gz", key="id")
    assert isinstance(gap, Gap)
    assert gap.reason.startswith("cannot be read to its end: Compressed file ended")
    assert len(documents) > 10_000
    assert all(isinstance(document, Document) and not document.unnamed for document in documents)

"""JSON lines: every line is a document, right or wrong, and a file that breaks says so."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connector.errors import ConfigError, DocumentError
from connector.record import Document, Gap, Payload
from connector.sources import streams
from connector.sources.jsonl import JsonlSource
from connector.testing.sources import check_source

TWO = b'{"id": "a", "n": 1}\n{"id": "b", "n": 2}\n'


def put(name: str, data: bytes) -> None:
    """Writes a file."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data)


def listed(path: str | list[str], **options: Any) -> list[Document | Gap]:
    """What a source over this path lists."""
    source = JsonlSource(path, **options)
    items = [item for part in source.partitions() for item in source.read(part, None)]
    return [item for item in items if isinstance(item, Document | Gap)]


def told(items: list[Document | Gap]) -> list[Any]:
    """Rows as they are, reasons of rejects as text, gaps as they are."""
    return [item if isinstance(item, Gap) else _told(item) for item in items]


def _told(document: Document) -> Any:
    try:
        return document.open().fields
    except DocumentError as error:
        return error.message


@pytest.mark.parametrize("key", [None, "id"])
def test_contract(key: str | None) -> None:
    """The source keeps the contract of every source, over several files and with a bad line."""
    put("a.jsonl", TWO)
    put("b.jsonl", b'{"id": "c"}\nnope\n')
    check_source(functools.partial(JsonlSource, "*.jsonl", key=key))


def test_a_line_is_a_document() -> None:
    """The key column names the document, the object's entries are the row, and there is no version."""
    put("a.jsonl", TWO)
    documents = listed("a.jsonl", key="id")
    assert [(d.key, d.version, d.unnamed) for d in documents if isinstance(d, Document)] == [("a", None, False), ("b", None, False)]
    assert isinstance(documents[0], Document)
    assert documents[0].open() == Payload({"id": "a", "n": 1})


def test_without_a_key_lines_are_numbered() -> None:
    """One file: line numbers; a pattern or several files: file and line. Blank lines count as lines and are no rows."""
    put("a.jsonl", b'{"n": 1}\n\n  \r\n{"n": 2}')
    assert [d.key for d in listed("a.jsonl") if isinstance(d, Document)] == ["1", "4"]
    assert [d.key for d in listed("*.jsonl") if isinstance(d, Document)] == ["a.jsonl:1", "a.jsonl:4"]
    assert [d.key for d in listed(["a.jsonl"]) if isinstance(d, Document)] == ["a.jsonl:1", "a.jsonl:4"]
    assert JsonlSource("a.jsonl").numbered
    assert not JsonlSource("a.jsonl").keyed("id").numbered


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nope", "not JSON: Expecting value at character 1"),
        (b'{"id": "x", }', "not JSON: "),
        (b'["id"]', "wants a JSON object, found list"),
        (b"null", "wants a JSON object, found NoneType"),
        (b'{"id": "\xe9"}', "byte 9 is not UTF-8; convert the file to UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
        (b'{"n": 1}', "no column `id`, which is the key; found: n"),
        (b"{}", "no column `id`, which is the key; found: nothing"),
        (b'{"id": null}', "the key `id` wants text or a whole number, found None"),
        (b'{"id": ""}', "the key `id` wants text or a whole number, found ''"),
        (b'{"id": 1.0}', "the key `id` wants text or a whole number, found 1.0"),
        (b'{"id": true}', "the key `id` wants text or a whole number, found True"),
    ],
)
def test_a_bad_line_is_a_reject_with_its_place(line: bytes, reason: str) -> None:
    """It is listed under its place, marked as nameless, and says file and line when it is opened; the lines around it are read."""
    put("a.jsonl", b'{"id": "a"}\n' + line + b'\n{"id": "c"}\n')
    first, bad, last = listed("a.jsonl", key="id")
    assert isinstance(bad, Document)
    assert (bad.key, bad.unnamed) == ("a.jsonl:2", True)
    assert _told(bad).startswith(f"a.jsonl, line 2: {reason}")
    assert told([first, last]) == [{"id": "a"}, {"id": "c"}]


def test_a_line_that_is_too_long_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed over in pieces and rejected; the next line is read, with the right number."""
    monkeypatch.setattr(streams, "MAX_ROW", 1000)
    put("a.jsonl", b'{"id": "' + b"x" * 5000 + b'"}\n{"id": "b"}\nbad\n' + b"y" * 3000)
    items = told(listed("a.jsonl", key="id"))
    assert items[0].startswith("a.jsonl, line 1: over")
    assert items[1] == {"id": "b"}
    assert items[2].startswith("a.jsonl, line 3: not JSON")
    assert items[3].startswith("a.jsonl, line 4: over")


def test_byte_order_mark_is_passed_over() -> None:
    """Windows programs put one before the first line."""
    put("a.jsonl", b"\xef\xbb\xbf" + TWO)
    assert told(listed("a.jsonl", key="id")) == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]


def test_values_keep_what_they_are() -> None:
    """Nested nulls and integers of any size pass as they are: whether they fit is for the field to say."""
    put("a.jsonl", b'{"id": 12345678901234567890, "x": {"y": null, "z": [null, 1]}}\n')
    [document] = listed("a.jsonl", key="id")
    assert isinstance(document, Document)
    assert document.key == "12345678901234567890"
    assert document.open().fields["x"] == {"y": None, "z": [None, 1]}


def _zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": _zstd}


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files(suffix: str) -> None:
    """The suffix names the compression; several streams one after the other are one file."""
    put(f"a.jsonl.{suffix}", PACKERS[suffix](TWO) + PACKERS[suffix](b'{"id": "c"}\n'))
    assert told(listed("*.jsonl.*", key="id")) == [{"id": "a", "n": 1}, {"id": "b", "n": 2}, {"id": "c"}]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_truncated_archive_is_a_gap(suffix: str) -> None:
    """What came before the break is listed, then a gap, and the other files are read."""
    lines = [b'{"id": "%s"}\n' % os.urandom(40).hex().encode() for _ in range(20_000)]
    packed = PACKERS[suffix](b"".join(lines))
    put(f"a.jsonl.{suffix}", packed[: len(packed) * 9 // 10])
    put("b.jsonl", TWO)
    items = listed(["a*", "b.jsonl"], key="id")
    gaps = [item for item in items if isinstance(item, Gap)]
    assert len(gaps) == 1
    assert gaps[0].where == f"a.jsonl.{suffix}"
    assert gaps[0].reason.startswith("cannot be read to its end: ")
    assert told(items[-2:]) == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    before = items[: items.index(gaps[0])]
    assert len(before) > 5_000
    assert all(isinstance(item, Document) and not item.unnamed for item in before)


def test_something_else_under_a_packed_name_is_a_gap() -> None:
    """A plain file called .gz is told, not skipped."""
    put("a.jsonl.gz", TWO)
    [gap] = listed("a.jsonl.gz", key="id")
    assert gap == Gap("a.jsonl.gz", "cannot be read to its end: Not a gzipped file (b'{\"')")


def test_a_file_written_to_while_it_is_read_is_a_gap() -> None:
    """Half of the old and half of the new listing looks like deletions."""
    put("a.jsonl", TWO)
    source = JsonlSource("a.jsonl", key="id")
    items = source.read("a.jsonl", None)
    next(items)
    with Path("a.jsonl").open("ab") as file:
        file.write(b'{"id": "c"}\n')
    assert isinstance(list(items)[-1], Gap)


def test_a_file_that_vanished_is_a_gap() -> None:
    """It was there when the parts were named: that its rows are gone is not known."""
    put("a.jsonl", TWO)
    source = JsonlSource("a.jsonl", key="id")
    [part] = source.partitions()
    Path("a.jsonl").unlink()
    assert list(source.read(part, None)) == [Gap("a.jsonl", "cannot be read to its end: No such file or directory")]


def test_an_empty_file_has_no_rows() -> None:
    """JSON lines need no header, so an empty file is a table without rows; the brake on deletions is elsewhere."""
    put("a.jsonl", b"")
    assert listed("a.jsonl") == []


def test_patterns() -> None:
    """Parts are files in a stable order, each once, whatever names them; hidden files only when asked for."""
    for name in ("t/b.jsonl", "t/a.jsonl", "t/c/d.jsonl", "t/e.txt", "t/.h.jsonl", "x[1].jsonl"):
        put(name, TWO)
    assert JsonlSource("t/**/*.jsonl").partitions() == ["t/a.jsonl", "t/b.jsonl", "t/c/d.jsonl"]
    assert JsonlSource(["t/b.jsonl", "./t/*.jsonl"]).partitions() == ["t/b.jsonl", "t/a.jsonl"]
    assert JsonlSource("t/{b,e}.*").partitions() == ["t/b.jsonl", "t/e.txt"]
    assert JsonlSource("x[1].jsonl").partitions() == ["x[1].jsonl"]
    assert JsonlSource("t/.*").partitions() == ["t/.h.jsonl"]
    assert JsonlSource(str(Path.cwd() / "t" / "a*")).partitions() == [str(Path.cwd() / "t" / "a.jsonl")]


@pytest.mark.parametrize("path", ["none.jsonl", "*.jsonl", "none/*.jsonl", ["a.txt", "none.jsonl"]])
def test_a_missing_file_is_an_error(path: str | list[str]) -> None:
    """A missing table never reads as an empty one; the message has the pattern and the working directory."""
    put("a.txt", b"")
    with pytest.raises(ConfigError, match=r"jsonl source: no file at '.*jsonl' \(working directory '/") as caught:
        JsonlSource(path).partitions()
    assert "a missing file is not an empty one" in caught.value.hint


def test_what_is_no_file_is_an_error() -> None:
    """A folder or a FIFO as the path is refused before anything is read; a FIFO among others does not block."""
    Path("folder.jsonl").mkdir()
    os.mkfifo("fifo")
    with pytest.raises(ConfigError, match="is a folder"):
        JsonlSource("folder.jsonl").partitions()
    with pytest.raises(ConfigError, match="is not a regular file"):
        JsonlSource("fifo").partitions()
    assert list(JsonlSource("fifo").read("fifo", None)) == [Gap("fifo", "cannot be read to its end: is not a regular file")]


def test_a_part_that_became_a_link_loop_is_a_gap(tmp_path: Path) -> None:
    """Its rows are not known to be gone, whether it is named or found by a pattern."""
    (tmp_path / "a.jsonl").write_text('{"k": "1"}\n')
    (tmp_path / "b.jsonl").symlink_to("b.jsonl")
    for path in (str(tmp_path / "*.jsonl"), [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]):
        source = JsonlSource(path, key="k")
        items = [item for part in source.partitions() for item in source.read(part, None)]
        assert [type(item).__name__ for item in items] == ["Document", "Gap"]
        assert "b.jsonl" in items[1].where  # type: ignore[union-attr]  # it is the gap


def test_an_unreadable_folder_of_a_pattern_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in it is not known, so it is told and the other files are read."""
    put("t/a/x.jsonl", TWO)
    put("t/b/x.jsonl", TWO)
    real, denied = os.scandir, str(Path("t/a").resolve())

    def scandir(path: str) -> Any:
        if str(path) == denied:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    items = listed("t/*/x.jsonl", key="id")
    assert items[0] == Gap("t/a", "Permission denied")
    assert told(items[1:]) == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    [again] = JsonlSource("t/*/x.jsonl").read("t/a", None)
    assert isinstance(again, Gap)


def test_a_link_out_of_the_folder_is_no_part(tmp_path: Path) -> None:
    """A pattern takes links that stay below the folder where it begins, and no others."""
    put("in/a.jsonl", TWO)
    put("out/b.jsonl", TWO)
    Path("in/inner.jsonl").symlink_to("a.jsonl")
    Path("in/outer.jsonl").symlink_to(tmp_path / "out/b.jsonl")
    assert JsonlSource("in/*.jsonl").partitions() == ["in/a.jsonl", "in/inner.jsonl"]

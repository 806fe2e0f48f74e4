"""Paths in a table: a file below the root, or a reject; never a file outside it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.errors import DocumentError, RowError
from connector.files.assets import Asset
from connector.interfaces import Parser
from connector.record import Document, Known, Payload, Row, Visit
from connector.stations.pathcolumns import PathColumns
from connector.stations.reading import Reader


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file and a link of each kind."""
    inner = tmp_path / "root"
    (inner / "a").mkdir(parents=True)
    (inner / "a" / "x.txt").write_bytes(b"12345")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (inner / "in.txt").symlink_to("a/x.txt")
    (inner / "out.txt").symlink_to(tmp_path / "secret.txt")
    (inner / "up").symlink_to(tmp_path)
    return inner


def test_an_asset_is_its_path(root: Path) -> None:
    """It is stored, compared and hashed as text, and survives the way to another process."""
    asset = Asset("a/x.txt", root)
    assert (asset, hash(asset), str(asset), type(str(asset))) == ("a/x.txt", hash("a/x.txt"), "a/x.txt", str)
    again = pickle.loads(pickle.dumps(asset))  # noqa: S301  # our own bytes
    assert (again, again.root, type(again)) == ("a/x.txt", root, Asset)


def test_read(root: Path) -> None:
    """The bytes of a file below the root, also through a link that stays there and a root that is a link itself."""
    assert Asset("a/x.txt", root).read() == b"12345"
    assert Asset("./in.txt", root).read() == b"12345"
    (root.parent / "link").symlink_to(root)
    assert Asset("a/x.txt", root.parent / "link").read() == b"12345"


@pytest.mark.parametrize("path", ["../secret.txt", "a/../../secret.txt", "/etc/passwd", "out.txt", "up/secret.txt", "", "a\0b"])
def test_a_path_out_of_the_root_is_refused(root: Path, path: str) -> None:
    """Absolute, climbing, or through a link: the row is rejected, nothing is read."""
    with pytest.raises(RowError, match="the path leads out of the root"):
        Asset(path, root).read()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none.txt", "none.txt: No such file or directory"), ("a", "a: is not a regular file"), ("fifo", "fifo: is not a regular file")],
)
def test_what_is_no_file_is_refused(root: Path, path: str, reason: str) -> None:
    """It says what is there, is to be tried again, and never blocks."""
    os.mkfifo(root / "fifo")
    with pytest.raises(RowError) as caught:
        Asset(path, root).read()
    assert (caught.value.message, caught.value.retry) == (reason, True)


def test_a_path_that_is_no_text_is_refused(root: Path) -> None:
    """A lone surrogate cannot name a file."""
    with pytest.raises(RowError, match="no valid path"):
        Asset("\ud800", root).read()
    assert Asset("\ud800", root).version() == "missing"


def test_a_file_that_is_too_large_is_refused(root: Path) -> None:
    """Before it is read."""
    assert Asset("a/x.txt", root).read(5) == b"12345"
    with pytest.raises(RowError, match="5 bytes, over the limit of 4"):
        Asset("a/x.txt", root).read(4)


def test_version(root: Path) -> None:
    """Modification time and size, so that a file changed under the same path is noticed; "missing" where there is none."""
    os.utime(root / "a" / "x.txt", ns=(1, 2_000_000_000))
    assert Asset("a/x.txt", root).version() == "2000000000-5"
    assert Asset("none.txt", root).version() == "missing"
    assert Asset("../secret.txt", root).version() == "missing"


class Words:
    """A parser: a row a word; none of a file that says so."""

    media_types = frozenset({"text/plain"})

    def parse(self, payload: Payload) -> list[Row]:
        """Rows with a text and a title."""
        assert payload.data is not None
        if b"broken" in payload.data:
            raise DocumentError("not what it claims")
        return [{"text": word, "title": payload.media_type} for word in payload.data.decode().split()]


def words(_: str) -> Parser:
    """The parser of every type."""
    return Words()


class Halves:
    """A splitter."""

    def split(self, text: str) -> list[tuple[int, int]]:
        """Two passages."""
        return [(0, len(text) // 2), (len(text) // 2, len(text))]


def read(reader: Reader, row: Row, known: Known | None = None) -> Visit:
    """What the stations make of a table's row."""
    return reader(Visit(Document("doc", lambda: Payload(row)), known=known))


def reader(root: Path, *, pictures: tuple[str, ...] = (), columns: tuple[str, ...] = (), **options: Any) -> Reader:
    """Stations with path columns."""
    return Reader(words, paths=PathColumns(root, frozenset(pictures), columns, lambda path, _: f"type of {path}"), **options)


@pytest.mark.parametrize(
    ("mapping", "transform"),
    [({}, None), ({"picture": "file"}, None), ({}, lambda row: {**row, "picture": "a/" + row["name"]})],
)
def test_picture_columns_become_assets(root: Path, mapping: dict[str, str], transform: Callable[[Row], Row] | None) -> None:
    """What an encoder of pictures reads is an asset of the root, whether the column, `map` or a transform brings it."""
    row = {"picture": "a/x.txt", "file": "a/x.txt", "name": "x.txt"}
    [made] = read(reader(root, pictures=("picture",), mapping=mapping, transform=transform), row).rows
    assert isinstance(made["picture"], Asset)
    assert (made["picture"], made["picture"].root, type(made["name"])) == ("a/x.txt", root, str)
    assert made["picture"].read() == b"12345"


def test_a_changed_picture_changes_the_content(root: Path) -> None:
    """The row is the same, the file under its path is not: it is encoded again, and only then."""
    stations, row = reader(root, pictures=("p",)), {"p": "a/x.txt"}
    content = read(stations, row).content
    known = Known("done", None, content, "", 1, 1)
    assert read(stations, row, known).outcome == "unchanged"
    (root / "a" / "x.txt").write_bytes(b"other")
    os.utime(root / "a" / "x.txt", ns=(1, 5))
    assert read(stations, row, known).outcome is None
    assert row == {"p": "a/x.txt"}


def test_what_is_no_path_stays_what_it_is(root: Path) -> None:
    """None, bytes or a decoded picture in the column are for the encoder to judge."""
    for value in (None, b"bytes", 5):
        [made] = read(reader(root, pictures=("p",)), {"p": value}).rows
        assert made["p"] == value
        assert not isinstance(made["p"], Asset)


def test_read_columns_are_parsed(root: Path) -> None:
    """The file's rows are merged into the table's; the parser wins, as with files; each row is split as parsed text is."""
    (root / "t.txt").write_text("one two")
    stations = reader(root, columns=("file",))
    rows = read(stations, {"id": 1, "file": "t.txt", "title": "mine"}).rows
    assert [(row["ordinal"], row["id"], row["text"], row["title"]) for row in rows] == [
        (0, 1, "one", "type of t.txt"),
        (1, 1, "two", "type of t.txt"),
    ]
    split = read(reader(root, columns=("file",), splitter=Halves()), {"file": "a/x.txt"}).rows
    assert [row["text"] for row in split] == ["12", "345"]


def test_an_empty_file_makes_no_rows(root: Path) -> None:
    """As a listed file without words makes none; a row without a path is itself."""
    (root / "t.txt").write_text("")
    assert read(reader(root, columns=("file",)), {"file": "t.txt"}).outcome == "empty"
    assert [row["id"] for row in read(reader(root, columns=("file",)), {"id": 1, "file": None}).rows] == [1]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none.txt", "column `file`: none.txt: No such file or directory"),
        ("../secret.txt", "column `file`: '../secret.txt': the path leads out of the root"),
        ("broken.txt", "column `file`: not what it claims"),
        (5, "column `file`: wants a path, found int"),
        ("big.txt", "column `file`: big.txt: 100 bytes, over the limit of 50"),
    ],
)
def test_a_file_that_cannot_be_parsed_rejects_its_row(root: Path, path: Any, reason: str) -> None:
    """The reason names the column and the file."""
    (root / "broken.txt").write_text("broken")
    (root / "big.txt").write_bytes(b"x" * 100)
    visit = read(reader(root, columns=("file",), max_bytes=50), {"file": path})
    [reject] = visit.rejects
    assert reject.station == "parse"
    assert reject.reason.startswith(reason)


def test_a_file_that_is_not_read_when_nothing_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of the file decides, so an unchanged table opens no file."""
    stations, row = reader(root, columns=("file",)), {"file": "a/x.txt"}
    known = Known("done", None, read(stations, row).content, "", 1, 1)
    monkeypatch.setattr(Asset, "read", None)
    assert read(stations, row, known).outcome == "unchanged"

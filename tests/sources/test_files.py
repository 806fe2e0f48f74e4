"""Listing and reading files: nothing lost in silence, nothing read from outside, nothing that blocks."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigError, DocumentError
from connector.files import below
from connector.record import Document, Gap, Payload
from connector.sources.files import FilesSource
from connector.sources.media import media_type
from connector.testing.sources import check_source

OLD = 1_700_000_000
REASON = "Permission denied"


def write(root: Path, *names: str, text: str = "text") -> None:
    """Writes files that were last modified long ago."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (OLD, OLD))


def listing(root: Path, **options: Any) -> list[Document | Gap]:
    """What the source lists."""
    source = FilesSource(str(root), **options)
    assert source.partitions() == [""]
    return [item for item in source.read("", None) if isinstance(item, Document | Gap)]


def keys(root: Path, **options: Any) -> list[str]:
    """Keys of the documents listed, gaps in brackets."""
    return [f"[{item.where}]" if isinstance(item, Gap) else item.key for item in listing(root, **options)]


def only(root: Path, **options: Any) -> Document:
    """The only document listed."""
    (item,) = listing(root, **options)
    assert isinstance(item, Document)
    return item


def deny(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """Makes one function of `os` fail for one path, as for a user without the permission (tests may run as root)."""
    real = getattr(os, name)

    def denied(path: Any, *args: Any, **kwargs: Any) -> Any:
        if os.fspath(path) in (str(folder), f"{folder}/"):
            raise PermissionError(13, REASON, path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, name, denied)


def test_contract(tmp_path: Path) -> None:
    """The source keeps the contract of every source."""
    write(tmp_path, "a.md", "b/c.txt", "b/d/e.html", "f.md")
    check_source(functools.partial(FilesSource, str(tmp_path)))


def test_order_is_depth_first_by_name(tmp_path: Path) -> None:
    """A folder's contents stand where its name sorts, on every run."""
    write(tmp_path, "z.md", "b/y.md", "b/a/x.md", "a.md", "c.md")
    assert keys(tmp_path) == ["a.md", "b/a/x.md", "b/y.md", "c.md", "z.md"]


def test_empty_folder_lists_nothing(tmp_path: Path) -> None:
    """An empty folder is not an error: the brake on deletions is elsewhere."""
    assert listing(tmp_path) == []


def test_missing_root_is_an_error(tmp_path: Path) -> None:
    """A missing folder never reads as an empty one; the message has the path and the working directory."""
    with pytest.raises(ConfigError, match=r"no folder at .*nowhere.*working directory"):
        FilesSource(str(tmp_path / "nowhere")).partitions()


def test_file_as_root_is_an_error(tmp_path: Path) -> None:
    """A file as root is refused with the way to write it."""
    write(tmp_path, "a.md")
    with pytest.raises(ConfigError, match=r"is not a folder.*`include` to 'a.md'"):
        FilesSource(str(tmp_path / "a.md")).partitions()


def test_unreadable_folder_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be listed becomes a gap in its place, and the walk goes on."""
    write(tmp_path, "a.md", "b/lost.md", "c.md")
    deny(monkeypatch, "scandir", tmp_path / "b")
    assert listing(tmp_path)[1] == Gap("b", REASON)
    assert keys(tmp_path) == ["a.md", "[b]", "c.md"]


def test_unreadable_root_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that cannot be listed is a gap too, not an empty listing."""
    deny(monkeypatch, "scandir", tmp_path)
    assert listing(tmp_path) == [Gap(".", REASON)]


def test_listing_that_breaks_off_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle of a folder's listing makes the whole folder a gap: half a listing looks like deletions."""
    write(tmp_path, "a.md", "b.md")
    real = os.scandir

    class Breaking:
        def __init__(self, path: str) -> None:
            self.found = real(path)

        def __enter__(self) -> Any:
            yielded = next(self.found)

            def entries() -> Any:
                yield yielded
                raise OSError(5, "Input/output error")

            return entries()

        def __exit__(self, *_: object) -> None:
            self.found.close()

    monkeypatch.setattr(os, "scandir", Breaking)
    assert listing(tmp_path) == [Gap(".", "Input/output error")]


def test_file_without_state_is_still_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose state cannot be read is listed without a version: it is not gone."""
    write(tmp_path, "a.md")
    deny(monkeypatch, "lstat", tmp_path / "a.md")
    document = only(tmp_path)
    assert (document.key, document.version, document.size) == ("a.md", None, None)


def test_include_and_exclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Excluded folders and those that no pattern reaches are not listed at all, so they cannot be gaps."""
    write(tmp_path, "docs/a.md", "docs/b.txt", "docs/old/c.md", "src/d.md")
    deny(monkeypatch, "scandir", tmp_path / "src")
    assert keys(tmp_path, include="docs/**/*.md", exclude="docs/old") == ["docs/a.md"]
    assert keys(tmp_path, include=["docs/*"], exclude=["**/*.txt", "docs/old/**"]) == ["docs/a.md"]


def test_hidden_names_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    """Names with a leading dot are taken only with `hidden`."""
    write(tmp_path, ".git/config", ".a.md", "b.md")
    assert keys(tmp_path) == ["b.md"]
    assert keys(tmp_path, hidden=True) == [".a.md", ".git/config", "b.md"]


def test_payload(tmp_path: Path) -> None:
    """A file offers its path, uri, name, folder, media type, size and modification time."""
    write(tmp_path, "docs/a b.md", text="hé")
    payload = only(tmp_path).open()
    fields = {
        "path": "docs/a b.md",
        "uri": (tmp_path / "docs" / "a b.md").as_uri(),
        "name": "a b.md",
        "folder": "docs",
        "media_type": "text/markdown",
        "size": 3,
        "modified": datetime.fromtimestamp(OLD, UTC),
    }
    assert payload == Payload(fields, "hé".encode(), "text/markdown")


def test_version_changes_with_content_and_stays_without(tmp_path: Path) -> None:
    """A version stays while nothing is written, and changes with a write of the same size under the same modification time."""
    write(tmp_path, "a.md", text="one")
    first = only(tmp_path).version
    assert first is not None
    assert only(tmp_path).version == first
    time.sleep(0.02)  # more than the step of the file system's clock
    write(tmp_path, "a.md", text="two")
    assert only(tmp_path).version != first


@pytest.mark.parametrize("ahead", [0, 3600])
def test_recent_file_has_no_version(tmp_path: Path, ahead: int) -> None:
    """A file written within two seconds of the listing, or dated in the future, has no version: its content decides."""
    write(tmp_path, "a.md")
    now = time.time() + ahead
    os.utime(tmp_path / "a.md", (now, now))
    assert only(tmp_path).version is None


def test_symbolic_links_are_not_followed_by_default(tmp_path: Path) -> None:
    """Links are no part of the source, whether they lead to a file, a folder, or nowhere."""
    write(tmp_path, "a.md", "b/c.md")
    (tmp_path / "file.md").symlink_to("a.md")
    (tmp_path / "folder").symlink_to("b")
    (tmp_path / "nowhere.md").symlink_to("missing")
    assert keys(tmp_path) == ["a.md", "b/c.md"]


def test_followed_links_stay_below_the_root(tmp_path: Path) -> None:
    """With `follow_symlinks`, links below the root are read, and those out of it are no part of the source."""
    root = tmp_path / "root"
    write(tmp_path, "secret/s.md", "root/a.md", "root/b/c.md")
    (root / "file.md").symlink_to("a.md")
    (root / "folder").symlink_to("b")
    (root / "out.md").symlink_to("../secret/s.md")
    (root / "outside").symlink_to("../secret")
    assert keys(root, follow_symlinks=True) == ["a.md", "b/c.md", "file.md", "folder/c.md"]
    linked = [item for item in listing(root, follow_symlinks=True) if isinstance(item, Document)][-1]
    assert linked.open().fields["path"] == "folder/c.md"


def test_link_loop_ends(tmp_path: Path) -> None:
    """A link to a folder above itself is not entered again; one to itself leads nowhere, so what was there is not known."""
    write(tmp_path, "a/b.md")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to("self")
    assert keys(tmp_path, follow_symlinks=True) == ["a/b.md", "[a/self]"]


def test_followed_link_to_nowhere_is_a_gap(tmp_path: Path) -> None:
    """A followed link without a target is a gap: the disk behind it may not be mounted."""
    (tmp_path / "data").symlink_to("missing")
    assert keys(tmp_path, follow_symlinks=True) == ["[data]"]


def test_special_files_are_not_listed(tmp_path: Path) -> None:
    """A FIFO or a socket is no document, and looking at it does not block."""
    os.mkfifo(tmp_path / "pipe.md")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock.md"))
        assert listing(tmp_path) == []


@pytest.mark.timeout(10)
def test_file_replaced_by_a_fifo_does_not_block(tmp_path: Path) -> None:
    """A FIFO that takes a file's place after the listing is rejected at once."""
    write(tmp_path, "a.md")
    document = only(tmp_path)
    (tmp_path / "a.md").unlink()
    os.mkfifo(tmp_path / "a.md")
    with pytest.raises(DocumentError, match=r"a.md: is not a regular file"):
        document.open()


@pytest.mark.parametrize("swapped", ["b/c.md", "b"])
def test_link_swapped_in_after_listing_is_not_followed(tmp_path: Path, swapped: str) -> None:
    """A file or folder that becomes a link between listing and reading leads nowhere: no file outside the root is ever read."""
    root = tmp_path / "root"
    write(tmp_path, "secret/c.md", "root/b/c.md")
    document = only(root)
    (root / swapped).rename(tmp_path / "moved")
    (root / swapped).symlink_to(tmp_path / "secret" / ("c.md" if swapped == "b/c.md" else ""))
    with pytest.raises(DocumentError, match=r"b/c.md: (became a symbolic link|vanished)") as caught:
        document.open()
    assert caught.value.retry


def test_vanished_file_is_rejected_for_now(tmp_path: Path) -> None:
    """A file that is gone when it is read says so and is tried again: only a complete listing tells of deletions."""
    write(tmp_path, "a.md")
    document = only(tmp_path)
    (tmp_path / "a.md").unlink()
    with pytest.raises(DocumentError, match="vanished between listing and reading") as caught:
        document.open()
    assert caught.value.retry


def test_forbidden_file_is_rejected_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is rejected by name and tried again on the next run."""
    write(tmp_path, "a.md")
    document = only(tmp_path)
    deny(monkeypatch, "open", Path("a.md"))
    with pytest.raises(DocumentError, match=r"a.md: permission denied") as caught:
        document.open()
    assert caught.value.retry


def changing(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> list[int]:
    """Lets the file grow after each of the first `times` reads; returns a list with one entry a read."""
    real, reads = below._read_bytes, []

    def read(descriptor: int, limit: int) -> bytes:
        data = real(descriptor, limit)
        reads.append(len(data))
        if len(reads) <= times:
            with path.open("a") as file:
                file.write("more")
        return data

    monkeypatch.setattr(below, "_read_bytes", read)
    return reads


def test_file_that_changes_while_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes under the reader is read again, whole."""
    write(tmp_path, "a.md", text="text")
    document = only(tmp_path)
    reads = changing(monkeypatch, tmp_path / "a.md", 2)
    payload = document.open()
    assert (payload.data, payload.fields["size"], len(reads)) == (b"textmoremore", 12, 3)


def test_file_that_never_rests_is_rejected_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three reads a file that still changes is rejected and tried again on the next run."""
    write(tmp_path, "a.md")
    document = only(tmp_path)
    changing(monkeypatch, tmp_path / "a.md", 99)
    with pytest.raises(DocumentError, match=r"a.md: changed while it was read") as caught:
        document.open()
    assert caught.value.retry


def test_unicode_names_stay_apart(tmp_path: Path) -> None:
    """The same name composed and decomposed is two files, hence two documents, each readable under its own key."""
    write(tmp_path, "caf\u00e9.md", text="composed")
    write(tmp_path, "cafe\u0301.md", text="decomposed")
    found = {d.key: d.open().data for d in listing(tmp_path) if isinstance(d, Document)}
    assert found == {"caf\u00e9.md": b"composed", "cafe\u0301.md": b"decomposed"}


def test_names_that_are_not_utf8_have_valid_unique_keys(tmp_path: Path) -> None:
    """Any name the file system takes gives a valid key, and an escaped name never meets a literal one."""
    for name in (b"bad\xff.md", b"bad\\xff.md"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(name)  # noqa: PTH118  # bytes have no Path
    found = {d.key: d.open() for d in listing(tmp_path) if isinstance(d, Document)}
    assert {key: payload.data for key, payload in found.items()} == {r"bad\xff.md": b"bad\xff.md", r"bad\\xff.md": b"bad\\xff.md"}
    assert all(payload.fields["path"] == key for key, payload in found.items())
    assert found[r"bad\xff.md"].fields["uri"].endswith("/bad%FF.md")


def test_very_deep_tree(tmp_path: Path) -> None:
    """A tree deeper than Python recurses is walked, matched and read."""
    root = tmp_path / "root"
    deep = "/".join(["d"] * 1100)
    subprocess.run(["mkdir", "-p", f"{root}/{deep}"], check=True)
    Path(f"{root}/{deep}/a.md").write_text("text")
    try:
        document = only(root, include="**/*.md")
        assert (document.key, document.open().data) == (f"{deep}/a.md", b"text")
    finally:
        subprocess.run(["rm", "-r", str(root)], check=True)  # pytest's own clean-up recurses


@pytest.mark.parametrize(
    ("path", "head", "kind"),
    [
        ("a.md", b"", "text/markdown"),
        ("a.MARKDOWN", b"", "text/markdown"),
        ("a.rst", b"", "text/x-rst"),
        ("a.txt", b"\0", "text/plain"),
        ("a.html", b"", "text/html"),
        ("a.jpg", b"", "image/jpeg"),
        ("a.txt.gz", b"\x1f\x8b", "application/octet-stream"),
        ("x-1.0.dist-info/METADATA", b"", "text/x-core-metadata"),
        ("METADATA", b"words", "text/plain"),
        ("x.egg-info/PKG-INFO", b"", "text/x-core-metadata"),
        ("README", "words é".encode(), "text/plain"),
        ("README", "é".encode() * 8192, "text/plain"),
        ("README", b"x" + "é".encode() * 8192, "text/plain"),
        ("README", "words".encode("utf-16"), "text/plain"),
        ("data", b"a\0b", "application/octet-stream"),
        ("data", b"\xff\xd8\x00", "application/octet-stream"),
        ("data:text/html,x", b"words", "text/plain"),
    ],
)
def test_media_type(path: str, head: bytes, kind: str) -> None:
    """The name decides, then the first bytes; a character cut at the end of those is no sign of binary data."""
    assert media_type(path, head) == kind

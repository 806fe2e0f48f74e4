"""Lists the files below a folder; opens one when asked.

The walk is written here because `os.walk`, `Path.rglob` and `glob` drop a folder that they cannot list without a word, and to
a mirror a missing listing looks like a deletion. Here every such folder becomes a `Gap`, and a file whose state cannot be
read is still listed, to be rejected by name when it is opened.

A file's version is its modification time, change time and size: any write or replacement changes one of them, and so do a
touch and a fresh clone, after which the content hash decides. A file modified within two seconds of its listing has no version,
because a second write within the clock's step would be invisible (git's "racy" rule).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from connector.errors import ConfigError
from connector.files.below import read_below, shown
from connector.record import Document, Gap, Payload, Position, Removed
from connector.sources.globs import Patterns
from connector.sources.media import media_type
from connector.sources.walk import File, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RACY_NS = 2_000_000_000
"""A file modified this recently could change again without changing its times (FAT keeps two seconds)."""


class FilesSource:
    r"""Every regular file below a folder, as a listing that a mirror may sweep.

    A document's key is its path relative to the root, with `/`; a backslash in it is doubled and a byte that is not UTF-8 becomes `\xNN`,
    so that every name has one valid key and no two share it. Sockets, FIFOs and devices are not part of the source.

    Args:
        root: The folder; relative paths count from the working directory.
        include: Patterns of relative paths, see `connector.sources.globs`: `*.md` takes the root's own files, `**/*.md` those of
            every folder.
        exclude: Patterns left out; a pattern that matches a folder leaves out all below it, and the folder is not listed at all.
        follow_symlinks: If false, symbolic links are not part of the source. If true they are followed as long as they lead to
            somewhere below the root; one that leads out of it, or to a folder above itself, is not part of the source;
            one that leads nowhere is a `Gap`, since its target may be a disk that is not mounted.
        hidden: Whether names that begin with a dot are taken, files and folders.
    """

    mode: Literal["listing", "cursor"] = "listing"

    def __init__(
        self,
        root: str,
        include: str | list[str] | tuple[str, ...] = "**/*",
        exclude: str | list[str] | tuple[str, ...] = (),
        *,
        follow_symlinks: bool = False,
        hidden: bool = False,
    ) -> None:
        self.root = os.path.abspath(Path(root).expanduser())  # noqa: PTH100  # Path.absolute keeps `..`, Path.resolve follows links
        self.follow_symlinks = follow_symlinks
        self.hidden = hidden
        self._given = root
        self._include = Patterns(include)
        self._exclude = Patterns(exclude)

    def partitions(self) -> list[str]:
        """One part, "", once the root is known to be a folder.

        Raises:
            ConfigError: The root does not exist or is not a folder.
        """
        if not os.path.lexists(self.root):
            raise ConfigError(
                f"files source: no folder at {self._given!r} (working directory {os.getcwd()!r})",  # noqa: PTH109  # Path.cwd() prints its class
                hint="correct `root`; a missing folder is not an empty one",
            )
        if not Path(self.root).is_dir():
            name = os.path.basename(self.root)  # noqa: PTH119  # plain text
            raise ConfigError(f"files source: {self._given!r} is not a folder", hint=f"set `root` to its folder and `include` to {name!r}")
        return [""]

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Yields every file, and a `Gap` for each folder that cannot be listed, depth first, names sorted by their bytes."""
        del partition, after  # one part, always from the start
        base, now = os.path.realpath(self.root), time.time_ns()
        for found in Walk(base, self._include, self._exclude, self.follow_symlinks, self.hidden):
            yield found if isinstance(found, Gap) else self._document(base, *found, now)

    def uri_of(self, key: str) -> str | None:
        """The `file:` URI of a document; None if its name holds what keys escape."""
        return None if "\\" in key else Path(self.root, key).as_uri()

    def _document(self, base: str, file: File, status: os.stat_result | None, now: int) -> Document:
        size = None if status is None else status.st_size
        return Document(key=shown(file.path), open=self._opener(base, file), version=_version(status, now), size=size)

    def _opener(self, base: str, file: File) -> Callable[[], Payload]:
        """A function that reads the file; it holds the two paths and nothing that is open."""
        return lambda: self._payload(base, file)

    def _payload(self, base: str, file: File) -> Payload:
        data, status = read_below(base, file.real)
        key = shown(file.path)
        kind = media_type(key, data)
        folder, _, name = key.rpartition("/")
        fields = {
            "path": key,
            "uri": Path(self.root, file.path).as_uri(),
            "name": name,
            "folder": folder,
            "media_type": kind,
            "size": status.st_size,
            "modified": datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC),
        }
        return Payload(fields, data, kind)


def _version(status: os.stat_result | None, now: int) -> str | None:
    """The file's state as text, or None if a later write might leave it the same."""
    if status is None or status.st_mtime_ns > now - RACY_NS:
        return None
    return f"{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_size}"

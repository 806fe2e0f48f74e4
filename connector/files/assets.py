"""A path in a table's column that stands for the file it names: read late, below one root, and never outside it.

A table is data from elsewhere: a path in it may be absolute, climb with `..`, or lead through a symbolic link. None of these may
make us read a file that the job's `root` does not hold. The value stays a string, so it is stored, compared and shown as the path that it
is; the bytes are read where they are needed and are gone after it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from connector.errors import DocumentError, RowError
from connector.files.below import read_below, shown

MAX_ASSET_BYTES = 64 << 20
"""Larger files are refused unless the reader says otherwise."""


class Asset(str):
    """A path relative to a root.

    Attributes:
        root: The folder below which the file must lie, links resolved.
    """

    root: Path
    __slots__ = ("root",)

    def __new__(cls, path: str, root: Path) -> Self:
        """The path `path`, as text, below `root`."""
        self = super().__new__(cls, path)
        self.root = root
        return self

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]  # str's own says (str,); ours has one argument more
        return str.__str__(self), self.root

    def read(self, limit: int = MAX_ASSET_BYTES) -> bytes:
        """The file's bytes, whole and from one state of it.

        Args:
            limit: Most bytes; a larger file is refused unread.

        Raises:
            RowError: The path leads out of the root, or to no regular file, or the file is too large or cannot be read.
        """
        root = os.path.realpath(self.root)
        try:
            real = os.path.realpath(f"{root}/{self._inner()}", strict=True)
        except OSError as error:
            hint = f"paths count from {root}; the job's `root` changes that"
            raise RowError(f"{shown(self)}: {os.strerror(error.errno or 0)}", hint=hint, retry=True) from error
        inside = os.path.relpath(real, root)
        if inside == ".." or inside.startswith("../"):
            raise _outside(self)
        try:
            return read_below(root, inside, limit=limit)[0]
        except DocumentError as error:
            raise RowError(error.message, hint=error.hint, retry=error.retry) from error

    def version(self) -> str:
        """The file's modification time in nanoseconds and its size, which enter the content hash; "missing" if it cannot be looked at."""
        try:
            status = os.stat(f"{self.root}/{self._inner()}")  # noqa: PTH116  # a million calls: a Path each would double their cost
        except (OSError, RowError):
            return "missing"
        return f"{status.st_mtime_ns}-{status.st_size}"

    def _inner(self) -> str:
        """The path as text, if nothing in it leads out of the root by itself."""
        text = str.__str__(self)
        if not text or text.startswith("/") or "\0" in text or ".." in text.split("/"):
            raise _outside(text)
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            raise RowError(f"{text!r}: no valid path", hint="correct the path in its table") from None
        return text


def _outside(path: str) -> RowError:
    return RowError(f"{path!r}: the path leads out of the root", hint="write paths relative to the job's `root`, without `..`")

"""Walks a folder and loses nothing: every file, and a `Gap` for everything that could not be looked into.

Names are sorted by their bytes and folders are entered where they stand, so the order is the same on every run. Folders wait on a stack
of our own: a deep tree is no recursion error, and a folder of a million files costs a million directory entries, not
a million results.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.files.below import shown
from connector.record import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.sources.globs import Patterns


@dataclass(frozen=True, slots=True)
class File:
    """A regular file.

    Attributes:
        path: Relative to the root as it was reached, with `/`; bytes that are not UTF-8 are surrogates (`os.fsdecode`).
        real: The same file relative to the resolved root, without symbolic links.
    """

    path: str
    real: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder still to be listed.

    Attributes:
        path: As in `File`.
        real: As in `File`.
        above: (device, inode) of the folders above it, to detect loops; empty unless links are followed.
    """

    path: str = ""
    real: str = ""
    above: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk; see `FilesSource` for what the settings mean.

    Attributes:
        root: The folder, absolute and without symbolic links.
        include: Which files are taken.
        exclude: Which files and folders are left out.
        follow_symlinks: Whether links that stay below the root are followed.
        hidden: Whether names that begin with a dot are taken.
    """

    root: str
    include: Patterns
    exclude: Patterns
    follow_symlinks: bool
    hidden: bool

    def __iter__(self) -> Iterator[tuple[File, os.stat_result | None] | Gap]:
        """Yields each file with its state (None where it cannot be read), and the gaps, in order."""
        waiting: list[File | Folder | Gap] = [Folder()]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Folder):
                waiting.extend(reversed(self._list(item)))
            elif isinstance(item, Gap):
                yield item
            elif (status := self._status(item)) is None or stat.S_ISREG(status.st_mode):
                yield item, status

    def _list(self, folder: Folder) -> list[File | Folder | Gap]:
        """What stands in a folder, sorted; a single gap if that cannot be told."""
        place = f"{self.root}/{folder.real}"
        try:
            above = self._enter(folder, place)
            if above is None:
                return []
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            return [gap(folder.path, error)]
        items = (self._item(entry, folder, above) for entry in entries)
        return [item for item in items if item is not None]

    def _enter(self, folder: Folder, place: str) -> frozenset[tuple[int, int]] | None:
        """The folders above this one's contents, or None if this one is among those above it already."""
        if not self.follow_symlinks:
            return folder.above
        status = os.lstat(place)
        here = (status.st_dev, status.st_ino)
        return None if here in folder.above else folder.above | {here}

    def _item(self, entry: os.DirEntry[str], folder: Folder, above: frozenset[tuple[int, int]]) -> File | Folder | Gap | None:
        """What an entry is to the walk; None if it is not part of the source."""
        path = _join(folder.path, entry.name)
        parts = tuple(path.split("/"))
        if (entry.name.startswith(".") and not self.hidden) or self.exclude.match(parts):
            return None
        taken, entered = self.include.match(parts), self.include.reach(parts)
        if not taken and not entered:
            return None
        try:
            if entry.is_symlink():
                return self._linked(entry.path, path, above, taken=taken, entered=entered) if self.follow_symlinks else None
            if entry.is_dir(follow_symlinks=False):
                return Folder(path, _join(folder.real, entry.name), above) if entered else None
            return File(path, _join(folder.real, entry.name)) if taken and entry.is_file(follow_symlinks=False) else None
        except OSError as error:
            return gap(path, error)

    def _linked(self, place: str, path: str, above: frozenset[tuple[int, int]], *, taken: bool, entered: bool) -> File | Folder | None:
        """Where a symbolic link leads, if that is below the root.

        Raises:
            OSError: It leads nowhere or in a circle, or its target cannot be looked at.
        """
        target = os.path.realpath(place, strict=True)
        real = os.path.relpath(target, self.root)
        if real == ".." or real.startswith("../"):
            return None
        mode = os.lstat(target).st_mode
        if stat.S_ISDIR(mode):
            return Folder(path, "" if real == "." else real, above) if entered else None
        return File(path, real) if taken and stat.S_ISREG(mode) else None

    def _status(self, file: File) -> os.stat_result | None:
        """The file's state; one that is gone by now reads as a non-file, one that may not be looked at as None."""
        try:
            return os.lstat(f"{self.root}/{file.real}")
        except FileNotFoundError:
            return os.stat_result((0,) * 10)
        except OSError:
            return None


def gap(path: str, error: OSError) -> Gap:
    """A gap at a path, with the reason in words."""
    return Gap(shown(path) or ".", os.strerror(error.errno) if error.errno else str(error))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name

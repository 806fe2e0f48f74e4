"""Offers the rows of table files as documents, one file after the other: what every table format has in common.

A row is a document, and its key column names it, so a row keeps its rows in Milvus wherever it stands in the table. A row that is wrong is
listed all the same and says what is wrong when it is opened: a row that is not listed would look deleted. A file that breaks in the
middle gives what came before, then a `Gap`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import IO, ClassVar, Literal, Self, TypeAlias

from connector.files.below import shown
from connector.record import Document, Gap, Payload, Position, Removed, Row
from connector.sources import paths, streams
from connector.sources.rows import key_of, no_key, refuse

Record: TypeAlias = tuple[int, Row | str] | Gap
"""A row with its number in the file, or what is wrong with it; or a part of the file that cannot be read."""


class TableSource(ABC):
    """Rows of one or more files of one format, as a listing that a mirror may sweep if the rows have a key.

    Args:
        path: A path or pattern, or several; see `connector.sources.paths`.
        key: The column whose value, as text, is the document's key; None: the row's place.

    Attributes:
        key: As above.
        numbered: True if keys are places, which change meaning when rows are inserted: such a listing must not be swept.
    """

    mode: Literal["listing", "cursor"] = "listing"
    name: ClassVar[str]
    """Of the format, for messages."""
    unit: ClassVar[str] = "line"
    """What a row's number counts."""

    def __init__(self, path: str | list[str], key: str | None = None) -> None:
        self.key = key
        self._paths = [path] if isinstance(path, str) else list(path)
        self._alone = isinstance(path, str) and not paths.has_magic(path)
        self._hidden: dict[str, Gap] = {}

    @property
    def numbered(self) -> bool:
        """See the class."""
        return self.key is None

    def keyed(self, column: str) -> Self:
        """The same source with this key column."""
        other = copy.copy(self)
        other.key = column
        return other

    def partitions(self) -> list[str]:
        """The files, by their paths.

        Raises:
            ConfigError: A path or pattern names no file.
        """
        found = paths.find(self._paths, self.name)
        self._hidden = {path: gap for path, gap in found.items() if gap is not None}
        return list(found)

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Yields a file's rows, right or wrong, in order, and a `Gap` for what cannot be read of it."""
        del after  # always from the start
        if partition in self._hidden:
            yield self._hidden[partition]
            return
        try:
            with streams.opened(partition) as (raw, changed):
                yield from self._documents(partition, raw)
                if changed():
                    yield Gap(shown(partition), "was written to while it was read; run the same command again when its writer is done")
        except streams.BROKEN as error:
            yield streams.broken(partition, error)

    @abstractmethod
    def records(self, raw: IO[bytes], path: str) -> Iterator[Record]:
        """Yields the rows of an open file.

        Raises:
            OSError: Or another of `streams.BROKEN`: the file is damaged from here on.
        """

    def _documents(self, path: str, raw: IO[bytes]) -> Iterator[Document | Gap]:
        column, file = self.key, shown(path)
        place = "" if self._alone and column is None else f"{file}:"
        for record in self.records(raw, path):
            if isinstance(record, Gap):
                yield record
                continue
            number, row = record
            if isinstance(row, str):
                problem = row
            elif column is None:
                yield Document(f"{place}{number}", partial(Payload, row), held=True)
                continue
            elif key := key_of(row, column):
                yield Document(key, partial(Payload, row), held=True)
                continue
            else:
                problem = no_key(row, column)
            reason = f"{file}, {self.unit} {number}: {problem}"
            yield Document(f"{place}{number}", partial(refuse, reason), unnamed=column is not None)

"""Offers any Python iterable of dicts as documents, one dict each.

A table has a key, so a row keeps its document when rows are added before it; without one the row's number is the key, and then nothing
may be swept, because inserting one row would rename all that follow. A wrong row is listed all the same and
says what is wrong when it is opened: a row that is not listed would look deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, NoReturn

from connector.errors import ConfigError, DocumentError
from connector.record import Document, Gap, Payload, Position, Removed, Row


class RowsSource:
    """Rows from memory or from a generator, as a listing.

    Args:
        rows: Dicts. A list can be listed again; a generator only once.
        key: The column whose value, as text, is the document's key; None: the row's number, from 1.
        name: Names the rows in messages.

    Attributes:
        numbered: True if keys are row numbers, which change meaning when rows are inserted: such a listing must not be swept.
    """

    mode: Literal["listing", "cursor"] = "listing"

    def __init__(self, rows: Any, key: str | None = None, name: str = "rows") -> None:
        if isinstance(rows, (str, bytes, dict)) or not isinstance(rows, Iterable):
            raise ConfigError(f"{name}: wants an iterable of dicts, found {type(rows).__name__}", hint="pass a list of dicts")
        self.numbered = key is None
        self._rows = rows
        self._key = key
        self._name = name
        self._spent = False

    def partitions(self) -> list[str]:
        """One part, ""."""
        return [""]

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Yields one document a row, in order, right or wrong.

        Raises:
            ConfigError: The rows came from a generator that was read before.
        """
        del partition, after  # one part, always from the start
        rows = iter(self._rows)
        if self._spent and rows is self._rows:
            found = type(rows).__name__
            raise ConfigError(f"{self._name}: a {found} can be read only once", hint="pass a list, or make a new one for each run")
        self._spent = True
        return (self._document(number, row) for number, row in enumerate(rows, 1))

    def _document(self, number: int, row: Any) -> Document:
        """The row as a document; one without a usable key gets its number as the key."""
        problem = self._problem(row)
        if problem:
            place = str(number) if self._key is None else f"{self._name}:{number}"
            reason = f"{self._name}, row {number}: {problem}"
            return Document(place, partial(refuse, reason), unnamed=self._key is not None)
        return Document(str(number) if self._key is None else str(row[self._key]), _opener(row), held=True)

    def _problem(self, row: Any) -> str:
        """What is wrong with a row, or ""."""
        if not isinstance(row, dict):
            return f"wants a dict, found {type(row).__name__}"
        if self._key is None:
            return ""
        key = key_of(row, self._key)
        if key is None:
            return no_key(row, self._key)
        return "" if _encodable(key) else f"the key `{self._key}` is not valid text: {key!r}"


def key_of(row: Row, column: str) -> str | None:
    """The document key that a row's key column holds; None if that is no key."""
    value = row.get(column)
    fits = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return str(value) if fits else None


def no_key(row: Row, column: str) -> str:
    """Why a row has no key."""
    if column not in row:
        return f"no column `{column}`, which is the key; found: {', '.join(map(str, row)) or 'nothing'}"
    return f"the key `{column}` wants text or a whole number, found {row[column]!r:.100}"


def refuse(reason: str) -> NoReturn:
    """Opens a row that is wrong.

    Raises:
        DocumentError: Always.
    """
    raise DocumentError(reason, hint="correct the row in its source")


def _encodable(key: str) -> bool:
    """True if a key can be stored: no lone surrogate and no U+0000."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in key


def _opener(row: dict[str, Any]) -> Callable[[], Payload]:
    return lambda: Payload(fields=dict(row))

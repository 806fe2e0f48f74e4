"""Columns of a table that name files: their paths become assets, so that the files' states enter the content and their bytes are found.

Two kinds: columns that an encoder reads as pictures or sound, whose bytes are read when the input is prepared, and the columns of the job's
`read`, whose files are parsed as a listed file would be, and whose fields are merged into the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.errors import DocumentError
from connector.files.assets import Asset
from connector.record import Payload, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from connector.interfaces import Parser


@dataclass(frozen=True, slots=True)
class PathColumns:
    """Which columns of a table name files, and where these lie.

    Attributes:
        root: The folder that paths count from and never leave.
        encoded: Fields of finished rows that encoders read as pictures or sound.
        read: Columns, as the source offers them, whose files are parsed.
        media_type: Tells the media type of a path and its first bytes.
    """

    root: Path
    encoded: frozenset[str] = frozenset()
    read: tuple[str, ...] = ()
    media_type: Callable[[str, bytes], str] = lambda _path, _head: "application/octet-stream"

    def offered(self, fields: Row, mapping: Mapping[str, str]) -> Row:
        """A table's row with its paths as assets."""
        return self._wrapped(fields, {*self.read, *(mapping.get(name, name) for name in self.encoded)})

    def content(self, fields: Row) -> Row:
        """A row as it enters the content hash: each path with the state of its file."""
        return {name: [str(value), value.version()] if isinstance(value, Asset) else value for name, value in fields.items()}

    def finished(self, row: Row) -> Row:
        """A row after `map` and `transform`, which may have made new paths for encoders."""
        return self._wrapped(row, self.encoded)

    def _wrapped(self, row: Row, names: set[str] | frozenset[str]) -> Row:
        plain = {name: Asset(row[name], self.root) for name in names if type(row.get(name)) is str}
        return {**row, **plain} if plain else row

    def parsed(self, row: Row, parser: Callable[[str], Parser], limit: int) -> list[Row]:
        """The rows that a row becomes once the files of its `read` columns are parsed.

        Raises:
            DocumentError: A file cannot be read or parsed; the message names its column.
        """
        rows = [row]
        for column in self.read:
            rows = [{**one, **made} for one in rows for made in self._fields(one, column, parser, limit)]
        return rows

    def _fields(self, row: Row, column: str, parser: Callable[[str], Parser], limit: int) -> Iterator[Row]:
        path = row.get(column)
        if path is None:
            yield {}
            return
        try:
            data = _asset(path).read(limit)
            kind = self.media_type(path, data)
            yield from parser(kind).parse(Payload(row, data, kind))
        except DocumentError as error:
            raise DocumentError(f"column `{column}`: {error.message}", hint=error.hint, retry=error.retry) from error


def _asset(path: Any) -> Asset:
    if not isinstance(path, Asset):
        raise DocumentError(f"wants a path, found {type(path).__name__}", hint="correct `read:` in the job, or the table")
    return path

"""Reads Parquet: one row is one document; a file of any size takes the memory of a few thousand rows.

Row groups are read one by one. One that cannot be decoded becomes a `Gap` and the next is read: the file's footer says how many rows each
holds, so the numbers of the rows behind it stay right. Vectors stay arrays: a column of lists of numbers is sliced, not copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from connector.files.below import shown
from connector.record import Gap
from connector.sources.batches import batch_rows
from connector.sources.tables import Record, TableSource

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BATCH_BYTES, BATCH_ROWS = 16 << 20, 2048
"""Most bytes, by the footer's sizes, and rows that are decoded at a time."""

MANY = 100
"""Files from which on their footers are not read in advance."""


class ParquetSource(TableSource):
    """The rows of Parquet files.

    Values come as Python has them, lists of numbers as numpy arrays, maps as dicts, timestamps with microseconds at most. Page checksums
    are compared where the file has them; without them a damaged value that can still be decoded looks like any other.

    Args:
        path: A path or pattern, or several.
        key: The column that names a document; None: the row's number in its file, from 1, with several files `file:row`.
        columns: Only these columns are read, and the key; default all.
    """

    name = "parquet"
    unit = "row"

    def __init__(self, path: str | list[str], key: str | None = None, columns: list[str] | None = None) -> None:
        super().__init__(path, key)
        self._columns = columns

    def total(self) -> int | None:
        """How many rows the files' footers say; None for many files, or if one of them cannot be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = self.partitions()
        if len(files) > MANY:
            return None
        try:
            return sum(int(pq.read_metadata(path).num_rows) for path in files)
        except (OSError, pa.ArrowException):
            return None

    def records(self, raw: IO[bytes], path: str) -> Iterator[Record]:
        """Yields the rows of every row group; a gap for one that cannot be decoded."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = shown(path)
        try:
            table = pq.ParquetFile(raw, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            yield Gap(file, f"is no readable Parquet file: {_told(error)}")
            return
        columns = self._wanted(table)
        if problem := _problem(columns, table.schema_arrow.names):
            yield Gap(file, problem)
            return
        number = 0
        for group in range(table.num_row_groups):
            try:
                yield from _rows(table, group, number, columns)
            except (OSError, pa.ArrowException) as error:
                yield Gap(file, f"row group {group} (rows from {number + 1}) cannot be read to its end: {_told(error)}")
            number += table.metadata.row_group(group).num_rows

    def _wanted(self, table: pq.ParquetFile) -> list[str]:
        key = [] if self.key is None else [self.key]
        return list(dict.fromkeys([*(table.schema_arrow.names if self._columns is None else self._columns), *key]))


def _problem(columns: list[str], found: list[str]) -> str:
    """Why a file with these columns is not read."""
    for name in columns:
        if found.count(name) != 1:
            return f"the column `{name}` stands twice" if name in found else f"no column `{name}`; found: {', '.join(found)}"
    return ""


def _rows(table: pq.ParquetFile, group: int, number: int, columns: list[str]) -> Iterator[Record]:
    """The rows of one group, numbered on from `number`."""
    about = table.metadata.row_group(group)
    size = max(1, about.total_byte_size // max(1, about.num_rows))
    for batch in table.iter_batches(min(BATCH_ROWS, max(1, BATCH_BYTES // size)), row_groups=[group], columns=columns, use_threads=False):
        for row in batch_rows(batch):
            number += 1
            yield number, row


def _told(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__

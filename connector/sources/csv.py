"""Reads CSV and TSV: the first line names the columns, every further record is one document.

The rules are RFC 4180's, strictly: a record with too few or too many values, or with a quote where none may stand, is rejected and named,
never guessed at, because a shifted row is worse than a missing one. Values are text unless `types` says otherwise.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import IO, Any, ClassVar

from connector.errors import ConfigError
from connector.files.below import shown
from connector.record import Gap, Row
from connector.sources.cells import CONVERTERS, CellType
from connector.sources.streams import MAX_ROW, bare, lines, unpacked
from connector.sources.tables import Record, TableSource


class CsvSource(TableSource):
    """The records of CSV files. Blank lines are passed over, columns without a name are left out.

    Args:
        path: A path or pattern, or several. `.gz`, `.bz2`, `.xz` and `.zst` are decompressed.
        key: The column that names a document; None: the number of the line where its record begins, with several files `file:line`.
        delimiter: One character; default a tab for `.tsv` and `.tab`, else a comma.
        encoding: As Python names it, such as latin-1; default UTF-8. A byte order mark is passed over.
        columns: The columns' names, for files without a header line.
        types: What a column's text is turned into: int, float, bool (true, false, 1, 0) or json. A value that is none is rejected.
        empty_as_none: Whether an empty value is None rather than "".
        quotes: Whether `"` quotes values; if false it is a character like any other.
    """

    name = "csv"
    separator: ClassVar[str] = ","

    def __init__(
        self,
        path: str | list[str],
        key: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        columns: list[str] | None = None,
        types: dict[str, CellType] | None = None,
        *,
        empty_as_none: bool = True,
        quotes: bool = True,
    ) -> None:
        super().__init__(path, key)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ConfigError(f"csv source: the delimiter {delimiter!r} is not one character", hint='write "," or ";" or "\\t"')
        self._delimiter = delimiter
        self._encoding = _checked(encoding or "utf-8")
        self._columns = columns
        self._types = {name: CONVERTERS[kind] for name, kind in (types or {}).items()}
        self._empty_as_none = empty_as_none
        self._quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE

    def records(self, raw: IO[bytes], path: str) -> Iterator[Record]:
        """Yields the record of each line, or what is wrong with it."""
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW + 1))  # the module's own limit is 128 KiB, for the whole process
        with io.TextIOWrapper(unpacked(raw, path), self._encoding, errors="surrogateescape", newline="") as text:
            records = _Records(text, self._encoding, delimiter=self._delimiter_of(path), quoting=self._quoting, strict=True)
            try:
                yield from self._told(records, shown(path))
            except _Unclosed as error:
                yield Gap(shown(path), str(error))

    def _told(self, records: _Records, file: str) -> Iterator[Record]:
        """The records under their columns' names; a gap if the header makes no sense of them."""
        columns = self._columns or next((cells for _, cells in records), "is empty, without even a header line")
        problem = columns if isinstance(columns, str) else self._problem(columns)
        if problem or isinstance(columns, str):
            yield Gap(file, f"header: {problem}")
            return
        for number, cells in records:
            yield number, cells if isinstance(cells, str) else self._row(columns, cells)

    def _delimiter_of(self, path: str) -> str:
        return self._delimiter or ("\t" if bare(path).endswith((".tsv", ".tab")) else self.separator)

    def _problem(self, columns: list[str]) -> str:
        """Why a file with these columns is not read."""
        named = [name for name in columns if name]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            return f"the column `{twice}` stands twice"
        if self.key is not None and self.key not in named:
            return f"no column `{self.key}`, which is the key; found: {', '.join(named)}"
        return ""

    def _row(self, columns: list[str], cells: list[str]) -> Row | str:
        if len(cells) != len(columns):
            return f"{len(cells)} values, but the header has {len(columns)} columns"
        row: dict[str, Any] = dict(zip(columns, [cell or None for cell in cells] if self._empty_as_none else cells, strict=True))
        row.pop("", None)
        for name, convert in self._types.items():
            if row.get(name):
                try:
                    row[name] = convert(row[name])
                except (ValueError, RecursionError) as error:
                    return f"column `{name}`: {error}"
        return row


def _checked(encoding: str) -> str:
    """The encoding as the decoder wants it: UTF-8 with the byte order mark passed over."""
    try:
        "".encode(encoding)
    except LookupError:
        raise ConfigError(f"csv source: no text encoding is called {encoding!r}", hint="write utf-8, latin-1, cp1252 or utf-16") from None
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


class TsvSource(CsvSource):
    """CSV with tabs between the values; the keys are those of `CsvSource`."""

    name = "tsv"
    separator = "\t"


class _Unclosed(Exception):  # noqa: N818  # it is no error of ours, it ends a loop
    """A quote that is never closed swallows the rest of a file."""


class _Records:
    """Iterates over (line where it begins, values or what is wrong) of the records of a text."""

    def __init__(self, text: IO[str], encoding: str, **form: Any) -> None:
        self._lines = lines(text)
        self._encoding = encoding
        self._held = 0
        self._first = self._last = 0
        self._problem = ""
        self._reader = csv.reader(self._feed(), **form)

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while True:
            self._held, self._problem, self._first = 0, "", 0
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._problem = self._problem or f"not CSV: {error}"
            if self._problem:
                yield self._first, self._problem
            elif cells:
                yield self._first, cells

    def _feed(self) -> Iterator[str]:
        """Yields lines to the parser; what it takes for one record is bounded."""
        for number, line in self._lines:
            self._first = self._first or number
            if line is None:
                self._problem = f"over {MAX_ROW:,} characters"
            self._held += len(line or "")
            if self._held > MAX_ROW:
                raise _Unclosed(f"line {self._first}: a quote is opened and not closed within {MAX_ROW:,} characters")
            if line is not None and not line.isascii():
                self._note_undecoded(line)
            yield line or "\n"
        if self._held:
            raise _Unclosed(f"line {self._first}: a quote is opened and never closed")

    def _note_undecoded(self, line: str) -> None:
        try:
            line.encode()
        except UnicodeEncodeError:
            self._problem = f"not {self._encoding.removesuffix('-sig')}; set the source's `encoding`, such as latin-1 or cp1252"

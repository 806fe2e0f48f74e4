"""Compares the documents of two generations by the lineage of their rows, on disk, so that it costs no memory however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Self

from connector.record import Key, Row

_ROWS = 10_000


class Inventory:
    """The rows of the live generation and of a candidate; a context manager over a temporary file.

    The rest of a row's `connector_content` after the last dot is how many rows its document has.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a file of SQLite's own, gone when it is closed
        self._db.execute("CREATE TABLE line (side TEXT, namespace TEXT, document TEXT, content TEXT, pk)")

    def add_live(self, rows: Iterable[Row], primary: str | None = None) -> None:
        """Takes the lineage of the live rows, and their primary keys if they are comparable."""
        self._add(("live", *_lineage(row), primary and row[primary]) for row in rows)

    def add_candidate(self, rows: Iterable[Row], primary: str) -> None:
        """Takes lineage and primary keys of the candidate's rows."""
        self._add(("candidate", *_lineage(row), row[primary]) for row in rows)

    def _add(self, lines: Iterator[tuple[object, ...]]) -> None:
        while some := list(islice(lines, _ROWS)):
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO line VALUES (?, ?, ?, ?, ?)", some)
            self._db.execute("COMMIT")

    def namespaces(self) -> dict[str, tuple[int, int, int, int]]:
        """By namespace: documents and rows of the live generation, documents and rows of the candidate."""
        sql = "SELECT side, namespace, count(DISTINCT document), count(*) FROM line GROUP BY 1, 2"
        found = {(side, name): (documents, rows) for side, name, documents, rows in self._db.execute(sql)}
        names = sorted({name for _, name in found})
        return {name: (*found.get(("live", name), (0, 0)), *found.get(("candidate", name), (0, 0))) for name in names}

    def missing(self) -> list[tuple[str, str]]:
        """(namespace, document) of what the live generation has and the candidate has not."""
        return self._db.execute(
            "SELECT DISTINCT namespace, document FROM line WHERE side = 'live'"
            " EXCEPT SELECT namespace, document FROM line WHERE side = 'candidate'"
        ).fetchall()

    def torn(self) -> list[tuple[str, str]]:
        """(namespace, document) of the candidate's documents that have rows of two versions, or not as many as they should."""
        return self._db.execute(
            "SELECT namespace, document FROM line WHERE side = 'candidate' GROUP BY 1, 2 HAVING count(DISTINCT content) > 1"
            " OR count(*) <> max(CAST(substr(content, length(rtrim(content, '0123456789')) + 1) AS INTEGER))"
        ).fetchall()

    def extra(self) -> list[Key]:
        """Primary keys that only the candidate has."""
        sql = "SELECT pk FROM line WHERE side = 'candidate' EXCEPT SELECT pk FROM line WHERE side = 'live'"
        return [key for (key,) in self._db.execute(sql)]

    def sample(self, count: int) -> list[Key]:
        """Primary keys of so many rows of the candidate, at random."""
        sql = "SELECT pk FROM line WHERE side = 'candidate' ORDER BY random() LIMIT ?"
        return [key for (key,) in self._db.execute(sql, (count,))]

    def rows(self) -> int:
        """How many rows the candidate has."""
        return int(self._db.execute("SELECT count(*) FROM line WHERE side = 'candidate'").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()


def _lineage(row: Row) -> tuple[str, str, str]:
    return row["connector_namespace"], row["connector_key"], row["connector_content"]

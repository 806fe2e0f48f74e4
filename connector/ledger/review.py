"""Lays what the collection has beside what the ledger knows, document by document, and re-queues what differs.

The rows' keys and lineage go into a temporary table, which SQLite keeps on disk: a review of millions of rows needs no memory to speak of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from connector.ledger.file import LedgerFile
from connector.record import Key, Known

PAGE = 500
"""Documents that are looked at together."""

_ENTRY = "SELECT key, digest, status, version, content, fingerprint, rows, max_rows FROM document WHERE scope = ?"


@dataclass(slots=True)
class Entry:
    """One document, from both sides.

    Attributes:
        key: The document's.
        known: What the ledger knows; None: nothing.
        digest: Of its rows as they were written; None: not known.
        owned: Natural keys that the ledger gives it.
        rows: (primary key, lineage) of every row in the collection.
    """

    key: str
    known: Known | None
    digest: int | None = None
    owned: set[Key] = field(default_factory=set)
    rows: list[tuple[Key, str]] = field(default_factory=list)


class ReviewTable(LedgerFile):
    """Adds the review to the ledger's file."""

    def gather(self, rows: Iterable[tuple[str, Key, str]]) -> int:
        """Takes what the collection has, as (document, primary key, lineage), in the place of an earlier one; returns how many."""
        total = 0
        with self._mutex:
            self._db.execute("DROP TABLE IF EXISTS temp.found")
            self._db.execute("CREATE TEMP TABLE found (key TEXT NOT NULL, pk NOT NULL, content TEXT NOT NULL)")
            for some in _batches(rows, 10_000):
                self._db.execute("BEGIN")
                self._db.executemany("INSERT INTO temp.found VALUES (?, ?, ?)", some)
                self._db.execute("COMMIT")
                total += len(some)
            self._db.execute("CREATE INDEX temp.found_key ON found (key)")
        return total

    def entries(self) -> Iterator[Entry]:
        """Every document that the ledger knows, then every one of which only the collection has rows."""
        for page in self._known_pages():
            yield from self._joined([Entry(key, Known(*rest), digest) for key, digest, *rest in page])
        unknown = "NOT EXISTS (SELECT 1 FROM document WHERE scope = ? AND document.key = found.key)"
        sql = f"SELECT DISTINCT key FROM temp.found AS found WHERE key > ? AND {unknown} ORDER BY key LIMIT ?"
        last = ""
        while page := self._rows(sql, last, self._scope, PAGE):
            last = page[-1][0]
            yield from self._joined([Entry(key, None) for (key,) in page])

    def picked(self, keys: Iterable[str]) -> Iterator[Entry]:
        """Some of the documents that the ledger knows."""
        for some in _batches(keys, PAGE):
            page = self._rows(f"{_ENTRY} AND key IN ({','.join('?' * len(some))})", self._scope, *some)
            yield from self._joined([Entry(key, Known(*rest), digest) for key, digest, *rest in page])

    def written(self) -> Iterator[str]:
        """Keys of the documents that have rows and are not under way."""
        sql = "SELECT key FROM document WHERE scope = ? AND key > ? AND rows > 0 AND status <> 'writing' ORDER BY key LIMIT 10000"
        last = ""
        while page := self._rows(sql, self._scope, last):
            last = page[-1][0]
            yield from (key for (key,) in page)

    def _known_pages(self) -> Iterator[list[tuple[Any, ...]]]:
        last = ""
        while page := self._rows(f"{_ENTRY} AND key > ? ORDER BY key LIMIT ?", self._scope, last, PAGE):
            last = page[-1][0]
            yield page

    def _joined(self, entries: list[Entry]) -> list[Entry]:
        keys = [entry.key for entry in entries]
        marks = ",".join("?" * len(keys))
        owned, rows = defaultdict(set), defaultdict(list)
        for document, pk in self._rows(f"SELECT document, pk FROM owned WHERE scope = ? AND document IN ({marks})", self._scope, *keys):
            owned[document].add(pk)
        for key, pk, content in self._rows(f"SELECT key, pk, content FROM temp.found WHERE key IN ({marks})", *keys):
            rows[key].append((pk, content))
        for entry in entries:
            entry.owned, entry.rows = owned[entry.key], rows[entry.key]
        return entries

    def redo(self, documents: Iterable[tuple[str, int]]) -> None:
        """Puts documents back to `writing`, each with its bound of ordinals if that is higher: the next run makes them again."""
        with self._transaction() as db:
            sql = "UPDATE document SET status = 'writing', max_rows = max(max_rows, ?) WHERE scope = ? AND key = ?"
            db.executemany(sql, ((rows, self._scope, key) for key, rows in documents))

    def adopt(self, key: str, known: Known, pks: Iterable[Key]) -> None:
        """Takes over a document of which only the collection knew; `pks` are its natural keys."""
        with self._transaction() as db:
            values = (known.status, known.version, known.content, known.fingerprint, known.rows, known.max_rows)
            db.execute("INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", (self._scope, key, *values))
            db.executemany("INSERT OR REPLACE INTO owned VALUES (?, ?, ?)", ((self._scope, pk, key) for pk in pks))

    def rewind(self) -> None:
        """Lets a cursor source begin at its start: what it has passed is re-queued only if it is listed again."""
        with self._transaction() as db:
            db.execute("DELETE FROM position WHERE scope = ?", (self._scope,))

    # Doubt: why the next run compares ledger and collection before it does anything else

    @property
    def doubt(self) -> str:
        """Why this scope may not match the collection; "" if nothing says so."""
        return "".join(doubt for (doubt,) in self._rows("SELECT doubt FROM scope WHERE id = ?", self._scope))

    def trust(self) -> None:
        """Notes that the scope was compared with the collection."""
        with self._transaction() as db:
            db.execute("UPDATE scope SET doubt = '' WHERE id = ?", (self._scope,))


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    taken = iter(items)
    while some := list(islice(taken, size)):
        yield some

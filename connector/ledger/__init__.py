"""Remembers what was written of each document, so that nothing is paid for twice and nothing is forgotten.

One SQLite file beside the job, keyed by (namespace, collection uid) and nothing else. It is a cache of the truth: the truth is in the
collection's lineage fields, from which `reconcile/recovery.py` rebuilds it. Every window makes two transactions: `begin` records the
intent before a row is sent, `complete` the result after the acknowledgement. A crash in between leaves documents in `writing`, which the
next run reads again and whose rows a sweep can find.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from connector.ledger.claims import ClaimTable
from connector.ledger.forgotten import ForgottenTable
from connector.ledger.rejects import RejectTable
from connector.ledger.review import ReviewTable
from connector.ledger.statements import chunks, insert, marks
from connector.record import Key, Known, Position, Visit, Window, generated_key

_JUDGED = ("status", "version", "content", "fingerprint")
_NOTED = (*_JUDGED, "rows", "max_rows", "digest")


class Ledger(RejectTable, ClaimTable, ForgottenTable, ReviewTable):
    """The documents of one scope; `enter` says which."""

    # What a run is about

    def enter(self, namespace: str, uid: str, fingerprint: str, parts: dict[str, Any], *, natural: bool = False) -> None:
        """Selects whose documents the other methods speak of, and starts a listing; `natural`: keys come from the rows."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO scope (namespace, uid) VALUES (?, ?)", (namespace, uid))
            db.execute("INSERT OR IGNORE INTO fingerprint VALUES (?, ?)", (fingerprint, json.dumps(parts, sort_keys=True)))
            (self._scope,) = db.execute("SELECT id FROM scope WHERE namespace = ? AND uid = ?", (namespace, uid)).fetchone()
        self._namespace, self._fingerprint, self._natural = namespace, fingerprint, natural
        self._begin_listing()

    def settings(self, fingerprint: str) -> dict[str, Any] | None:
        """What an earlier run's fingerprint stands for, by parts; None: this file knows nothing of it."""
        found = self._rows("SELECT parts FROM fingerprint WHERE hash = ?", fingerprint)
        return dict(json.loads(found[0][0])) if found else None

    def look(self, namespace: str, uid: str, *, natural: bool = False) -> None:
        """As `enter`, without noting anything in the file."""
        found = self._rows("SELECT id FROM scope WHERE namespace = ? AND uid = ?", namespace, uid)
        self._scope = int(found[0][0]) if found else 0
        self._namespace, self._natural = namespace, natural
        self._begin_listing()

    def _begin_listing(self) -> None:
        with self._mutex:
            self._db.execute("DROP TABLE IF EXISTS temp.seen")
            self._db.execute("CREATE TEMP TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    @property
    def epoch(self) -> int:
        """The collection's epoch when this scope last finished a run."""
        return max((int(epoch) for (epoch,) in self._rows("SELECT epoch FROM scope WHERE id = ?", self._scope)), default=0)

    @property
    def source(self) -> str:
        """The source's settings in the last finished run, as a hash; "" before the first."""
        return "".join(source for (source,) in self._rows("SELECT source FROM scope WHERE id = ?", self._scope))

    def settle(self, *, epoch: int, source: str | None) -> None:
        """Notes, at the end of a run, the collection's epoch and (None: leave it) the source's settings."""
        with self._transaction() as db:
            db.execute("UPDATE scope SET epoch = ?, source = coalesce(?, source) WHERE id = ?", (epoch, source, self._scope))

    # LIST and SKIP

    @property
    def empty(self) -> bool:
        """Whether no document is known."""
        return not self._rows("SELECT 1 FROM document WHERE scope = ? LIMIT 1", self._scope)

    def known(self, keys: Sequence[str]) -> dict[str, Known]:
        """Entries of the documents with these keys."""
        found: dict[str, Known] = {}
        for some in chunks(keys):
            columns = "key, status, version, content, fingerprint, rows, max_rows"
            sql = f"SELECT {columns} FROM document WHERE scope = ? AND key IN ({marks(some)})"
            found.update((key, Known(*rest)) for key, *rest in self._rows(sql, self._scope, *some))
        return found

    def see(self, keys: Sequence[str]) -> set[str]:
        """Notes that these documents are listed; returns those that were listed before in this run."""
        with self._mutex:
            self._db.execute("BEGIN")
            try:
                insert(self._db, "INSERT INTO temp.seen", zip(keys, strict=True))
            except sqlite3.IntegrityError:  # rare, so that the many that are new cost no look-up
                self._db.rollback()
            else:
                self._db.commit()
                return set()
            before = {
                key for some in chunks(keys) for (key,) in self._rows(f"SELECT key FROM temp.seen WHERE key IN ({marks(some)})", *some)
            }
            insert(self._db, "INSERT OR IGNORE INTO temp.seen", zip(keys, strict=True))
        return before

    def position(self, partition: str) -> Position | None:
        """Where a cursor source reads on."""
        found = self._rows("SELECT position FROM position WHERE scope = ? AND partition = ?", self._scope, partition)
        return json.loads(found[0][0]) if found else None

    # WRITE and COMMIT

    def begin(self, window: Window, keys: dict[int, Key] | None, *, take_over: bool, append: bool = False) -> dict[int, str]:
        """Records what this window is about to write, before anything is sent.

        Args:
            window: Conformed; documents that need no write are passed over.
            keys: Natural keys by row index; None when keys are generated.
            take_over: Whether a key may move to this window's document from one that was listed in this run (cursor sources).
            append: Whether no key may move at all.

        Returns:
            Rows whose key belongs to another document and may not move: index to that document's key.
        """
        visits = [part.visit for part in window.parts if part.visit.writes]
        with self._transaction() as db:
            insert(
                db,
                "INSERT INTO document",
                [(self._scope, visit.key, "writing", None, None, self._fingerprint, 0, visit.total, None) for visit in visits],
                "ON CONFLICT (scope, key) DO UPDATE SET status = 'writing', max_rows = max(max_rows, excluded.max_rows)",
            )
            return self.claim(db, window, keys, take_over=take_over, append=append) if keys else {}

    def max_rows(self, key: str) -> int:
        """No row of this document has an ordinal at or above this; 0 for an unknown document."""
        found = self._rows("SELECT max_rows FROM document WHERE scope = ? AND key = ?", self._scope, key)
        return int(found[0][0]) if found else 0

    def keys_of(self, key: str, max_rows: int | None = None) -> list[Key]:
        """Every primary key that rows of this document may have in the collection; `max_rows` saves a look-up where it is known."""
        if self._natural:
            return [pk for (pk,) in self._rows("SELECT pk FROM owned WHERE scope = ? AND document = ?", self._scope, key)]
        count = self.max_rows(key) if max_rows is None else max_rows
        return [generated_key(self._namespace, key, ordinal) for ordinal in range(count)]

    def complete(self, window: Window, run: str, *, take_over: bool = False) -> None:
        """Marks every document that ends in this window, and the positions of their partitions, in one transaction.

        With `take_over`, as for `begin`, a document that lost rows to one of these is finished too; in a listing it waits to be read again.
        """
        visits = [part.visit for part in window.parts if part.last]
        kept = [visit for visit in visits if not visit.removed and not visit.repeated]
        places = {visit.partition: visit.document.position for visit in visits if visit.document.position is not None}
        with self._transaction() as db:
            for visit in visits:
                if visit.removed:
                    self._forget(db, visit.key)
            self._mark(db, kept)
            if self._natural:
                self.own(db, [visit for visit in kept if visit.writes])
            for visit in visits:
                self.record_rejects(db, visit, run)
            values = [(self._scope, partition, json.dumps(position)) for partition, position in places.items()]
            db.executemany("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", values)
            self.settle_claims(db, window, take_over=take_over)

    def stale(self, visits: Sequence[Visit]) -> list[Key]:
        """Keys of rows that earlier versions of these documents left behind: what may be there, and was not written in this run."""
        if self._natural:
            return self.stale_claims(visits)
        written = {visit.key: visit.acknowledged for visit in visits if not visit.fresh}
        found: list[Key] = []
        for some in chunks(list(written)):
            sql = f"SELECT key, max_rows FROM document WHERE scope = ? AND key IN ({marks(some)})"
            left = [(key, rows) for key, rows in self._rows(sql, self._scope, *some) if rows > len(written[key])]
            found += [pk for key, rows in left for pk in self.keys_of(key, rows) if pk not in written[key]]
        return found

    def _mark(self, db: sqlite3.Connection, visits: Sequence[Visit]) -> None:
        """Notes how these visits ended."""
        unchanged, rejected, written = list[Any](), list[Any](), list[Any]()
        for visit in visits:
            version = None if visit.rejects and any(reject.retry for reject in visit.rejects) else visit.document.version
            if visit.outcome == "unchanged":
                if visit.known is not None and visit.known.version != version:
                    unchanged.append((version, self._scope, visit.key))
            elif visit.outcome == "rejected":
                status = "writing" if visit.known and visit.known.status == "writing" else "rejected"
                rejected.append((self._scope, visit.key, status, version, visit.content, self._fingerprint, 0, 0, None))
            else:
                status = "empty" if not visit.total else "partial" if visit.rejects else "done"
                rows = len(visit.acknowledged)
                written.append((self._scope, visit.key, status, version, visit.content, self._fingerprint, rows, visit.total, visit.digest))
        db.executemany("UPDATE document SET version = ? WHERE scope = ? AND key = ?", unchanged)
        for entries, columns in ((rejected, _JUDGED), (written, _NOTED)):
            insert(db, "INSERT INTO document", entries, f"ON CONFLICT (scope, key) DO UPDATE SET {_set(*columns)}")

    # SWEEP and recovery

    def vanished(self) -> int:
        """How many known documents this run's listing did not have."""
        sql = "SELECT count(*) FROM document WHERE scope = ? AND key NOT IN (SELECT key FROM temp.seen)"
        return int(self._rows(sql, self._scope)[0][0])

    def some_vanished(self, limit: int) -> list[tuple[str, int]]:
        """Up to `limit` vanished documents: (key, max_rows)."""
        sql = "SELECT key, max_rows FROM document WHERE scope = ? AND key NOT IN (SELECT key FROM temp.seen) LIMIT ?"
        return [(key, rows) for key, rows in self._rows(sql, self._scope, limit)]

    def forget(self, keys: Iterable[str]) -> None:
        """Drops documents whose rows are deleted."""
        with self._transaction() as db:
            for key in keys:
                self._forget(db, key)

    def _forget(self, db: sqlite3.Connection, key: str) -> None:
        for table, column in (("document", "key"), ("owned", "document"), ("reject", "document")):
            db.execute(f"DELETE FROM {table} WHERE scope = ? AND {column} = ?", (self._scope, key))

    def counts(self) -> tuple[int, int]:
        """(documents, rows of those that are not `writing`) that this scope should have in the collection."""
        sql = "SELECT count(*), coalesce(sum(CASE WHEN status <> 'writing' THEN rows END), 0) FROM document WHERE scope = ?"
        documents, rows = self._rows(sql, self._scope)[0]
        return int(documents), int(rows)

    def unfinished(self) -> list[tuple[str, int]]:
        """Documents with an intent and no completion: (key, max_rows)."""
        sql = "SELECT key, max_rows FROM document WHERE scope = ? AND status = 'writing'"
        return [(key, rows) for key, rows in self._rows(sql, self._scope)]

    def replace(self, entries: Iterable[tuple[str, Known, Sequence[Key]]]) -> int:
        """Puts these documents, with their natural keys, in the place of all that is known; returns how many."""
        number = 0
        with self._transaction() as db:
            for table in ("document", "owned", "position"):
                db.execute(f"DELETE FROM {table} WHERE scope = ?", (self._scope,))
            for key, known, pks in entries:
                number += 1
                values = (known.status, known.version, known.content, known.fingerprint, known.rows, known.max_rows)
                db.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", (self._scope, key, *values))
                db.executemany("INSERT OR REPLACE INTO owned VALUES (?, ?, ?)", ((self._scope, pk, key) for pk in pks))
        return number


def _set(*columns: str) -> str:
    """Takes these from the row that is there already in a new form."""
    return ", ".join(f"{column} = excluded.{column}" for column in columns)

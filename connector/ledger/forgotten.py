"""Which documents must not be ingested: erased on request, and remembered so that no run brings them back.

The mark belongs to the namespace and not to one collection, so that a new generation of the collection does not bring them back either.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from connector.ledger.file import LedgerFile


class ForgottenTable(LedgerFile):
    """Adds the marks to the ledger's file."""

    _namespace = ""
    """Whose marks are spoken of; set by Ledger.enter and Ledger.look."""

    def forgotten(self) -> set[str]:
        """Keys of the documents of this namespace that must not be ingested."""
        return {key for (key,) in self._rows("SELECT key FROM forgotten WHERE namespace = ?", self._namespace)}

    def mark_forgotten(self, namespace: str, key: str) -> None:
        """Lets no run ingest this document."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO forgotten VALUES (?, ?, ?)", (namespace, key, time.time()))

    def allow_again(self, namespace: str, key: str) -> bool:
        """Takes the mark away; returns whether there was one."""
        with self._transaction() as db:
            return db.execute("DELETE FROM forgotten WHERE namespace = ? AND key = ?", (namespace, key)).rowcount > 0

    def expunge(self, namespace: str, key: str) -> int:
        """Deletes all that is known of a document, in every collection, its rejects and their mention in run reports; returns entries.

        What is deleted is overwritten in the file: the reasons of rejects quote data.
        """
        with self._mutex:
            self._db.execute("PRAGMA secure_delete = ON")
            with self._transaction() as db:
                scopes = "scope IN (SELECT id FROM scope WHERE namespace = ?)"
                entries = db.execute(f"DELETE FROM document WHERE {scopes} AND key = ?", (namespace, key)).rowcount
                for table in ("owned", "reject"):
                    db.execute(f"DELETE FROM {table} WHERE {scopes} AND document = ?", (namespace, key))
                _silence(db, scopes, namespace, key)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return entries

    def replace_all(self, ready: Path) -> None:
        """Puts another ledger's whole content in the place of this one's, in one transaction; the marks of both stay."""
        marks = self._rows("SELECT namespace, key, since FROM forgotten")
        with contextlib.closing(sqlite3.connect(ready)) as other, self._mutex:
            with other:
                other.executemany("INSERT OR IGNORE INTO forgotten VALUES (?, ?, ?)", marks)
            other.backup(self._db)

    def copy_to(self, file: Path) -> None:
        """Saves a consistent copy of the whole file."""
        file.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(file)) as copy, self._mutex:
            self._db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")

    def summary(self) -> dict[str, Any]:
        """What the file holds, by scope."""
        scopes = []
        for number, namespace, uid, epoch, doubt in self._rows("SELECT id, namespace, uid, epoch, doubt FROM scope ORDER BY id"):
            statuses = self._rows("SELECT status, count(*), sum(rows) FROM document WHERE scope = ? GROUP BY status", number)
            latest = self._rows("SELECT id, exit_code FROM run WHERE scope = ? ORDER BY number DESC LIMIT 1", number)
            scopes.append(
                {
                    "namespace": namespace,
                    "uid": uid,
                    "epoch": epoch,
                    "doubt": doubt,
                    "documents": {status: count for status, count, _ in statuses},
                    "rows": sum(rows for _, _, rows in statuses),
                    "rejects": self._rows("SELECT count(*) FROM reject WHERE scope = ?", number)[0][0],
                    "positions": dict(self._rows("SELECT partition, position FROM position WHERE scope = ?", number)),
                    "last_run": {"id": latest[0][0], "exit_code": latest[0][1]} if latest else None,
                }
            )
        marks: dict[str, list[str]] = {}
        for namespace, key in self._rows("SELECT namespace, key FROM forgotten ORDER BY namespace, key"):
            marks.setdefault(namespace, []).append(key)
        return {"scopes": scopes, "forgotten": marks}

    def purge(self, namespace: str) -> int:
        """Deletes all that is known of a namespace but the marks; returns how many documents that were."""
        with self._transaction() as db:
            scopes = "scope IN (SELECT id FROM scope WHERE namespace = ?)"
            entries = db.execute(f"DELETE FROM document WHERE {scopes}", (namespace,)).rowcount
            for table in ("owned", "position", "reject", "run"):
                db.execute(f"DELETE FROM {table} WHERE {scopes}", (namespace,))
            db.execute("DELETE FROM scope WHERE namespace = ?", (namespace,))
        return entries


def _silence(db: sqlite3.Connection, scopes: str, namespace: str, key: str) -> None:
    """Takes a document out of the lists of rejects and differences in run reports."""
    for number, text in db.execute(f"SELECT number, report FROM run WHERE {scopes} AND report IS NOT NULL", (namespace,)).fetchall():
        report = json.loads(text)
        lists = [report.get("rejects"), (report.get("verified") or {}).get("shown")]
        before = sum(len(lines or ()) for lines in lists)
        for lines in lists:
            if lines:
                lines[:] = [line for line in lines if not line.startswith((f"{key}: ", f"{key} row "))]
        if before != sum(len(lines or ()) for lines in lists):
            db.execute("UPDATE run SET report = ? WHERE number = ?", (json.dumps(report), number))

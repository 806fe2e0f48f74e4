"""The reject store: which documents and rows were not written, why, and how often it was tried. One table of the ledger file.

A document's rejects are replaced each time it is visited and go when it is written whole, so the store is always the present state. It is
read from the file alone: what was rejected must be told when Milvus is down too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from connector.ledger.file import LedgerFile
from connector.record import Visit

WHOLE = -1
"""`ordinal` of a reject that concerns the whole document."""


class RejectTable(LedgerFile):
    """Adds the reject store to the ledger's file."""

    _with_rejects: tuple[int, set[str]] = (0, set())
    """A scope, and the documents in it that may have entries."""

    def latest(self, namespace: str) -> bool:
        """Selects the documents of a namespace's latest run, whatever collection that went to; False if there never was one."""
        sql = (
            "SELECT scope.id FROM scope LEFT JOIN run ON run.scope = scope.id WHERE namespace = ?"
            " ORDER BY run.number DESC, scope.id DESC LIMIT 1"
        )
        found = self._rows(sql, namespace)
        self._scope = int(found[0][0]) if found else 0
        return bool(found)

    def rejects(self) -> list[dict[str, Any]]:
        """The reject store of this scope; ordinal -1 concerns the whole document."""
        columns = ("document", "ordinal", "station", "reason", "attempts", "run")
        sql = f"SELECT {', '.join(columns)} FROM reject WHERE scope = ? ORDER BY document, ordinal"
        return [dict(zip(columns, row, strict=True)) for row in self._rows(sql, self._scope)]

    def requeue(self, documents: Iterable[str]) -> None:
        """Forgets version and content of these documents, so that the next listing has them read and made again."""
        with self._transaction() as db:
            sql = "UPDATE document SET version = NULL, content = NULL WHERE scope = ? AND key = ?"
            db.executemany(sql, ((self._scope, document) for document in documents))

    def record_rejects(self, db: sqlite3.Connection, visit: Visit, run: str) -> None:
        """Puts what a visit rejected in the place of the document's earlier rejects, counting the attempts."""
        if not visit.rejects and visit.key not in self._tried(db):
            return  # it has no rejects and had none
        sql = "SELECT ordinal, attempts FROM reject WHERE scope = ? AND document = ?"
        attempts = dict(db.execute(sql, (self._scope, visit.key)).fetchall())
        if not visit.repeated and (visit.outcome != "unchanged"):
            db.execute("DELETE FROM reject WHERE scope = ? AND document = ?", (self._scope, visit.key))
        if visit.rejects:
            self._tried(db).add(visit.key)
        for reject in visit.rejects:
            ordinal = WHOLE if reject.ordinal is None else reject.ordinal
            values = (self._scope, visit.key, ordinal, reject.station, reject.reason, attempts.get(ordinal, 0) + 1, run)
            db.execute("INSERT OR REPLACE INTO reject VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def _tried(self, db: sqlite3.Connection) -> set[str]:
        """Documents that may have entries, so that the many that have none cost no query."""
        scope, known = self._with_rejects
        if scope != self._scope:
            known = {key for (key,) in db.execute("SELECT DISTINCT document FROM reject WHERE scope = ?", (self._scope,))}
            self._with_rejects = (self._scope, known)
        return known


def stored_rejects(path: Path, namespace: str) -> list[dict[str, Any]]:
    """What a ledger file has in store for a namespace, read without changing it or asking Milvus.

    Each entry has document, ordinal (None for the whole document), station, reason, attempts and run (of the latest attempt).

    Raises:
        ConfigError: The file cannot be read.
    """
    with RejectTable(path, lock=False, read_only=True) as ledger:
        found = ledger.rejects() if ledger.latest(namespace) else []
    return [{**entry, "ordinal": None if entry["ordinal"] == WHOLE else entry["ordinal"]} for entry in found]

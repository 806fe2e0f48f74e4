"""Which documents must not be ingested: erased on request, and remembered so that no run brings them back.

The mark belongs to the namespace and not to one collection, so that a new generation of the collection does not bring them back either.
"""

from __future__ import annotations

import time

from connector.ledger_file import LedgerFile


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

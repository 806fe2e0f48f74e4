"""Which document owns which natural key: claimed before a row is sent, given at its completion, and taken from whoever had it before.

Keys that are generated belong to one document by their derivation and are not here.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from connector.ledger.file import LedgerFile
from connector.ledger.statements import chunks, insert, marks
from connector.record import Key, Visit, Window


class ClaimTable(LedgerFile):
    """Adds the owners of natural keys to the ledger's file."""

    _robbed: dict[int, dict[str, tuple[str, int]]] = {}  # noqa: RUF012 - never changed in place
    """Between `claim` and `settle_claims`, by window: who loses rows, its status before, how many."""

    def claim(self, db: sqlite3.Connection, window: Window, keys: dict[int, Key], *, take_over: bool, append: bool) -> dict[int, str]:
        """Gives keys (by row index) to the documents of a window; returns those that stay with another one, as `Ledger.begin` says."""
        documents = {index: visit.key for index, visit, _ in window.whose() if index in keys}
        owners = self._owners(db, list(keys.values()))
        here = {(documents[index], key) for index, key in keys.items()}
        done_here = {part.visit.key: part.visit for part in window.parts if part.last and part.visit.writes}
        conflicts: dict[int, str] = {}
        robbed: dict[str, tuple[str, int]] = {}
        for index, key in keys.items():
            owner, mine = owners.get(key, documents[index]), documents[index]
            if owner == mine:
                continue
            gives_up = owner in done_here and (owner, key) not in here and key not in done_here[owner].acknowledged
            seen = append or (not take_over and db.execute("SELECT 1 FROM temp.seen WHERE key = ?", (owner,)).fetchone())
            if seen and not gives_up:
                conflicts[index] = owner
            elif not gives_up:
                self._rob(db, owner, robbed)
        self._robbed = {**self._robbed, id(window): robbed} if robbed else self._robbed
        claims = ((self._scope, key, documents[index]) for index, key in keys.items() if index not in conflicts)
        insert(db, "INSERT INTO owned", claims, "ON CONFLICT (scope, pk) DO UPDATE SET document = excluded.document")
        return conflicts

    def robs(self, window: Window) -> bool:
        """Whether documents that are not in this window lose rows to it, until it is completed."""
        return id(window) in self._robbed

    def _rob(self, db: sqlite3.Connection, owner: str, robbed: dict[str, tuple[str, int]]) -> None:
        """Notes that a document is about to lose a row to another one, and what it was before."""
        where = (self._scope, owner)
        (status,) = db.execute("SELECT status FROM document WHERE scope = ? AND key = ?", where).fetchone() or ("writing",)
        if owner in robbed or status != "writing":
            before, lost = robbed.get(owner, (status, 0))
            robbed[owner] = (before, lost + 1)
        db.execute("UPDATE document SET status = 'writing' WHERE scope = ? AND key = ?", where)

    def settle_claims(self, db: sqlite3.Connection, window: Window, *, take_over: bool) -> None:
        """Finishes the documents that lost rows to this window (`take_over`); else they wait in `writing` to be read again."""
        if take_over:
            for owner, (status, lost) in self._robbed.get(id(window), {}).items():
                sql = "UPDATE document SET status = ?, rows = max(0, rows - ?), digest = NULL WHERE scope = ? AND key = ?"
                db.execute(sql, (status, lost, self._scope, owner))
        self._robbed = {key: robbed for key, robbed in self._robbed.items() if key != id(window)}

    def owned(self, documents: Sequence[str]) -> list[tuple[str, Key]]:
        """The natural keys that these documents own, each with its document."""
        sql = "SELECT document, pk FROM owned WHERE scope = ? AND document IN"
        return [(document, pk) for some in chunks(documents) for document, pk in self._rows(f"{sql} ({marks(some)})", self._scope, *some)]

    def had(self, visits: Sequence[Visit]) -> set[Key]:
        """The natural keys of rows that these documents may have had before; a table's new rows need no look-up."""
        return {pk for _, pk in self.owned([visit.key for visit in visits if not visit.fresh])}

    def own(self, db: sqlite3.Connection, visits: Sequence[Visit]) -> None:
        """Gives documents the keys of their rows, and no others; one that another document had until now is a row less of that one."""
        visits = [visit for visit in visits if not _settled(visit)]
        now = {pk: visit.key for visit in visits for pk in visit.acknowledged}  # of two that gave one key, the later one has it
        before = {pk: document for document, pk in self.owned([visit.key for visit in visits])}
        db.executemany("DELETE FROM owned WHERE scope = ? AND pk = ?", [(self._scope, pk) for pk in before if pk not in now])
        new = [pk for pk, document in now.items() if before.get(pk) != document]
        lost = Counter(self._owners(db, [pk for pk in new if pk not in before]).values())
        lost.update(visit.key for visit in visits for pk in visit.acknowledged if now[pk] != visit.key)
        sql = "UPDATE document SET rows = max(0, rows - ?), digest = NULL WHERE scope = ? AND key = ?"
        db.executemany(sql, [(rows, self._scope, loser) for loser, rows in lost.items()])
        insert(db, "INSERT OR REPLACE INTO owned", [(self._scope, pk, now[pk]) for pk in new])

    def stale_claims(self, visits: Sequence[Visit]) -> list[Key]:
        """Keys that these documents own, and of which no row was written in this run."""
        written = {visit.key: visit.acknowledged for visit in visits if not _settled(visit)}
        return [pk for document, pk in self.owned(list(written)) if pk not in written[document]]

    def _owners(self, db: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, str]:
        """Which documents own these keys."""
        owners: dict[Key, str] = {}
        for some in chunks(keys):
            owners.update(db.execute(f"SELECT pk, document FROM owned WHERE scope = ? AND pk IN ({marks(some)})", (self._scope, *some)))
        return owners


def _settled(visit: Visit) -> bool:
    """Whether a document owns just the rows that were written of it, by what it claimed."""
    return visit.fresh and not visit.rejects

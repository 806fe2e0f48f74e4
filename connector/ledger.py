"""Remembers what was written of each document, so that nothing is paid for twice and nothing is forgotten.

One SQLite file beside the job, keyed by (namespace, collection uid) and nothing else. It is a cache of the truth: the truth is in the collection's
lineage fields, from which `recovery.py` rebuilds it. Every window makes two transactions: `begin` records the intent before a row is
sent, `complete` the result after the acknowledgement. A crash in between leaves documents in `writing`, which the next run reads
again and whose rows a sweep can find.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from connector.errors import ConfigError, Locked
from connector.record import Key, Known, Part, Position, Visit, Window

LEDGER_FORMAT = 1
"""`user_version` of the file. Changing the tables needs a migration here."""

SCHEMA = """
CREATE TABLE scope (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, uid TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, source TEXT NOT NULL DEFAULT '',
    UNIQUE (namespace, uid));
CREATE TABLE fingerprint (hash TEXT PRIMARY KEY, parts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE document (
    scope INTEGER NOT NULL REFERENCES scope, key TEXT NOT NULL, status TEXT NOT NULL, version TEXT, content TEXT, fingerprint TEXT NOT NULL,
    rows INTEGER NOT NULL, max_rows INTEGER NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;
CREATE TABLE owned (
    scope INTEGER NOT NULL REFERENCES scope, pk NOT NULL, document TEXT NOT NULL, PRIMARY KEY (scope, pk)) WITHOUT ROWID;
CREATE INDEX owned_document ON owned (scope, document);
CREATE TABLE position (
    scope INTEGER NOT NULL REFERENCES scope, partition TEXT NOT NULL, position TEXT NOT NULL, PRIMARY KEY (scope, partition)) WITHOUT ROWID;
CREATE TABLE reject (
    scope INTEGER NOT NULL REFERENCES scope, document TEXT NOT NULL, ordinal INTEGER NOT NULL, station TEXT NOT NULL, reason TEXT NOT NULL,
    attempts INTEGER NOT NULL, run TEXT NOT NULL, PRIMARY KEY (scope, document, ordinal)) WITHOUT ROWID;
CREATE TABLE run (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, scope INTEGER NOT NULL REFERENCES scope, started REAL NOT NULL, finished REAL,
    pid INTEGER NOT NULL, host TEXT NOT NULL, exit_code INTEGER, report TEXT);
"""
WHOLE = -1
"""`ordinal` of a reject that concerns the whole document."""

log = logging.getLogger(__name__)


class Ledger:
    """The ledger file, locked for one run at a time; readers that only look pass `lock=False`.

    Used by several threads; one lock serialises them.

    Raises:
        Locked: Another run holds it; the message names the holder.
        ConfigError: It was written by a newer connector.
    """

    def __init__(self, path: Path, *, lock: bool = True) -> None:
        self.path = path
        self._mutex = threading.RLock()
        self._scope = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(f"{path}.lock")
        if lock:
            self._acquire()
        try:
            self._db = _open(path)
        except BaseException:
            self._lock.release()
            raise

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Locked(f"{self.path}: another run is under way{holder(self.path)}", hint="wait for it, then run the same command again") from None

    def close(self) -> None:
        """Closes the file and lets the next run in."""
        with self._mutex:
            self._db.close()
        self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.commit()
            except sqlite3.OperationalError as error:
                self._db.rollback()
                raise ConfigError(f"{self.path}: the ledger cannot be written: {error}", hint="make room or mend the permissions, then run again") from error
            except BaseException:
                self._db.rollback()
                raise

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._mutex:
            return self._db.execute(sql, values).fetchall()

    # What a run is about

    def enter(self, namespace: str, uid: str, fingerprint: str, parts: dict[str, Any], *, natural: bool = False) -> None:
        """Selects whose documents the other methods speak of, and starts a listing; `natural`: keys come from the rows."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO scope (namespace, uid) VALUES (?, ?)", (namespace, uid))
            db.execute("INSERT OR IGNORE INTO fingerprint VALUES (?, ?)", (fingerprint, json.dumps(parts, sort_keys=True)))
            (self._scope,) = db.execute("SELECT id FROM scope WHERE namespace = ? AND uid = ?", (namespace, uid)).fetchone()
        self._fingerprint, self._natural = fingerprint, natural
        with self._mutex:
            self._db.execute("DROP TABLE IF EXISTS temp.seen")
            self._db.execute("CREATE TEMP TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    @property
    def epoch(self) -> int:
        """The collection's epoch when this scope last finished a run."""
        return int(self._rows("SELECT epoch FROM scope WHERE id = ?", self._scope)[0][0])

    @property
    def source(self) -> str:
        """The source's settings in the last finished run, as a hash; "" before the first."""
        return str(self._rows("SELECT source FROM scope WHERE id = ?", self._scope)[0][0])

    def settle(self, *, epoch: int, source: str | None) -> None:
        """Notes, at the end of a run, the collection's epoch and (None: leave it) the source's settings."""
        with self._transaction() as db:
            db.execute("UPDATE scope SET epoch = ?, source = coalesce(?, source) WHERE id = ?", (epoch, source, self._scope))

    # LIST and SKIP

    def known(self, keys: Sequence[str]) -> dict[str, Known]:
        """Entries of the documents with these keys."""
        found: dict[str, Known] = {}
        for some in _chunks(keys):
            sql = f"SELECT key, status, version, content, fingerprint, rows, max_rows FROM document WHERE scope = ? AND key IN ({_marks(some)})"
            found.update((key, Known(*rest)) for key, *rest in self._rows(sql, self._scope, *some))
        return found

    def see(self, keys: Sequence[str]) -> set[str]:
        """Notes that these documents are listed; returns those that were listed before in this run."""
        with self._mutex:
            before = {key for some in _chunks(keys) for (key,) in self._rows(f"SELECT key FROM temp.seen WHERE key IN ({_marks(some)})", *some)}
            self._db.executemany("INSERT OR IGNORE INTO temp.seen VALUES (?)", ((key,) for key in keys))
        return before

    def position(self, partition: str) -> Position | None:
        """Where a cursor source reads on."""
        found = self._rows("SELECT position FROM position WHERE scope = ? AND partition = ?", self._scope, partition)
        return json.loads(found[0][0]) if found else None

    # WRITE and COMMIT

    def begin(self, window: Window, keys: dict[int, Key] | None, *, take_over: bool) -> dict[int, str]:
        """Records what this window is about to write, before anything is sent.

        Args:
            window: Conformed; documents that need no write are passed over.
            keys: Natural keys by row index; None when keys are generated.
            take_over: Whether a key may move to this window's document from one that was listed in this run (cursor sources).

        Returns:
            Rows whose key belongs to another document that was listed in this run: index to that document's key.
        """
        with self._transaction() as db:
            for part in window.parts:
                if _writes(part.visit):
                    db.execute(
                        "INSERT INTO document VALUES (?, ?, 'writing', NULL, NULL, ?, 0, ?) ON CONFLICT (scope, key) DO UPDATE"
                        " SET status = 'writing', max_rows = max(max_rows, excluded.max_rows)",
                        (self._scope, part.visit.key, self._fingerprint, part.visit.total),
                    )
            return self._claim(db, window, keys, take_over=take_over) if keys else {}

    def _claim(self, db: sqlite3.Connection, window: Window, keys: dict[int, Key], *, take_over: bool) -> dict[int, str]:
        documents = {index: visit.key for index, visit, _ in window.whose() if index in keys}
        owners: dict[Key, str] = {}
        for some in _chunks(list(keys.values())):
            sql = f"SELECT pk, document FROM owned WHERE scope = ? AND pk IN ({_marks(some)})"
            owners.update(db.execute(sql, (self._scope, *some)))
        here = {(documents[index], key) for index, key in keys.items()}
        done_here = {part.visit.key for part in window.parts if part.last and _writes(part.visit)}
        conflicts: dict[int, str] = {}
        for index, key in keys.items():
            owner, mine = owners.get(key, documents[index]), documents[index]
            if owner == mine:
                continue
            gives_up = owner in done_here and (owner, key) not in here
            if not (take_over or gives_up) and db.execute("SELECT 1 FROM temp.seen WHERE key = ?", (owner,)).fetchone():
                conflicts[index] = owner
            elif not gives_up:
                db.execute("UPDATE document SET status = 'writing' WHERE scope = ? AND key = ?", (self._scope, owner))
        claims = ((self._scope, key, documents[index]) for index, key in keys.items() if index not in conflicts)
        db.executemany("INSERT INTO owned VALUES (?, ?, ?) ON CONFLICT (scope, pk) DO UPDATE SET document = excluded.document", claims)
        return conflicts

    def max_rows(self, key: str) -> int:
        """No row of this document has an ordinal at or above this; 0 for an unknown document."""
        found = self._rows("SELECT max_rows FROM document WHERE scope = ? AND key = ?", self._scope, key)
        return int(found[0][0]) if found else 0

    def owned(self, key: str) -> set[Key]:
        """Natural keys that this document may have in the collection."""
        return {pk for (pk,) in self._rows("SELECT pk FROM owned WHERE scope = ? AND document = ?", self._scope, key)}

    def complete(self, window: Window, run: str) -> None:
        """Marks every document that ends in this window, and the positions of their partitions, in one transaction."""
        with self._transaction() as db:
            for part in window.parts:
                if part.last:
                    self._finish(db, part, run)

    def _finish(self, db: sqlite3.Connection, part: Part, run: str) -> None:
        visit = part.visit
        if visit.removed:
            self._forget(db, visit.key)
        elif not visit.repeated:
            self._mark(db, visit)
            if self._natural and _writes(visit):
                db.execute("DELETE FROM owned WHERE scope = ? AND document = ?", (self._scope, visit.key))
                db.executemany("INSERT OR REPLACE INTO owned VALUES (?, ?, ?)", ((self._scope, pk, visit.key) for pk in visit.acknowledged))
        self._record_rejects(db, visit, run)
        if visit.document.position is not None:
            position = json.dumps(visit.document.position)
            db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", (self._scope, visit.partition, position))

    def _mark(self, db: sqlite3.Connection, visit: Visit) -> None:
        version = None if any(reject.retry for reject in visit.rejects) else visit.document.version
        where = (self._scope, visit.key)
        if visit.outcome == "unchanged":
            db.execute("UPDATE document SET version = ? WHERE scope = ? AND key = ?", (version, *where))
        elif visit.outcome == "rejected":
            known = visit.known
            status = "writing" if known and known.status == "writing" else "rejected"
            db.execute(
                "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT (scope, key) DO UPDATE SET"
                " status = excluded.status, version = excluded.version, content = excluded.content, fingerprint = excluded.fingerprint",
                (*where, status, version, visit.content, self._fingerprint),
            )
        else:
            status = "empty" if not visit.total else "partial" if visit.rejects else "done"
            rows = len(visit.acknowledged)
            db.execute(
                "INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*where, status, version, visit.content, self._fingerprint, rows, visit.total),
            )

    def _record_rejects(self, db: sqlite3.Connection, visit: Visit, run: str) -> None:
        sql = "SELECT ordinal, attempts FROM reject WHERE scope = ? AND document = ?"
        attempts = dict(db.execute(sql, (self._scope, visit.key)).fetchall())
        if not visit.repeated and (visit.outcome != "unchanged"):
            db.execute("DELETE FROM reject WHERE scope = ? AND document = ?", (self._scope, visit.key))
        for reject in visit.rejects:
            ordinal = WHOLE if reject.ordinal is None else reject.ordinal
            values = (self._scope, visit.key, ordinal, reject.station, reject.reason, attempts.get(ordinal, 0) + 1, run)
            db.execute("INSERT OR REPLACE INTO reject VALUES (?, ?, ?, ?, ?, ?, ?)", values)

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
                db.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (self._scope, key, *values))
                db.executemany("INSERT OR REPLACE INTO owned VALUES (?, ?, ?)", ((self._scope, pk, key) for pk in pks))
        return number

    # Runs

    def start(self, run: str) -> bool:
        """Opens a run; returns False if the run before it in this scope never came to its end."""
        with self._transaction() as db:
            last = db.execute("SELECT finished FROM run WHERE scope = ? ORDER BY number DESC LIMIT 1", (self._scope,)).fetchone()
            values = (run, self._scope, time.time(), os.getpid(), socket.gethostname())
            db.execute("INSERT INTO run (id, scope, started, pid, host) VALUES (?, ?, ?, ?, ?)", values)
        return last is None or last[0] is not None

    def finish(self, run: str, exit_code: int, report: str) -> None:
        """Closes a run with its report (JSON)."""
        with self._transaction() as db:
            db.execute("UPDATE run SET finished = ?, exit_code = ?, report = ? WHERE id = ?", (time.time(), exit_code, report, run))

    def runs(self, limit: int = 10) -> list[dict[str, Any]]:
        """The latest runs of every scope in this file, newest first."""
        columns = ("id", "namespace", "started", "finished", "pid", "host", "exit_code", "report")
        sql = (
            "SELECT run.id, namespace, started, finished, pid, host, exit_code, report FROM run LEFT JOIN scope ON scope.id = run.scope"
            " ORDER BY number DESC LIMIT ?"
        )
        return [dict(zip(columns, row, strict=True)) for row in self._rows(sql, limit)]

    def rejects(self) -> list[dict[str, Any]]:
        """The reject store of this scope."""
        columns = ("document", "ordinal", "station", "reason", "attempts", "run")
        sql = f"SELECT {', '.join(columns)} FROM reject WHERE scope = ? ORDER BY document, ordinal"
        return [dict(zip(columns, row, strict=True)) for row in self._rows(sql, self._scope)]


def _writes(visit: Visit) -> bool:
    """Whether this visit changes rows in the collection."""
    return visit.outcome not in {"unchanged", "rejected"} and not visit.repeated


def _chunks(keys: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def _open(path: Path) -> sqlite3.Connection:
    """Opens and, where needed, makes the tables; a file that is no database is set aside, since it can be rebuilt."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise ConfigError(f"{path}: the ledger cannot be opened: {error}", hint="check the disk and the permissions of that folder") from error
        aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
        path.rename(aside)
        log.warning("%s is damaged (%s); set aside as %s, rebuilding it from the collection", path, error, aside.name)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > LEDGER_FORMAT:
            raise ConfigError(f"{path}: written by a newer connector (format {version}, this one knows {LEDGER_FORMAT})", hint="upgrade connector")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if version == 0:
            path.chmod(0o600)
            db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {LEDGER_FORMAT}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def holder(path: Path) -> str:
    """Who holds the lock, from the last run that has not ended: " (pid 12 on host, since ...)" or ""."""
    try:
        db = _connect(path)
    except (sqlite3.Error, ConfigError):
        return ""
    found = db.execute("SELECT pid, host, started FROM run WHERE finished IS NULL ORDER BY number DESC LIMIT 1").fetchone()
    db.close()
    return f" (pid {found[0]} on {found[1]}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found[2]))})" if found else ""

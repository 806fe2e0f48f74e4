"""One SQLite file: its tables, its lock, its transactions, and the runs that it has seen.

Write-ahead log with `synchronous = FULL`: a committed intent survives a power cut, at one fsync a transaction. A file that is no
database is set aside and made anew, since what it held can be rebuilt from the collection.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import filelock

from connector.errors import ConfigError, Locked
from connector.ledger.tables import LEDGER_FORMAT, migrate, user_version

KEPT_RUNS = 1000
"""Runs that a ledger remembers; a job that runs every minute would fill the disk with them. The last success is kept however old."""

_WHOLE = "exit_code = 0 AND coalesce(json_extract(report, '$.partial'), 0) = 0"
"""A run over the whole source that went well."""

HOST = 3
"""Which word of a holder's line names its host."""

log = logging.getLogger(__name__)


class LedgerFile:
    """The ledger's file, locked for one run at a time; readers that only look pass `lock=False`.

    With `read_only` the file and its folder are not changed at all. No path, or a missing file that is only read, is an empty ledger in
    memory, which takes writes and forgets them. Used by several threads; one mutex serialises them.

    Raises:
        Locked: Another run holds it; the message names the holder.
        ConfigError: It was written by a newer connector, or the disk is full.
    """

    def __init__(self, path: Path | None, *, lock: bool = True, read_only: bool = False) -> None:
        self.path = path or Path(":memory:")
        self._mutex = threading.RLock()
        self._scope = 0  # of the documents and runs that are spoken of; set by Ledger.enter
        self._lock = filelock.FileLock(f"{path}.lock")
        self._locked = False
        if path is None or read_only:
            self._db = _memory() if path is None or not path.exists() else _look(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if lock:
            self._acquire()
        try:
            self._db = _open(path)
        except BaseException:
            self._unlock()
            raise

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Locked(f"{self.path}: another run is under way{_holder(self.path)}", hint="wait for it, then run again") from None
        self._locked = True
        with contextlib.suppress(OSError):  # who holds it is a courtesy
            _holder_file(self.path).write_text(f"pid {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")

    def close(self) -> None:
        """Closes the file and lets the next run in."""
        with self._mutex:
            self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._locked:
            _holder_file(self.path).unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> Self:
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
                raise ConfigError(
                    f"{self.path}: the ledger cannot be written: {error}", hint="make room or mend the permissions, then run again"
                ) from error
            except sqlite3.DatabaseError as error:
                self._db.rollback()
                raise self._damaged(error) from error
            except BaseException:
                self._db.rollback()
                raise

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._mutex:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.DatabaseError) -> ConfigError:
        """Damage inside of a file shows only when the place is read, in the middle of a run."""
        hint = "move the file away: the next run rebuilds it from the collection, and encodes nothing for it"
        return ConfigError(f"{self.path}: the ledger is damaged: {error}", hint=hint)

    # Runs

    def start(self, run: str) -> bool:
        """Opens a run; returns False if the run before it in this scope never came to its end."""
        with self._transaction() as db:
            last = db.execute("SELECT finished FROM run WHERE scope = ? ORDER BY number DESC LIMIT 1", (self._scope,)).fetchone()
            values = (run, self._scope, time.time(), os.getpid(), socket.gethostname())
            db.execute("INSERT INTO run (id, scope, started, pid, host) VALUES (?, ?, ?, ?, ?)", values)
            db.execute(
                "DELETE FROM run WHERE scope = ? AND number <= (SELECT max(number) FROM run) - ?"
                f" AND number <> (SELECT coalesce(max(number), 0) FROM run WHERE scope = ? AND {_WHOLE})",
                (self._scope, KEPT_RUNS, self._scope),
            )
        return last is None or last[0] is not None

    def finish(self, run: str, exit_code: int, report: str) -> None:
        """Closes a run with its report (JSON); one that failed before `start` is noted too, as it is what the next run recovers from."""
        now = time.time()
        values = (run, self._scope, now, now, os.getpid(), socket.gethostname(), exit_code, report)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO run (id, scope, started, finished, pid, host, exit_code, report) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET finished = excluded.finished, exit_code = excluded.exit_code, report = excluded.report",
                values,
            )
            db.execute("DELETE FROM run WHERE scope = 0 AND number <= (SELECT max(number) FROM run) - ?", (KEPT_RUNS,))

    def good_run(self, job: str) -> tuple[float, float] | None:
        """When the latest run of a job began and ended that went well over the whole source: Unix times; None: there is none."""
        sql = (
            f"SELECT started, finished FROM run WHERE {_WHOLE} AND finished IS NOT NULL AND json_extract(report, '$.job') = ?"
            " ORDER BY number DESC LIMIT 1"
        )
        found = self._rows(sql, job)
        return (float(found[0][0]), float(found[0][1])) if found else None

    def ended_badly(self, job: str) -> bool:
        """Whether the latest run of a job failed, had too many rejects or was killed; one that was told to stop is passed over."""
        sql = (
            "SELECT exit_code = 0 AND finished IS NOT NULL FROM run WHERE (report IS NULL OR json_extract(report, '$.job') = ?)"
            " AND coalesce(json_extract(report, '$.outcome'), '') <> 'stopped' ORDER BY number DESC LIMIT 1"
        )
        found = self._rows(sql, job)
        return bool(found) and not found[0][0]

    def last_collection(self, namespace: str) -> str:
        """The physical collection that the latest run of a namespace wrote to; "" if none is known to have reached one."""
        latest = next((run for run in self.runs() if run["namespace"] == namespace and run["report"]), None)
        return str(json.loads(latest["report"])["collection"]) if latest else ""

    def runs(self, limit: int = 10) -> list[dict[str, Any]]:
        """The latest runs of every scope in this file, newest first."""
        return self._runs("", limit)

    def latest_run(self, namespace: str) -> dict[str, Any] | None:
        """The latest run of a namespace, in whichever generation."""
        found = self._runs("WHERE namespace = ?", namespace, 1)
        return found[0] if found else None

    def _runs(self, condition: str, *values: Any) -> list[dict[str, Any]]:
        columns = ("id", "namespace", "started", "finished", "pid", "host", "exit_code", "report")
        sql = (
            "SELECT run.id, namespace, started, finished, pid, host, exit_code, report FROM run LEFT JOIN scope ON scope.id = run.scope"
            f" {condition} ORDER BY number DESC LIMIT ?"
        )
        return [dict(zip(columns, row, strict=True)) for row in self._rows(sql, *values)]


def _open(path: Path) -> sqlite3.Connection:
    """Opens and, where needed, makes the tables; a file that is no database is set aside, since it can be rebuilt."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise ConfigError(
                f"{path}: the ledger cannot be opened: {error}", hint="check the disk and the permissions of that folder"
            ) from error
        aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
        path.rename(aside)
        log.warning("%s is damaged (%s); set aside as %s, rebuilding it from the collection", path, error, aside.name)
        return _connect(path)


def _memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(db)
    return db


def open_read_only(path: Path) -> sqlite3.Connection:
    """Opens a file and makes none beside it: without a write-ahead log nobody writes, and SQLite need not make its helper files."""
    quiet = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{quiet}"
    return sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)


def _look(path: Path) -> sqlite3.Connection:
    """Opens the file without changing it; one of an older format is copied into memory and brought up to date there."""
    db = open_read_only(path)
    try:
        if _version(db, path) < LEDGER_FORMAT:
            db = _migrated_copy(db)
    except sqlite3.DatabaseError as error:
        db.close()
        raise ConfigError(f"{path}: the ledger cannot be read: {error}", hint="run the job, which rebuilds a damaged ledger") from error
    except BaseException:
        db.close()
        raise
    return db


def _migrated_copy(db: sqlite3.Connection) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with contextlib.closing(db):
        db.backup(copy)
    migrate(copy)
    return copy


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        if _version(db, path) == 0:
            path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if 0 < (before := migrate(db)) < LEDGER_FORMAT:
            log.info("%s: ledger brought from format %d to %d", path, before, LEDGER_FORMAT)
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection, path: Path) -> int:
    version = user_version(db)
    if version > LEDGER_FORMAT:
        raise ConfigError(
            f"{path}: written by a newer connector (format {version}, this one knows {LEDGER_FORMAT})", hint="upgrade connector"
        )
    return version


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _holder(path: Path) -> str:
    """Who took the lock, as that process wrote it down: " (pid 12 on host, since ...)" or ""."""
    try:
        return f" ({_holder_file(path).read_text()})"
    except OSError:
        return ""


def running(path: Path) -> str:
    """Who runs with this ledger now, or "". Takes no lock, so that asking never stops a run; a process that died is told by its pid."""
    holder = _holder(path).strip(" ()")
    words = holder.split()
    here = len(words) > HOST and words[HOST].rstrip(",") == socket.gethostname()
    return "" if here and not Path(f"/proc/{words[1]}").exists() and Path("/proc/self").exists() else holder

"""The ledger's tables, as the steps that made them: a new file takes all of them, an older one those that it lacks.

Each step runs in one transaction that also counts `user_version` on, so a crash in the middle leaves the format before it. Steps only ever
go forward; a file that is newer than the program is refused by `ledger_file`. A step that was released is never edited: add one.
"""

from __future__ import annotations

import sqlite3

_FIRST = (
    """CREATE TABLE scope (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, uid TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, source TEXT NOT NULL DEFAULT '',
    UNIQUE (namespace, uid))""",
    "CREATE TABLE fingerprint (hash TEXT PRIMARY KEY, parts TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE document (
    scope INTEGER NOT NULL REFERENCES scope, key TEXT NOT NULL, status TEXT NOT NULL, version TEXT, content TEXT, fingerprint TEXT NOT NULL,
    rows INTEGER NOT NULL, max_rows INTEGER NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID""",
    """CREATE TABLE owned (
    scope INTEGER NOT NULL REFERENCES scope, pk NOT NULL, document TEXT NOT NULL, PRIMARY KEY (scope, pk)) WITHOUT ROWID""",
    "CREATE INDEX owned_document ON owned (scope, document)",
    """CREATE TABLE position (
    scope INTEGER NOT NULL REFERENCES scope, partition TEXT NOT NULL, position TEXT NOT NULL, PRIMARY KEY (scope, partition))
    WITHOUT ROWID""",
    """CREATE TABLE reject (
    scope INTEGER NOT NULL REFERENCES scope, document TEXT NOT NULL, ordinal INTEGER NOT NULL, station TEXT NOT NULL, reason TEXT NOT NULL,
    attempts INTEGER NOT NULL, run TEXT NOT NULL, PRIMARY KEY (scope, document, ordinal)) WITHOUT ROWID""",
    """CREATE TABLE run (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, scope INTEGER NOT NULL REFERENCES scope, started REAL NOT NULL, finished REAL,
    pid INTEGER NOT NULL, host TEXT NOT NULL, exit_code INTEGER, report TEXT)""",
)

_VERIFY_AND_FORGET = (
    "ALTER TABLE document ADD COLUMN digest INTEGER",  # of its rows as they were written; NULL: not known
    "ALTER TABLE scope ADD COLUMN doubt TEXT NOT NULL DEFAULT ''",  # why the next run compares it with the collection first
    "CREATE TABLE forgotten (namespace TEXT NOT NULL, key TEXT NOT NULL, since REAL NOT NULL, PRIMARY KEY (namespace, key)) WITHOUT ROWID",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _VERIFY_AND_FORGET)
"""Step n makes format n + 1 out of format n."""

LEDGER_FORMAT = len(MIGRATIONS)
"""`user_version` of a file that this program writes."""


def migrate(db: sqlite3.Connection) -> int:
    """Brings a file to the present format; returns the format that it had (0: it was new).

    Two processes may do this at once: the version is read again under the write lock.
    """
    before = version = user_version(db)
    while version < LEDGER_FORMAT:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = user_version(db)
            if version < LEDGER_FORMAT:
                for statement in MIGRATIONS[version]:
                    db.execute(statement)
                version += 1
                db.execute(f"PRAGMA user_version = {version}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    return before


def user_version(db: sqlite3.Connection) -> int:
    """The format of a file; 0 for a new one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])

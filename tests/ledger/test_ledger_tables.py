"""Ledgers of earlier formats: brought up to date without losing anything, or read without being touched."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.ledger import Ledger, tables
from connector.ledger.rejects import stored_rejects
from connector.ledger.tables import LEDGER_FORMAT, MIGRATIONS, migrate, user_version
from connector.record import Known

GOLDEN = Path(__file__).parent.parent / "golden" / "ledger.v1.sql"
"""The dump of a file that the program of format 1 wrote: two scopes, both kinds of keys, every status, rejects, a crash."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """That file."""
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(GOLDEN.read_text())
    return path


def shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table with its columns, and every index."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master ORDER BY name")]
        return {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}


def test_nothing_is_lost(old: Path) -> None:
    """Documents, natural keys, positions, rejects and runs of a format-1 file are all there after it was opened."""
    with Ledger(old) as ledger:
        ledger.enter("job", "uid", "f" * 16, {})
        assert ledger.known(["a", "b"]) == {
            "a": Known("done", "2", "d017cf13e1c9518861d06934c1b1240b", "f" * 16, 1, 1),
            "b": Known("partial", "1", "40ab981b7e3bda26a1e4b72675ce6b9e", "f" * 16, 1, 2),
        }
        assert ledger.counts() == (5, 2)
        assert ledger.unfinished() == [("c", 2)]
        assert [one["document"] for one in ledger.rejects()] == ["b", "bad"]
        assert [one["id"] for one in ledger.runs()] == ["run-of-people", "run-2", "run-1", "run-0"]
        ledger.enter("people", "uid2", "e" * 16, {}, natural=True)
        assert (ledger.position(""), ledger.keys_of("p"), ledger.epoch, ledger.source) == (1, ["p1", "p2"], 3, "s")


def test_old_and_new_files_have_the_same_tables(old: Path, tmp_path: Path) -> None:
    """A file that was migrated is a file that was made today."""
    Ledger(old).close()
    Ledger(tmp_path / "new.db").close()
    assert shape(old) == shape(tmp_path / "new.db")
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert user_version(db) == LEDGER_FORMAT


def test_looking_changes_nothing(old: Path) -> None:
    """A command that only looks reads an old file as a new one and leaves its bytes as they are."""
    before = old.read_bytes()
    assert [one["document"] for one in stored_rejects(old, "job")] == ["b", "bad"]
    with Ledger(old, lock=False, read_only=True) as ledger:
        ledger.look("job", "uid")
        assert ledger.counts() == (5, 2)
    assert old.read_bytes() == before


def test_a_migration_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a step is no step: the file stays at its format and opens again with a program that can."""
    before = shape(old)
    monkeypatch.setattr(tables, "MIGRATIONS", (MIGRATIONS[0], (MIGRATIONS[1][0], "CREATE TABLE broken (")))
    with pytest.raises(ConfigError, match="cannot be opened"):
        Ledger(old)
    monkeypatch.undo()
    assert shape(old) == before
    Ledger(old).close()
    assert shape(old) != before


def test_killed_in_a_migration(old: Path) -> None:
    """A process that dies between two statements leaves format 1, which the next one migrates."""
    program = (
        "import os, sqlite3, sys\nfrom connector.ledger import tables\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.set_trace_callback(lambda sql: os._exit(9) if 'scope ADD' in sql else None)\ntables.migrate(db)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(old)], check=False).returncode == 9
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert user_version(db) == 1
    with Ledger(old) as ledger:
        ledger.enter("job", "uid", "f" * 16, {})
        assert ledger.counts() == (5, 2)


def test_two_processes_at_once(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that comes second, having read the old version before the first was done, does nothing twice."""
    Ledger(old).close()
    read = [1]
    monkeypatch.setattr(tables, "user_version", lambda db: read.pop() if read else user_version(db))
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as db:
        assert migrate(db) == 1
        assert user_version(db) == LEDGER_FORMAT

"""Many rows in few statements."""

from __future__ import annotations

import sqlite3

import pytest

from connector.ledger.statements import insert


@pytest.mark.parametrize("count", [0, 1, 299, 300, 301, 1000])
def test_inserting_many_rows_a_statement(count: int) -> None:
    """All of them, in order: of two with one key the later one wins, be they in one statement or not."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE pair (key INTEGER PRIMARY KEY, first TEXT, second TEXT)")
    rows = [(number % 400, f"a{number}", None) for number in range(count)]
    insert(db, "INSERT INTO pair", iter(rows), "ON CONFLICT (key) DO UPDATE SET first = excluded.first")
    assert db.execute("SELECT * FROM pair ORDER BY key").fetchall() == sorted({row[0]: row for row in rows}.values())


def test_one_row_that_is_there_stops_all_of_them() -> None:
    """As the look-up of keys that are listed twice relies on, within a transaction."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE seen (key TEXT PRIMARY KEY)")
    db.execute("BEGIN")
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, "INSERT INTO seen", [(str(number % 1500),) for number in range(2000)])
    db.rollback()
    assert db.execute("SELECT count(*) FROM seen").fetchone() == (0,)

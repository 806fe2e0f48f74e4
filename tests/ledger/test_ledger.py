"""The ledger file: its frozen tables, its lock, what it does with a damaged or newer file."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from connector.errors import ConfigError, Locked
from connector.ledger import Ledger
from connector.ledger.tables import LEDGER_FORMAT
from connector.record import Document, Known, Part, Payload, Visit, Window

GOLDEN = Path(__file__).parent.parent / "golden" / "ledger.json"


def visit(key: str, total: int, **given: object) -> Visit:
    """A visit with these attributes."""
    made = Visit(Document(key, lambda: Payload({}), version="1"), total=total, content="c")
    for name, value in given.items():
        setattr(made, name, value)
    return made


def window(*visits: Visit) -> Window:
    """A window that holds these documents whole."""
    parts, start = [], 0
    for one in visits:
        parts.append(Part(one, start, start + one.total, 0, last=True))
        start += one.total
    return Window(parts, [{}] * start)


def entered(path: Path, *, natural: bool = False) -> Ledger:
    """A ledger with a scope."""
    ledger = Ledger(path)
    ledger.enter("ns", "uid", "f" * 16, {"parse": "x"}, natural=natural)
    return ledger


def test_tables_are_frozen(tmp_path: Path) -> None:
    """The tables are those of the golden file; changing them is a migration for every user, and a new format number."""
    Ledger(tmp_path / "a.db").close()
    with sqlite3.connect(tmp_path / "a.db") as db:
        tables = {name: [tuple(column[1:4]) for column in db.execute(f"PRAGMA table_info({name})")] for name in table_names(db)}
    found = json.loads(json.dumps({"format": LEDGER_FORMAT, "tables": tables}))
    assert found == json.loads(GOLDEN.read_text())


def table_names(db: sqlite3.Connection) -> list[str]:
    """Every table."""
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]


def test_intent_then_completion(tmp_path: Path) -> None:
    """Between the two transactions a document is `writing`, and its row bound is the larger of before and now."""
    with entered(tmp_path / "a.db") as ledger:
        first = window(visit("d", 5, outcome="written", acknowledged={"a", "b", "c", "d", "e"}))
        ledger.begin(first, None, take_over=False)
        assert ledger.known(["d"])["d"].status == "writing"
        ledger.complete(first, "run")
        assert ledger.known(["d"])["d"] == Known("done", "1", "c", "f" * 16, 5, 5)
        ledger.begin(window(visit("d", 2)), None, take_over=False)
        assert ledger.known(["d"])["d"].max_rows == 5
        assert ledger.unfinished() == [("d", 5)]


def test_rejected_before_completion_stays_writing(tmp_path: Path) -> None:
    """A document that may have half its rows written is read again, even if it could not be read this time."""
    with entered(tmp_path / "a.db") as ledger:
        ledger.begin(window(visit("d", 5)), None, take_over=False)
        unreadable = visit("d", 0, known=ledger.known(["d"])["d"])
        unreadable.reject("read", "denied")
        ledger.complete(window(unreadable), "run")
        assert ledger.known(["d"])["d"].status == "writing"
        assert ledger.max_rows("d") == 5
        assert [one["reason"] for one in ledger.rejects()] == ["denied"]


def test_attempts_are_counted(tmp_path: Path) -> None:
    """A reject that comes again counts its attempts; one that is mended goes."""
    with entered(tmp_path / "a.db") as ledger:
        for attempt in (1, 2):
            bad = visit("d", 0)
            bad.reject("read", "denied")
            ledger.complete(window(bad), "run")
            assert [one["attempts"] for one in ledger.rejects()] == [attempt]
        ledger.complete(window(visit("d", 1, outcome="written", acknowledged={"k"})), "run")
        assert ledger.rejects() == []


def test_scopes_do_not_touch_each_other(tmp_path: Path) -> None:
    """Namespace and collection uid together are the key."""
    with entered(tmp_path / "a.db") as ledger:
        ledger.complete(window(visit("d", 1, outcome="written", acknowledged={"k"})), "run")
        for namespace, uid in (("other", "uid"), ("ns", "another uid")):
            ledger.enter(namespace, uid, "f" * 16, {})
            assert ledger.counts() == (0, 0)
            ledger.forget(["d"])
        ledger.enter("ns", "uid", "f" * 16, {})
        assert ledger.counts() == (1, 1)


def test_second_run_is_locked_out(tmp_path: Path) -> None:
    """One run at a time; the message names the process that runs."""
    with entered(tmp_path / "a.db") as ledger:
        ledger.start("run")
        with pytest.raises(Locked, match=r"another run is under way \(pid \d+ on "):
            Ledger(tmp_path / "a.db")
    Ledger(tmp_path / "a.db").close()


def test_unclean_end_is_noticed(tmp_path: Path) -> None:
    """A run that was not finished makes the next one check."""
    with entered(tmp_path / "a.db") as ledger:
        assert ledger.start("one")
        assert not ledger.start("two")
        ledger.finish("two", 0, "{}")
        assert ledger.start("three")


def test_damaged_file_is_set_aside(tmp_path: Path) -> None:
    """A file that is no database can be rebuilt from the collection, so it stops nothing; it is kept."""
    path = tmp_path / "a.db"
    path.write_bytes(b"this is no database" * 100)
    with entered(path) as ledger:
        assert ledger.counts() == (0, 0)
    assert len(list(tmp_path.glob("a.db.corrupt-*"))) == 1


def test_newer_file_is_refused(tmp_path: Path) -> None:
    """A downgrade never writes into tables that it does not know."""
    Ledger(tmp_path / "a.db").close()
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.execute(f"PRAGMA user_version = {LEDGER_FORMAT + 1}")
    with pytest.raises(ConfigError, match="newer connector"):
        Ledger(tmp_path / "a.db")


def test_full_disk_ends_in_a_clear_error(tmp_path: Path) -> None:
    """Nothing is half written when the disk is full: the transaction is rolled back."""
    with entered(tmp_path / "a.db") as ledger:
        ledger._db.execute("PRAGMA max_page_count = 30")
        big = window(*(visit(f"{number}" * 200, 1, outcome="written", acknowledged={"k"}) for number in range(500)))
        with pytest.raises(ConfigError, match="disk"):
            ledger.complete(big, "run")
        assert ledger.counts() == (0, 0)


def test_file_is_private(tmp_path: Path) -> None:
    """Reject reasons may quote the user's data."""
    Ledger(tmp_path / "a.db").close()
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0

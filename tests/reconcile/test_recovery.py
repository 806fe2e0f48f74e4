"""The ledger is rebuilt from the collection when it cannot be right: lost, behind a restored backup, after a power cut."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sqlite3
from pathlib import Path

import pytest

from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.workfolder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A mirrored job with five notes, run once."""
    made = Folder(tmp_path)
    job = tmp_path / "job.yaml"
    job.write_text(job.read_text() + "sync: mirror\n")
    for number in range(5):
        made.put(f"notes/{number}.txt", f"note {number}")
    assert made.run()[0] == 0
    return made


def found(folder: Folder) -> list[str]:
    """What the collection holds."""
    return sorted(hit["fields"]["text"] for hit in json.loads(folder.call("search", "job.yaml", "x", "--json", "--limit", "50")[1]))


def test_lost_ledger(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is encoded again, what vanished meanwhile still goes, and it is said."""
    shutil.rmtree(folder.root / ".connector")
    (folder.root / "notes" / "4.txt").unlink()
    with caplog.at_level(logging.WARNING):
        _, report, _ = folder.run()
    assert "the ledger knows no document, but the collection has rows" in caplog.text
    assert (report["encoded"], report["counts"]["unchanged"], report["counts"]["deleted"]) == (0, 4, 1)
    assert found(folder) == [f"note {number}" for number in range(4)]


def test_restored_backup(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """A collection whose epoch is behind the ledger's was restored: what it lacks is written again, never "0 changed"."""
    backup = folder.root / "backup"
    copy = shutil.copytree if (folder.root / "notes.db").is_dir() else shutil.copy
    copy(folder.root / "notes.db", backup)
    folder.put("notes/5.txt", "note 5")
    folder.put("notes/0.txt", "note 0 changed")
    assert folder.run()[1]["counts"]["written"] == 2
    if backup.is_dir():
        shutil.rmtree(folder.root / "notes.db")
    copy(backup, folder.root / "notes.db")
    with caplog.at_level(logging.WARNING):
        _, report, _ = folder.run()
    assert "restored from a backup" in caplog.text
    assert (report["encoded"], report["counts"]["written"]) == (2, 2)
    assert found(folder) == ["note 0 changed", *(f"note {number}" for number in range(1, 6))]


def test_rows_lost_in_a_power_cut(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """After a run that never ended, fewer rows than the ledger has are noticed and written again."""
    with connect(MilvusSettings(uri="notes.db")) as connection:
        connection.client.load_collection("notes__g1")
        connection.client.delete("notes__g1", filter='text in ["note 1", "note 2"]')
    with contextlib.closing(sqlite3.connect(folder.root / ".connector" / "notes.db")) as db, db:
        db.execute("UPDATE run SET finished = NULL")
    with caplog.at_level(logging.WARNING):
        _, report, _ = folder.run()
    assert "the collection has 3 finished rows, the ledger 5" in caplog.text
    assert (report["encoded"], report["counts"]["written"]) == (2, 2)
    assert len(found(folder)) == 5

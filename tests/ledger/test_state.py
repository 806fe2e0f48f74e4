"""The ledger saved, brought back, rebuilt and emptied: afterwards a run converges, and encodes only what really differs."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from connector.ledger import Ledger
from connector.ledger.tables import LEDGER_FORMAT
from tests.workfolder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A mirrored job with six notes, run once."""
    made = Folder(tmp_path)
    made.put("job.yaml", (tmp_path / "job.yaml").read_text() + "sync: mirror\n")
    for number in range(6):
        made.put(f"notes/{number}.txt", f"note {number}")
    assert made.run()[0] == 0
    return made


def state(folder: Folder, *words: str) -> tuple[int, Any]:
    """(exit code, the JSON document) of `state`."""
    code, out, _ = folder.call("state", words[0], "job.yaml", *words[1:], "--json")
    return code, json.loads(out)


def ledger(folder: Folder) -> Path:
    """The file."""
    return folder.root / ".connector" / "notes.db"


def good(folder: Folder) -> bool:
    """Whether ledger, collection and source agree, all rows read back."""
    code, out, _ = folder.call("verify", "job.yaml", "--full", "--source", "--json")
    assert code == 0, out
    return True


def test_show(folder: Folder) -> None:
    """Documents by status, rows, epoch, marks; nothing is changed, and no Milvus is asked."""
    folder.call("forget", "job.yaml", "5.txt")
    before = {path.name: path.read_bytes() for path in ledger(folder).parent.iterdir()}
    code, document = state(folder, "show")
    [scope] = document["scopes"]
    assert (code, document["format"], document["forgotten"]) == (0, LEDGER_FORMAT, {"notes": ["5.txt"]})
    assert (scope["namespace"], scope["documents"], scope["rows"], scope["epoch"], scope["doubt"]) == ("notes", {"done": 5}, 5, 1, "")
    assert {path.name: path.read_bytes() for path in ledger(folder).parent.iterdir()} == before
    assert "notes in " in folder.call("state", "show", "job.yaml")[1]


def test_no_ledger(tmp_path: Path) -> None:
    """Exit 2 and why that is no tragedy; nothing is made."""
    made = Folder(tmp_path)
    for words in (["show"], ["export", "out.db"], ["reset"]):
        assert state(made, *words)[0] == 2
    assert not (tmp_path / ".connector").exists()
    assert not (tmp_path / "out.db").exists()


def test_export_and_import(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """A container that lost its disk gets its ledger back: compared with the collection, then not a document is opened."""
    with Ledger(ledger(folder)):  # a run is under way
        assert state(folder, "export", "saved.db")[0] == 0
    assert (folder.root / "saved.db").stat().st_mode & 0o077 == 0
    assert not list(folder.root.glob("saved.db*unfinished*"))
    shutil.rmtree(folder.root / ".connector")
    assert state(folder, "import", "saved.db")[1]["scopes"][0]["doubt"] == "the ledger was imported"
    with caplog.at_level(logging.WARNING):
        _, report, _ = folder.run()
    assert "comparing the ledger with the collection: the ledger was imported" in caplog.text
    assert (report["encoded"], report["counts"]["unchanged"], "read" in report["stations"]) == (0, 6, False)
    assert state(folder, "show")[1]["scopes"][0]["doubt"] == ""
    assert good(folder)


def test_an_old_ledger_is_not_believed(folder: Folder) -> None:
    """What changed since it was saved is noticed: also a document that went from one version to another and back."""
    state(folder, "export", "old.db")
    for number, text in ((0, "changed"), (1, "there and back")):
        folder.put(f"notes/{number}.txt", text)
    (folder.root / "notes" / "2.txt").unlink()
    folder.put("notes/new.txt", "new")
    assert folder.run()[1]["encoded"] == 3
    assert state(folder, "import", "old.db")[0] == 0
    folder.put("notes/1.txt", "note 1")
    code, report, _ = folder.run()
    assert (code, report["encoded"], report["counts"]["deleted"]) == (0, 1, 1), report
    assert report["verified"]["rows"] == 6
    assert good(folder)


def test_import_keeps_what_was_there(folder: Folder) -> None:
    """The replaced ledger lies beside it, and can be brought back itself."""
    state(folder, "export", "old.db")
    folder.put("notes/new.txt", "new")
    folder.run()
    saved = state(folder, "import", "old.db")[1]["saved"]
    assert state(folder, "show")[1]["scopes"][0]["documents"] == {"done": 6}
    assert state(folder, "import", saved)[1]["scopes"][0]["documents"] == {"done": 7}
    assert folder.run()[1]["encoded"] == 0
    assert good(folder)


def test_marks_of_both_stay(folder: Folder) -> None:
    """No import loses the mark of a forgotten document, and an export brings it back to a machine that lost it."""
    folder.call("forget", "job.yaml", "1.txt")
    state(folder, "export", "saved.db")
    folder.call("forget", "job.yaml", "2.txt")
    assert state(folder, "import", "saved.db")[1]["forgotten"] == {"notes": ["1.txt", "2.txt"]}
    shutil.rmtree(folder.root / ".connector")
    state(folder, "import", "saved.db")
    assert folder.run()[1]["forgotten"] == 1


def test_imports_that_are_refused(folder: Folder) -> None:
    """No database, a damaged one, another program's, a newer one, none at all: the ledger stays as it is."""
    state(folder, "export", "saved.db")
    content = (folder.root / "saved.db").read_bytes()
    (folder.root / "text.db").write_text("no database" * 1000)
    (folder.root / "damaged.db").write_bytes(content[: len(content) // 2 // 4096 * 4096] + b"\xff" * 4096)
    (folder.root / "empty.db").write_bytes(b"")
    for name, statement in (("other.db", "CREATE TABLE a (b)"), ("newer.db", f"PRAGMA user_version = {LEDGER_FORMAT + 1}")):
        if name == "newer.db":
            shutil.copy(folder.root / "saved.db", folder.root / name)
        with contextlib.closing(sqlite3.connect(folder.root / name)) as db:
            db.execute(statement)
    before = state(folder, "show")
    for name in ("text.db", "damaged.db", "empty.db", "other.db", "newer.db", "missing.db"):
        code, document = state(folder, "import", name)
        assert (code, name in document["message"]) == (2, True), document
    assert not (folder.root / "missing.db").exists()
    assert state(folder, "show") == before
    assert sorted(path.name for path in ledger(folder).parent.iterdir() if "import" in path.name) == []
    assert folder.run()[1]["counts"]["unchanged"] == 6


def test_a_format_1_export_is_migrated(folder: Folder) -> None:
    """A copy that an earlier program saved comes back in the present format."""
    old = folder.root / "v1.db"
    with contextlib.closing(sqlite3.connect(old)) as db:
        db.executescript((Path(__file__).parent.parent / "golden" / "ledger.v1.sql").read_text())
    assert [scope["namespace"] for scope in state(folder, "import", "v1.db")[1]["scopes"]] == ["job", "people"]
    _, report, _ = folder.run()
    assert (report["encoded"], report["counts"]["unchanged"]) == (0, 6)


def test_rebuild(folder: Folder) -> None:
    """The ledger says what the rows' lineage says; the next run reads everything and encodes only what was not whole."""
    with contextlib.closing(sqlite3.connect(ledger(folder))) as db, db:
        db.execute("UPDATE document SET content = 'nonsense', rows = 7 WHERE key > '2'")
    assert state(folder, "rebuild") == (0, {"job": "notes", "documents": 6, "exit_code": 0})
    _, report, _ = folder.run()
    assert (report["encoded"], report["counts"]["unchanged"]) == (0, 6)
    assert good(folder)


def test_reset(folder: Folder) -> None:
    """Everything but the marks goes; the next run rebuilds it and encodes nothing."""
    folder.call("forget", "job.yaml", "5.txt")
    assert state(folder, "reset")[1]["documents"] == 5
    assert state(folder, "show")[1]["scopes"] == []
    _, report, _ = folder.run()
    assert (report["encoded"], report["counts"]["unchanged"], report["forgotten"]) == (0, 5, 1)
    assert good(folder)


@pytest.mark.parametrize("words", [["import", "saved.db"], ["reset"], ["rebuild"]])
def test_not_while_a_run_is_under_way(folder: Folder, words: list[str]) -> None:
    """What changes the ledger waits for the run: exit 5."""
    state(folder, "export", "saved.db")
    with Ledger(ledger(folder)):
        assert state(folder, *words)[0] == 5

"""`connector run --dry-run`: the counts that a run would have, and nothing changed anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.commands.comparing import compare_job
from connector.job import Job
from connector.milvus.client import Connection
from tests.workfolder import JOB, SCHEMA, Folder

READS = {"list_collections", "describe_collection", "list_indexes", "describe_index", "get_load_state", "describe_alias", "list_aliases"}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Three files, not yet run."""
    made = Folder(tmp_path)
    for name in ("a", "b", "c"):
        made.put(f"notes/{name}.txt", name)
    return made


def dry(folder: Folder, *options: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON document, stderr) of a dry run; proves each time that no file was changed."""
    before = everything(folder.root)
    code, out, err = folder.call("run", "job.yaml", "--dry-run", "--json", *options)
    assert everything(folder.root) == before
    return code, json.loads(out), err


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its time and size, but for caches."""
    files = (path for path in root.rglob("*") if path.is_file() and "cache" not in str(path.relative_to(root)))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def counts(document: dict[str, Any]) -> tuple[Any, ...]:
    """listed, unchanged, to_read, rejected, vanished, to_delete."""
    return tuple(document[name] for name in ("listed", "unchanged", "to_read", "rejected", "vanished", "to_delete"))


def test_nothing_exists_yet(folder: Folder) -> None:
    """A collection that does not exist is reported as one that would be made; the Lite file is not made either."""
    code, document, _ = dry(folder)
    assert (code, counts(document), document["collection"]) == (0, (3, 0, 3, 0, 0, 0), "")
    assert document["changes"][0] == "+ create collection notes__g1"
    assert "first: create collection notes__g1" in folder.call("run", "job.yaml", "--dry-run")[1]


def test_what_a_run_would_find(folder: Folder) -> None:
    """Unchanged, changed, new, rejected before, vanished: each is counted, and the run that follows finds the same."""
    folder.put("job.yaml", JOB + "sync: mirror\nrejects: {fail_over: 9}\n")
    folder.put("notes/bad.txt", b"\x00")
    assert folder.run()[0] == 0
    assert counts(dry(folder)[1]) == (4, 3, 0, 1, 0, 0)
    folder.put("notes/b.txt", "b, but longer")
    folder.put("notes/d.txt", "d")
    (folder.root / "notes" / "c.txt").unlink()
    code, document, _ = dry(folder)
    assert (code, counts(document), document["collection"]) == (0, (4, 1, 2, 1, 1, 1), "notes__g1")
    report = folder.run()[1]
    assert (report["counts"]["unchanged"], report["counts"]["written"], report["counts"]["deleted"]) == (1, 2, 1)


def test_no_call_that_writes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus is only asked: every call that goes out is one that reads."""
    assert folder.run()[0] == 0
    called = set()
    original = Connection.call

    def record(self: Connection, what: str, function: Any, *args: Any, **options: Any) -> Any:
        called.add(function.__name__)
        return original(self, what, function, *args, **options)

    monkeypatch.setattr(Connection, "call", record)
    compare_job(Job.from_yaml("job.yaml"))
    assert called
    assert called <= READS


def test_upsert_deletes_nothing(folder: Folder) -> None:
    """What vanished is counted, and stays unless the job mirrors."""
    folder.run()
    (folder.root / "notes" / "c.txt").unlink()
    assert counts(dry(folder)[1]) == (2, 2, 0, 0, 1, 0)


def test_the_brake_is_foretold(folder: Folder) -> None:
    """A sweep that would be refused is, with the run's own words and exit code; lifting the brake is tried without danger."""
    folder.put("job.yaml", JOB + "sync: mirror\n")
    folder.run()
    for path in (folder.root / "notes").iterdir():
        path.unlink()
    code, document, _ = dry(folder)
    assert (code, counts(document)) == (6, (0, 0, 0, 0, 3, 0))
    assert "nothing would be deleted" in document["message"]
    assert counts(dry(folder, "--allow-mass-delete")[1])[-1] == 3


def test_limit_and_select(folder: Folder) -> None:
    """A part of the source cannot tell what vanished."""
    folder.run()
    assert counts(dry(folder, "--limit", "2")[1]) == (2, 2, 0, 0, None, 0)
    assert counts(dry(folder, "--select", "a*", "--full-refresh")[1]) == (1, 0, 1, 0, None, 0)


def test_changed_schema_is_refused_as_by_a_run(folder: Folder) -> None:
    """Where a run would not begin, a dry run does not either."""
    folder.run()
    folder.put("schema.py", SCHEMA.replace("max_length=60", "max_length=70"))
    code, document, _ = dry(folder)
    assert (code, document["error"]) == (2, "PlanNeeded")


def test_lost_ledger_is_foretold(folder: Folder) -> None:
    """Everything would be read, but that is not the whole truth: the collection tells what need not be encoded."""
    folder.run()
    for path in (folder.root / ".connector").iterdir():
        path.unlink()
    _, document, _ = dry(folder)
    assert counts(document) == (3, 0, 3, 0, 0, 0)
    assert "encodes only what is not there" in document["notes"][0]


def test_while_a_run_is_under_way(folder: Folder) -> None:
    """A dry run takes no lock of the ledger."""
    from connector.ledger import Ledger

    folder.run()
    with Ledger(folder.root / ".connector" / "notes.db"):
        assert compare_job(Job.from_yaml("job.yaml")).unchanged == 3

"""The reject store as users work with it: listed without Milvus, shown, exported, and tried again without touching anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import connector
from connector.ledger import Ledger
from connector.ledger.rejects import stored_rejects
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.stations import Options
from tests.workfolder import JOB, SCHEMA, Folder

BINARY = b"\x00\x01\xff"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A run behind it: two good files, one that is rejected."""
    made = Folder(tmp_path)
    made.put("notes/good.txt", "good")
    made.put("notes/other.txt", "other")
    made.put("notes/noise.txt", BINARY)
    assert made.run()[0] == 3
    return made


def rejects(folder: Folder, *words: str) -> tuple[int, Any, str]:
    """(exit code, the JSON document, stderr) of `rejects`."""
    code, out, err = folder.call("rejects", words[0], "job.yaml", *words[1:], "--json")
    return code, json.loads(out), err


def texts(folder: Folder) -> dict[str, str]:
    """What the collection holds: path to text."""
    with connect(MilvusSettings(uri=str(folder.root / "notes.db"))) as connection:
        connection.client.load_collection("notes__g1")
        rows = connection.client.query("notes__g1", filter='path != ""', output_fields=["path", "text"])
    return {row["path"]: row["text"] for row in rows}


def test_list_names_document_station_and_reason(folder: Folder) -> None:
    """What was rejected, where, why, and how often it was tried; a list is no failure."""
    code, document, _ = rejects(folder, "list")
    [entry] = document["rejects"]
    assert (code, document["documents"], entry["document"], entry["ordinal"], entry["station"]) == (0, 1, "noise.txt", None, "parse")
    assert "U+0000" in entry["reason"]
    assert entry["attempts"] == 1
    assert folder.call("rejects", "list", "job.yaml")[1].startswith("noise.txt: parse: ")


def test_list_needs_no_milvus(folder: Folder) -> None:
    """The ledger file is enough: no connection, no model, and the files are not changed by looking."""
    folder.put("job.yaml", JOB.replace("uri: notes.db", "uri: http://127.0.0.1:9"))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (folder.root / ".connector").iterdir()}
    assert rejects(folder, "list")[1]["documents"] == 1
    assert rejects(folder, "show", "noise.txt")[0] == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (folder.root / ".connector").iterdir()} == before


def test_list_while_a_run_is_under_way(folder: Folder) -> None:
    """Looking takes no lock, and sees what is committed."""
    with Ledger(folder.root / ".connector" / "notes.db"):
        assert rejects(folder, "list")[1]["documents"] == 1


def test_list_without_a_ledger(tmp_path: Path) -> None:
    """Before the first run there are no rejects, and no file is made by asking."""
    folder = Folder(tmp_path)
    code, document, err = rejects(folder, "list")
    assert (code, document["rejects"]) == (0, [])
    assert "no ledger yet" in err
    assert not (tmp_path / ".connector").exists()


def test_list_is_of_the_latest_collection(folder: Folder) -> None:
    """A collection that was made anew has a store of its own; the one before is not shown."""
    with connect(MilvusSettings(uri="notes.db")) as connection:
        connection.client.drop_alias("notes")
        connection.client.drop_collection("notes__g1")
    folder.put("notes/noise.txt", "fine now")
    assert folder.run()[0] == 0
    assert rejects(folder, "list")[1]["rejects"] == []


def test_store_is_kept_by_namespace(folder: Folder) -> None:
    """Another namespace in the same ledger file has its own rejects, here none."""
    folder.put("job.yaml", JOB + "namespace: other\n")
    assert rejects(folder, "list")[1]["rejects"] == []


def test_show_tells_all_of_one_document(folder: Folder) -> None:
    """Every reason in full, the file's address, and the run; an unknown key names the nearest."""
    code, document, _ = rejects(folder, "show", "noise.txt")
    assert (code, document["uri"]) == (0, (folder.root / "notes" / "noise.txt").as_uri())
    assert "tried once" in folder.call("rejects", "show", "job.yaml", "noise.txt")[1]
    code, document, err = rejects(folder, "show", "nois.txt")
    assert (code, document["error"]) == (2, "ConfigError")
    assert "did you mean `noise.txt`" in err


def test_export_writes_json_lines(folder: Folder) -> None:
    """One object a reject, with the address of the document where the source knows it."""
    code, document, _ = rejects(folder, "export", "out.jsonl")
    [line] = [json.loads(line) for line in (folder.root / "out.jsonl").read_text().splitlines()]
    assert (code, document["rejects"]) == (0, 1)
    assert set(line) == {"document", "ordinal", "station", "reason", "attempts", "run", "uri"}
    assert line["uri"].endswith("/notes/noise.txt")
    assert rejects(folder, "export", "no/such/folder.jsonl")[0] == 2


def test_retry_touches_only_what_was_rejected(folder: Folder) -> None:
    """A mended document lands; a good one that changed meanwhile waits for the next run; a vanished one stays, even in a mirror."""
    folder.put("job.yaml", JOB + "sync: mirror\n")
    folder.put("notes/noise.txt", "mended")
    folder.put("notes/good.txt", "good, but changed")
    (folder.root / "notes" / "other.txt").unlink()
    code, report, _ = rejects(folder, "retry")
    assert (code, report["counts"]["listed"], report["counts"]["written"], report["counts"]["deleted"]) == (0, 1, 1, 0)
    assert texts(folder) == {"good.txt": "good", "noise.txt": "mended", "other.txt": "other"}
    assert rejects(folder, "list")[1]["rejects"] == []


def test_retry_counts_the_attempts(folder: Folder) -> None:
    """What fails again stays in the store with one attempt more, and decides the exit code as in a run."""
    code, report, _ = rejects(folder, "retry")
    assert (code, report["counts"]["rejected"]) == (3, 1)
    assert rejects(folder, "list")[1]["rejects"][0]["attempts"] == 2


def test_retry_of_chosen_documents(folder: Folder) -> None:
    """Only the named ones are tried; one without rejects is refused before anything runs."""
    folder.put("notes/more.txt", BINARY)
    folder.run()
    folder.put("notes/noise.txt", "mended")
    folder.put("notes/more.txt", "mended too")
    assert rejects(folder, "retry", "good.txt")[0] == 2
    assert rejects(folder, "retry", "more.txt")[1]["counts"]["written"] == 1
    assert [entry["document"] for entry in rejects(folder, "list")[1]["rejects"]] == ["noise.txt"]


def test_retry_without_rejects_does_nothing(tmp_path: Path) -> None:
    """Nothing to try again is success, and starts no run."""
    folder = Folder(tmp_path)
    code, report, _ = rejects(folder, "retry")
    assert (code, report["counts"]["listed"]) == (0, 0)
    assert not (tmp_path / "notes.db").exists()


def test_retry_of_a_vanished_document(folder: Folder) -> None:
    """What the source no longer lists cannot be tried; that is said."""
    (folder.root / "notes" / "noise.txt").unlink()
    code, report, err = rejects(folder, "retry")
    assert (code, report["counts"]["listed"]) == (0, 0)
    assert "1 of 1 documents are no longer listed" in err


def test_partial_document_is_counted_every_run_and_made_again_by_retry(tmp_path: Path) -> None:
    """A partial document is not read again by a run, but is by a retry, though version and content are the same."""
    folder = Folder(tmp_path)
    folder.put("schema.py", SCHEMA.replace('encoder="fake:fake"', 'encoder="fake:fake", max_tokens=4'))
    folder.put(
        "rows.py",
        "BAD = ['bad']\n\ndef rows(row):\n    return [{**row, 'text': t if t not in BAD else None} for t in row['text'].split('|')]\n",
    )
    folder.put("job.yaml", JOB + "split: {by: none}\ntransform: rows:rows\n")
    folder.put("notes/a.txt", "one|bad|three")
    code, report, _ = folder.run()
    assert (code, report["counts"]["rejected"], report["rows"]["upserted"]) == (3, 1, 2)
    code, report, _ = folder.run()
    assert (code, report["counts"]["rejected"], report["rows"]["upserted"]) == (3, 1, 0)
    code, report, _ = rejects(folder, "retry")
    assert (code, report["counts"]["rejected"], report["rows"]["upserted"]) == (3, 1, 2)
    [entry] = rejects(folder, "list")[1]["rejects"]
    assert (entry["document"], entry["ordinal"], entry["station"], entry["attempts"]) == ("a.txt", 1, "encode", 2)


def test_sdk(folder: Folder) -> None:
    """The same from Python: rejects of a job, and a run over some documents only."""
    [entry] = connector.rejects("job.yaml")
    assert entry["document"] == "noise.txt"
    folder.put("notes/noise.txt", "mended")
    report = connector.run("job.yaml", options=Options(only=frozenset({entry["document"]})))
    assert report.counts.written == 1
    assert connector.rejects(connector.Job.from_yaml("job.yaml")) == []


def test_damaged_ledger_is_said(tmp_path: Path) -> None:
    """A file that is no ledger is not read as an empty store, and is left as it is."""
    (tmp_path / "a.db").write_bytes(b"no database" * 100)
    with pytest.raises(connector.ConnectorError, match="cannot be read"):
        stored_rejects(tmp_path / "a.db", "notes")
    assert (tmp_path / "a.db").read_bytes() == b"no database" * 100

"""Erasure: every row of a document is gone and proven gone, and stays away; a retired job goes without touching its neighbour."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import connector
from connector.cli import app
from connector.commands import forgetting
from connector.commands.verifying import verify_job
from connector.errors import ConfigError, Locked, Transient
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.stations import Options
from tests.milvus.shelf import GOOD, ROWS, contents, open_shelf, rewrite, shelf_job
from tests.milvus.tiers import LITE_ONLY

REST = {sku: value for sku, value in GOOD.items() if sku != "s7"}


def lines(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Three rows a document."""
    return [{**row, "title": f"{row['title']} {number}"} for number in range(3)]


@pytest.fixture
def job(settings: MilvusSettings) -> Job:
    """Forty rows, written."""
    made = shelf_job(settings)
    assert connector.run(made).exit_code == 0
    return made


def test_forgotten_and_proven(job: Job, settings: MilvusSettings) -> None:
    """The rows are deleted and counted; no run brings them back, not even a full refresh, and a mirror does not miss it."""
    done = connector.forget(job, "s7")
    assert done is not None
    assert (done.rows_deleted, done.rows_left, done.documents, done.marked, done.exit_code) == (1, 0, 1, True, 0)
    assert done.collections == [{"collection": "shelf__g1", "deleted": 1, "left": 0}]
    assert contents(settings) == REST
    for options in (None, Options(full_refresh=True), Options(only=frozenset({"s7"}))):
        report = connector.run(job, options=options)
        assert (report.exit_code, report.forgotten, report.counts.deleted) == (0, 1, 0)
        assert contents(settings) == REST
    assert verify_job(job, full=True, source=True).exit_code == 0
    again = connector.forget(job, "s7")
    assert again is not None
    assert (again.rows_deleted, again.rows_left) == (0, 0), "doing it again is no error"


def test_allowed_again(job: Job, settings: MilvusSettings) -> None:
    """Once the mark is taken away the next run that lists the document ingests it, and only it."""
    connector.forget(job, "s7")
    with pytest.raises(ConfigError, match="`s8` is not forgotten"):
        connector.forget(job, "s8", allow_again=True)
    assert connector.forget(job, "s7", allow_again=True) is None
    report = connector.run(job)
    assert (report.encoded, report.forgotten) == (1, 0)
    assert contents(settings) == GOOD


def test_every_row_of_a_long_document(settings: MilvusSettings) -> None:
    """All ordinals go, also those of which the ledger does not know."""
    job = shelf_job(settings, ROWS[:3], transform=lines, split=None)
    connector.run(job)
    with connect(settings) as connection:
        sink = open_shelf(connection)
        row = next(row for row in sink.scan(None, ["id", "sku", "title", "vector", *CARRIED]) if row["sku"] == "s1")
        rewrite(sink, {**row, "id": "f" * 32})
    done = forgetting.forget(job, "s1")
    assert (done.rows_deleted, done.rows_left) == (4, 0)
    with connect(settings) as connection:
        assert {row["sku"] for row in open_shelf(connection).scan(None, ["sku"])} == {"s0", "s2"}


CARRIED = ("connector_namespace", "connector_key", "connector_content")


@pytest.mark.parametrize("key", ['"; drop', "a\\b", "a\nb", "quo'te", "ünï", '" or 1'])
def test_keys_that_look_like_filters(settings: MilvusSettings, key: str) -> None:
    """A key is data: what it says deletes that document and no other."""
    job = shelf_job(settings, [{"sku": key, "title": "x"}, *ROWS[:3]])
    connector.run(job)
    assert forgetting.forget(job, key).rows_deleted == 1
    assert set(contents(settings)) == {"s0", "s1", "s2"}


def test_unknown_key_is_said(job: Job, settings: MilvusSettings) -> None:
    """A typing mistake must not look like an erasure."""
    done = forgetting.forget(job, "s77")
    assert (done.rows_deleted, "no row and no entry of a document `s77`" in done.message) == (0, True)
    assert contents(settings) == GOOD


def test_neighbours_document_of_the_same_key_stays(job: Job, settings: MilvusSettings) -> None:
    """Two jobs share the collection and a document key; the namespace keeps them apart."""
    other = shelf_job(settings, [{"sku": "s7", "title": "other"}], namespace="other", state="other.db")
    connector.run(other)
    assert forgetting.forget(job, "s7").rows_deleted == 1
    assert contents(settings) == {**REST, "s7": ("other", True)}
    assert connector.run(other).counts.unchanged == 1


def test_rejects_and_reports_are_silent_about_it(settings: MilvusSettings) -> None:
    """The reason of a reject quotes data: neither the store nor the file's bytes have it afterwards."""
    job = shelf_job(settings, [*ROWS[:3], {"sku": "s7", "title": "SECRET" * 9}], rejects={"fail_over": 5})
    assert connector.run(job).counts.rejected == 1
    assert connector.rejects(job)[0]["document"] == "s7"
    state = job.state_path
    assert b"54 bytes of UTF-8" in state.read_bytes()
    forgetting.forget(job, "s7")
    assert connector.rejects(job) == []
    with contextlib.closing(sqlite3.connect(state)) as db:
        reports = "".join(text for (text,) in db.execute("SELECT report FROM run"))
    assert "s7" not in reports
    files = list(state.parent.glob(f"{state.name}*"))
    assert state in files
    assert all(b"54 bytes of UTF-8" not in path.read_bytes() for path in files)


@LITE_ONLY
def test_a_restored_backup_does_not_bring_it_back(job: Job, settings: MilvusSettings, tmp_path: Path) -> None:
    """The backup has the rows; the run that notices it deletes them again, also without a mirror."""
    database, backup = Path(settings.path), tmp_path / "backup"
    shutil.copytree(database, backup) if database.is_dir() else shutil.copy(database, backup)
    connector.run(job)
    connector.forget(job, "s7")
    if backup.is_dir():
        shutil.rmtree(database)
        shutil.copytree(backup, database)
    else:
        shutil.copy(backup, database)
    assert len(contents(settings)) == 40
    assert connector.run(job.model_copy(update={"sync": "upsert"})).exit_code == 0
    assert contents(settings) == REST


def test_a_mark_survives_a_dropped_collection(job: Job, settings: MilvusSettings) -> None:
    """The mark is the namespace's, not the collection's: a new collection does not get the document either."""
    from connector.milvus.catalog import Catalog

    connector.forget(job, "s7")
    with connect(settings) as connection:
        Catalog(connection).drop("shelf__g1")
    assert connector.run(job).counts.written == 39
    assert contents(settings) == REST


def test_interrupted(job: Job, settings: MilvusSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark comes first: when Milvus goes away, no run brings the document up to date any more, and the same call finishes."""

    def away(*_: object) -> None:
        raise Transient("away")

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "erase", away)
        with pytest.raises(Transient):
            forgetting.forget(job, "s7")
    assert verify_job(job).exit_code == 3, "the rows are still there, and that is told"
    assert connector.run(job, options=Options(full_refresh=True)).forgotten == 1
    done = forgetting.forget(job, "s7")
    assert (done.rows_left, done.documents) == (0, done.documents)
    assert contents(settings) == REST


def test_not_while_a_run_is_under_way(job: Job) -> None:
    """An erasure beside a run could be undone by it."""
    with Ledger(job.state_path), pytest.raises(Locked):
        forgetting.forget(job, "s7")


def test_purge_leaves_the_neighbour_alone(job: Job, settings: MilvusSettings) -> None:
    """All rows of the namespace go, none of the other one; its ledger entries go; running it again would write everything anew."""
    other = shelf_job(settings, [{"sku": f"o{number}", "title": "other"} for number in range(5)], namespace="other", state="other.db")
    connector.run(other)
    connector.forget(job, "s7")
    done = connector.purge(job)
    assert (done.rows_deleted, done.rows_left, done.documents, done.exit_code) == (39, 0, 39, 0)
    assert set(contents(settings)) == {f"o{number}" for number in range(5)}
    assert connector.run(other).counts.unchanged == 5
    assert verify_job(other, full=True).exit_code == 0
    with Ledger(job.state_path) as ledger:
        assert ledger.runs() == []
    assert connector.run(job).counts.written == 39, "the mark outlives the purge"


def test_purge_in_a_shared_ledger(settings: MilvusSettings) -> None:
    """Two namespaces may have one ledger file; only one of them goes."""
    one = shelf_job(settings, ROWS[:3], state="shared.db")
    two = shelf_job(settings, ROWS[:4], namespace="two", state="shared.db")
    connector.run(one)
    connector.run(two)
    assert connector.purge(one).documents == 3
    report = connector.run(two)
    assert (report.counts.unchanged, report.exit_code) == (4, 0)


@LITE_ONLY
def test_commands(settings: MilvusSettings) -> None:
    """Forget, allow again, purge: JSON, exit codes, and no purge without a yes."""
    Path("data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    job = {"job": "shelf", "source": {"kind": "jsonl", "path": "data.jsonl", "key": "sku"}, "into": f"{__name__}:Shelf"}
    Path("schema.py").write_text(SCHEMA)
    Path("job.yaml").write_text(json.dumps({**job, "into": "schema.py:Shelf", "milvus": {"uri": settings.uri}, "version": 1}))
    assert call("run", "job.yaml")[0] == 0
    code, out = call("forget", "job.yaml", "s7", "--json")
    assert (code, json.loads(out)["rows_left"], json.loads(out)["rows_deleted"]) == (0, 0, 1)
    assert json.loads(call("run", "job.yaml", "--json")[1])["forgotten"] == 1
    assert json.loads(call("run", "job.yaml", "--dry-run", "--json")[1])["listed"] == 39
    assert call("verify", "job.yaml", "--full", "--source")[0] == 0
    assert call("forget", "job.yaml", "s8", "--allow-again")[0] == 2
    assert call("forget", "job.yaml", "s7", "--allow-again")[0] == 0
    assert call("purge", "job.yaml")[0] == 6
    code, out = call("purge", "job.yaml", "--yes", "--json")
    assert (code, json.loads(out)["rows_deleted"], json.loads(out)["rows_left"]) == (0, 39, 0)


SCHEMA = """
from connector.schema import Collection, Field, Vector, VectorField

class Shelf(Collection):
    id: str = Field(primary_key=True, generated=True)
    sku: str = Field(max_length=8)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")
"""


def call(*words: str) -> tuple[int, str]:
    """(exit code, stdout) of a command."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout

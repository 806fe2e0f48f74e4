"""`verify` finds whatever differs, a repair re-queues just that, and the next run encodes nothing else."""

from __future__ import annotations

from typing import Any

import pytest

import connector
from connector.commands.verifying import verify_job
from connector.errors import PlanNeeded
from connector.job import Job
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import generated_key
from connector.sources.rows import RowsSource
from tests.milvus.shelf import GOOD, ROWS, Tamper, contents, drop, flip, open_shelf, retitle, rewrite, row_of, shelf_job
from tests.milvus.tiers import SERVER_ONLY


@pytest.fixture
def job(settings: MilvusSettings) -> Job:
    """Forty rows, written."""
    made = shelf_job(settings)
    assert connector.run(made).exit_code == 0
    return made


def older(sink: MilvusSink, sku: str = "s7") -> None:
    """A row says that it is of another version of its document; its text is the same, so its vector need not be made again."""
    _, row = row_of(sink, sku)
    rewrite(sink, {**row, "connector_content": f"{'0' * 32}{row['connector_content'][32:]}"})


def stray(sink: MilvusSink) -> None:
    """A document has a row too many."""
    _, row = row_of(sink, "s7")
    rewrite(sink, {**row, "id": "f" * 32})


def foreign(sink: MilvusSink) -> None:
    """Somebody put a row into our namespace by hand."""
    _, row = row_of(sink, "s7")
    rewrite(sink, {**row, "id": "f" * 32, "sku": "x", "connector_key": "by hand", "connector_content": ""})


def unknown(sink: MilvusSink) -> None:
    """The ledger has never heard of a document that is there, and that the source does not list."""
    _, row = row_of(sink, "s7")
    rewrite(sink, {**row, "id": generated_key("shelf", "gone", 0), "sku": "gone", "connector_key": "gone"})


DAMAGE = [(drop, "missing", 1), (flip, "changed", 1), (retitle, "changed", 1), (older, "stale", 0), (stray, "stray", 0)]
DAMAGE += [(foreign, "foreign", 0), (unknown, "unknown", 0)]


@pytest.mark.parametrize(("tamper", "kind", "encoded"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_found_and_mended(job: Job, settings: MilvusSettings, tamper: Tamper, kind: str, encoded: int) -> None:
    """Exit code 3 and the document's name; a repair and a run later everything is as the source says, at the price of what differed."""
    with connect(settings) as connection:
        tamper(open_shelf(connection))
    found = verify_job(job, full=True)
    assert (found.exit_code, found.differing, found.kinds) == (3, 1, {kind: 1}), str(found)
    assert verify_job(job, full=True).kinds == {kind: 1}, "looking changes nothing"
    assert verify_job(job, full=True, repair=True).exit_code == 3
    report = connector.run(job)
    assert (report.exit_code, report.encoded) == (0, encoded), report
    assert contents(settings) == GOOD
    clean = verify_job(job, full=True, source=True)
    assert (clean.exit_code, clean.compared, clean.message) == (0, 40, ""), str(clean)


@SERVER_ONLY
def test_a_key_that_is_there_twice(job: Job, settings: MilvusSettings) -> None:
    """A scan shows a doubled key once; the count gives it away, and it is found by halving."""
    with connect(settings) as connection:
        _, row = row_of(open_shelf(connection), "s7")
        connection.call("insert", connection.client.insert, "shelf__g1", [{**row, "vector": row["vector"].tolist()}])
    found = verify_job(job, full=True)
    assert (found.rows, found.kinds, found.shown[0].startswith("s7: doubled")) == (41, {"doubled": 1}, True), str(found)
    verify_job(job, repair=True)
    report = connector.run(job)
    assert (report.exit_code, report.encoded) == (0, 1)
    assert verify_job(job, full=True).exit_code == 0


def test_everything_at_once(job: Job, settings: MilvusSettings) -> None:
    """Several kinds of damage to several documents are told apart and mended together."""
    with connect(settings) as connection:
        sink = open_shelf(connection)
        for sku, tamper in {"s1": drop, "s2": flip, "s3": retitle, "s4": older}.items():
            tamper(sink, sku)
        foreign(sink)
        unknown(sink)
    found = verify_job(job, full=True, repair=True)
    assert found.kinds == {"missing": 1, "changed": 2, "stale": 1, "foreign": 1, "unknown": 1}
    assert (found.requeued, found.adopted, found.deleted) == (3, 2, 1)
    report = connector.run(job)
    assert (report.exit_code, report.encoded, report.counts.deleted) == (0, 3, 1)
    assert contents(settings) == GOOD
    assert verify_job(job, full=True).exit_code == 0


def test_a_sample_is_bounded_and_can_be_repeated(settings: MilvusSettings) -> None:
    """By default 256 rows are read back, others each time, the same ones with the same seed."""
    rows = [{"sku": f"s{number}", "title": f"thing {number}"} for number in range(600)]
    job = shelf_job(settings, rows)
    connector.run(job)
    with connect(settings) as connection:
        flip(open_shelf(connection))
    found = [verify_job(job, seed=str(seed)) for seed in range(12)]
    assert all(256 <= one.compared < 600 for one in found)
    assert {one.exit_code for one in found} == {0, 3}, "one flipped bit is found by some samples and missed by others"
    again = next(one for one in found if one.exit_code == 3)
    assert verify_job(job, seed=again.seed).kinds == {"changed": 1}
    assert verify_job(job, full=True).kinds == {"changed": 1}


def test_lost_ledger(job: Job, settings: MilvusSettings) -> None:
    """Without a ledger every row is unknown; a repair takes them over, and the run after it encodes nothing."""
    job.state_path.unlink()
    found = verify_job(job)
    assert (found.exit_code, found.documents, found.kinds) == (3, 0, {"unknown": 40})
    assert verify_job(job, repair=True).adopted == 40
    assert connector.run(job).encoded == 0
    clean = verify_job(job, full=True)
    assert (clean.exit_code, clean.compared, clean.uncompared) == (0, 0, 40)
    assert contents(settings) == GOOD


def test_source_side(job: Job) -> None:
    """What is new, changed and vanished at the source is told; a touched document whose content is the same is not."""
    assert verify_job(job, source=True).exit_code == 0
    rows: list[dict[str, Any]] = [*ROWS[2:], {"sku": "new", "title": "new"}]
    rows[0] = {**rows[0], "title": "another"}
    changed = job.model_copy(update={"source": RowsSource(rows, key="sku")})
    side = verify_job(changed, source=True)
    assert side.source is not None
    assert (side.exit_code, side.source.listed, side.source.new, side.source.changed, side.source.vanished) == (3, 39, 1, 1, 2)
    upsert = verify_job(changed.model_copy(update={"sync": "upsert", "source": RowsSource(ROWS[2:], key="sku")}), source=True)
    assert (upsert.exit_code, upsert.source and upsert.source.vanished) == (0, 2), "only a mirror deletes what vanished"


def test_an_interrupted_run_is_not_clean(job: Job, settings: MilvusSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document between intent and completion is named until a run has finished it."""
    rows = [{**row, "title": f"{row['title']} new"} for row in ROWS]
    with monkeypatch.context() as patch:
        patch.setattr(MilvusSink, "write", lambda self, window: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError):
            connector.run(shelf_job(settings, rows))
    assert verify_job(job).kinds == {"unfinished": 40}
    connector.run(shelf_job(settings, rows))
    assert verify_job(job, full=True).exit_code == 0


def test_no_collection(settings: MilvusSettings) -> None:
    """There is nothing to verify: said, and nothing is made."""
    with pytest.raises(PlanNeeded, match="there is no `shelf`"):
        verify_job(shelf_job(settings))


def test_second_namespace_is_not_looked_at(job: Job, settings: MilvusSettings) -> None:
    """What another job has in the collection is neither counted nor compared nor repaired."""
    other = shelf_job(settings, [{"sku": "o1", "title": "other"}], namespace="other", state="other.db")
    connector.run(other)
    assert verify_job(job, full=True, repair=True).exit_code == 0
    assert len(contents(settings)) == 41
    assert verify_job(other, full=True).rows == 1

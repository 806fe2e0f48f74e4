"""What others do to the collection, the server and the ledger while a run is under way, and what a run leaves behind in its process."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import connector
from connector.commands import building
from connector.commands.comparing import compare_job
from connector.commands.planning import plan_job
from connector.commands.running import run_job
from connector.errors import AuthError, ConnectorError, PlanNeeded, SinkError, Throttled, Transient
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField
from connector.stations import Options
from connector.stations.windows import WindowLimits
from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from connector.testing.milvus_faults import Fault
from connector.testing.oracle import check_job
from connector.testing.sources import ListSource
from tests.secrets import CANARY

ROWS, WINDOW = 60, 20
"""Documents of one row, and how many of them a window has here."""
READS = {
    *("Connect", "GetVersion", "ListDatabases", "ShowCollections", "HasCollection", "DescribeCollection", "DescribeAlias", "ListAliases"),
    *("DescribeIndex", "Query", "Search", "GetLoadState", "LoadCollection", "DescribeDatabase", "GetLoadingProgress"),
}
"""Methods that change nothing that is stored."""


class Notes(Collection):
    """One row a document."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=100)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "WindowLimits", partial(WindowLimits, rows=WINDOW))


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[FaultyMilvus]:
    """Behaving until told otherwise."""
    with FaultyMilvus(tmp_path / "lite.db") as running:
        yield running


@pytest.fixture
def job(milvus: FaultyMilvus, tmp_path: Path) -> Job:
    """Several windows of documents."""
    source = ListSource([{"key": f"k{number}", "text": f"text {number}"} for number in range(ROWS)], "listing")
    reach = milvus.settings(timeout=5, retry_deadline=3, token=CANARY)
    given = {"job": "j", "into": Notes, "source": source, "milvus": reach, "state": tmp_path / "state.db", "sync": "mirror"}
    return Job.check(given, "test")


def once(act: Callable[[], None]) -> Callable[[RunReport], None]:
    """Acts after the first window."""
    left = [act]
    return lambda _: left.pop()() if left else None


def through(milvus: FaultyMilvus, act: Callable[[Connection], Any]) -> Callable[[RunReport], None]:
    """Acts over a connection of its own after the first window."""

    def open_and_act() -> None:
        with connect(milvus.settings()) as connection:
            act(connection)

    return once(open_and_act)


def test_the_collection_is_dropped(milvus: FaultyMilvus, job: Job) -> None:
    """An error that names it, never a quiet success; the next run makes and fills it again."""
    with pytest.raises(PlanNeeded, match="notes__g1"):
        run_job(job, on_progress=through(milvus, lambda connection: Catalog(connection).drop("notes__g1")))
    assert run_job(job).exit_code == 0
    assert check_job(job).right


def test_the_alias_is_moved(milvus: FaultyMilvus, job: Job) -> None:
    """Writes go to the physical collection that the run began with: all its rows are there, and nothing is in the other."""

    def move(connection: Connection) -> None:
        connection.client.create_collection("other", dimension=8, timeout=10)
        connection.client.alter_alias("other", "notes", timeout=10)

    report = run_job(job, on_progress=through(milvus, move))
    assert report.exit_code == 0
    assert report.collection == "notes__g1"
    with connect(milvus.settings()) as connection:
        assert connection.client.query("other", filter="", output_fields=["count(*)"])[0]["count(*)"] == 0
        connection.client.alter_alias("notes__g1", "notes", timeout=10)
    assert check_job(job).right


def test_the_collection_is_released(milvus: FaultyMilvus, job: Job) -> None:
    """Writing needs no loaded collection, and what reads loads it."""
    run_job(job, on_progress=through(milvus, lambda connection: connection.client.release_collection("notes__g1", timeout=10)))
    assert run_job(job).counts.unchanged == ROWS
    assert check_job(job).right


def test_the_ledger_is_deleted(milvus: FaultyMilvus, job: Job) -> None:
    """The run goes on; the next one finds no ledger, rebuilds it from the rows and encodes nothing."""

    def delete() -> None:
        for path in job.state_path.parent.glob("state.db*"):
            path.unlink()

    run_job(job, on_progress=once(delete))
    report = run_job(job)
    assert (report.exit_code, report.encoded) == (0, 0)
    assert check_job(job).right


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.unreachable(None, skip=1), Transient),
        (faults.writes_denied(None, skip=1), Throttled),
        (faults.rate_limited(None, skip=1), Throttled),
        (Fault(times=None, skip=1, rpc="UNAUTHENTICATED"), AuthError),
        (Fault(times=None, skip=1, code=1401, reason="no privilege"), AuthError),
    ],
    ids=["away", "denied", "limited", "password rotated", "privilege taken"],
)
def test_a_run_that_gives_up_is_finished_by_the_next(milvus: FaultyMilvus, job: Job, fault: Fault, error: type[ConnectorError]) -> None:
    """The ledger stays right: what was committed is not sent again, and what was not is."""
    milvus.faults = [fault]
    with pytest.raises(error) as caught:
        run_job(job)
    assert caught.value.exit_code == (7 if error is AuthError else 4)
    milvus.faults = []
    report = run_job(job)
    assert (report.exit_code, report.counts.unchanged, report.encoded) == (0, WINDOW, ROWS - WINDOW)
    assert check_job(job).right


@pytest.mark.parametrize(
    "fault",
    [
        faults.lost_answer(3),
        faults.wrong_count(),
        faults.lands_late(),
        Fault("Delete", rpc="UNAVAILABLE", applied=True),
        faults.not_ready(2),
    ],
    ids=["answer lost", "wrong count", "late", "delete lost", "not ready"],
)
def test_faults_that_pass(milvus: FaultyMilvus, job: Job, fault: Fault) -> None:
    """A run over a server that misbehaves for a while ends well, and the collection is the source's."""
    job = job.model_copy(update={"milvus": milvus.settings(timeout=1.5, retry_deadline=20)})
    source: Any = job.source
    run_job(job)
    source.items[:5] = [{"key": f"k{number}", "text": "changed"} for number in range(3)]
    milvus.faults = [fault]
    assert run_job(job).exit_code == 0
    assert fault.times == 0
    assert check_job(job).right


def test_looking_changes_nothing(milvus: FaultyMilvus, job: Job) -> None:
    """A dry run, a plan and a search send nothing that changes what is stored."""
    run_job(job, Options(limit=10))
    milvus.requests.clear()
    connector.search(job, "text 3")
    plan_job(job)
    compare_job(job)
    check_job(job)
    assert {one.method for one in milvus.requests} <= READS
    assert len(milvus.of("Search", "Query")) > 1


def test_runs_leave_nothing_open(milvus: FaultyMilvus, job: Job) -> None:
    """Threads and files of a run end with it, also when it fails: a service may run a job a thousand times."""
    source: Any = job.source
    del source.items[20:]
    quick = job.model_copy(update={"milvus": milvus.settings(timeout=2, retry_deadline=0)})

    def some_runs(count: int) -> tuple[int, int]:
        for number in range(count):
            source.items[0] = {"key": "k0", "text": f"text {number}"}
            milvus.faults = [Fault(code=777, reason="no")] if number % 3 == 0 else []
            try:
                run_job(quick)
            except SinkError:
                continue
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    threads, files = some_runs(6)
    more_threads, more_files = some_runs(12)
    assert more_threads <= threads + 2
    assert more_files <= files + 2

"""Metrics are the numbers of reports, and those are what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connector.commands.running import run_job
from connector.errors import ConnectorError, Interrupted, OutOfTime, Transient
from connector.observe import metrics
from connector.observe.metrics import Book
from connector.report import Counts, RunReport
from connector.stations import Options
from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from tests.observe.shop import ROWS, job_of, rows

AGREED = {
    "connector_runs_total": {"job", "outcome"},
    "connector_documents_total": {"job", "outcome"},
    "connector_rows_total": {"job", "action"},
    "connector_bytes_total": {"job", "station"},
    "connector_station_seconds_total": {"job", "station"},
    "connector_encoder_busy_ratio": {"job"},
    "connector_batch_fill_ratio": {"job"},
    "connector_padding_ratio": {"job"},
    "connector_in_flight_bytes": {"job"},
    "connector_retries_total": {"job"},
    "connector_throttled_total": {"job"},
    "connector_rejects": {"job"},
    "connector_deletes_total": {"job"},
    "connector_lag_seconds": {"job"},
    "connector_last_success_timestamp_seconds": {"job"},
    "connector_run_seconds": {"job"},
}
"""Names and labels that dashboards and alert rules are made for; changing one breaks them."""


@pytest.fixture(autouse=True)
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    """A process that has recorded nothing yet."""
    made = Book()
    monkeypatch.setattr(metrics, "_BOOK", made)
    return made


def samples() -> dict[tuple[str, ...], float]:
    """Every value, by metric and labels beside `job`, as Prometheus reads it."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "job")): sample.value
        for family in families
        for sample in family.samples
    }


def report_of(error: type[ConnectorError], run: Callable[[], Any]) -> RunReport:
    """The report of a run that fails."""
    with pytest.raises(error) as caught:
        run()
    report = caught.value.report  # type: ignore[attr-defined]  # every run leaves one
    assert isinstance(report, RunReport)
    return report


def test_names_and_labels(milvus: FaultyMilvus) -> None:
    """Each metric that was agreed on is there after a run, with these labels and no others, and nothing else is."""
    metrics.record(run_job(job_of(rows(), milvus)))
    families = text_string_to_metric_families(metrics.exposition().decode())
    found: dict[str, set[str]] = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert found == AGREED
    assert set(AGREED) == metrics.NAMES


def test_values_are_those_of_the_report(milvus: FaultyMilvus) -> None:
    """Documents, rows, bytes, seconds and ratios: what is exposed is what the report says, number by number."""
    report = run_job(job_of(rows(ROWS, 3, 4), milvus, rejects={"fail_over": 5}))
    metrics.record(report)
    found = samples()
    assert report.counts == Counts(listed=ROWS, written=ROWS - 2, rejected=2)
    for outcome in ("unchanged", "written", "empty", "rejected", "deferred"):
        assert found["connector_documents_total", outcome] == getattr(report.counts, outcome)
    actions = {name: found["connector_rows_total", name] for name in ("upserted", "deleted", "rejected", "encoded", "reused")}
    assert actions == {"upserted": ROWS - 2, "deleted": report.rows.deleted, "rejected": 2, "encoded": ROWS - 2, "reused": 0}
    assert {key[1]: value for key, value in found.items() if key[0] == "connector_station_seconds_total"} == report.stations
    assert {key[1]: value for key, value in found.items() if key[0] == "connector_bytes_total"} == report.measured.nbytes
    assert found["connector_encoder_busy_ratio",] == report.measured.encoder_busy
    assert found["connector_rejects",] == 2
    assert found["connector_runs_total", "ok"] == 1
    assert found["connector_last_success_timestamp_seconds",] == report.succeeded_at
    assert found["connector_run_seconds_sum",] == report.seconds
    assert found["connector_run_seconds_count",] == 1
    assert found["connector_in_flight_bytes",] == 0


def test_measured_where_it_happens(milvus: FaultyMilvus) -> None:
    """Bytes are those of the rows and of the requests; fill and padding are those of the micro-batches that were cut."""
    milvus.requests.clear()
    report = run_job(job_of(rows(), milvus))
    nbytes = report.measured.nbytes
    assert nbytes["read"] == sum(len(row["key"]) + len(row["text"]) for row in rows())
    assert nbytes["encode"] == sum(len(row["text"]) for row in rows())
    assert nbytes["write"] == sum(one.nbytes for one in milvus.of("Upsert"))
    assert nbytes["window"] == nbytes["commit"] > 0
    # a budget of 20 words, dearest first: ten rows are 3 3 3 3 3 2 and 2 2 2 2, so 26 words with 1 padded; five are 3 3 2 2 2: 15 with 3
    assert report.measured.padding == pytest.approx((1 + 1 + 3) / (26 + 26 + 15), abs=1e-4)
    assert report.measured.batch_fill == pytest.approx((26 + 26 + 15) / (5 * 20), abs=1e-4)


def test_retries_and_throttling(milvus: FaultyMilvus) -> None:
    """Each request that was sent again is counted, and each that was refused for coming too fast."""
    milvus.faults += [faults.wrong_count(), faults.rate_limited(2)]
    report = run_job(job_of(rows(), milvus))
    assert len(milvus.of("Upsert")) == 3 + 3
    assert (report.measured.retries, report.measured.throttled) == (3, 2)
    metrics.record(report)
    assert (samples()["connector_retries_total",], samples()["connector_throttled_total",]) == (3, 2)


def test_two_runs_at_a_time_do_not_share_their_retries(milvus: FaultyMilvus, tmp_path: Any) -> None:
    """What one job has to send again is none of another's, also in one process."""
    other = job_of(rows(5), str(tmp_path / "other.db"), "other")
    inner: list[RunReport] = []

    def meanwhile(_: RunReport) -> None:
        if not inner:
            inner.append(run_job(other))

    milvus.faults += [faults.wrong_count()]
    assert run_job(job_of(rows(), milvus), on_progress=meanwhile).measured.retries == 1
    assert inner[0].measured.retries == 0


def test_values_while_a_run_is_under_way(milvus: FaultyMilvus) -> None:
    """After every committed window what it came to is there, and what is still on its way is in flight."""
    seen: list[dict[tuple[str, ...], float]] = []
    metrics.record(run_job(job_of(rows(), milvus, workers=0), on_progress=lambda _: seen.append(samples())))
    assert [one["connector_rows_total", "upserted"] for one in seen] == [10, 20, 25]
    assert [one["connector_documents_total", "written"] for one in seen] == [10, 20, 25]
    assert ("connector_runs_total", "ok") not in seen[0]
    assert samples()["connector_rows_total", "upserted"] == 25
    assert samples()["connector_runs_total", "ok"] == 1


def test_in_flight(milvus: FaultyMilvus) -> None:
    """Windows that are made and not committed are in flight: with threads the next ones wait while one is written."""
    lives: list[Any] = []
    held: list[int] = []

    def look(_: RunReport) -> None:
        deadline = time.monotonic() + 30
        while len(held) == 0 and time.monotonic() < deadline:
            if flight := lives[0]().measured.in_flight_bytes:
                held.append(flight)

    report = run_job(job_of(rows(), milvus), on_start=lives.append, on_progress=look)
    assert held
    assert 0 < held[0] < report.measured.nbytes["window"]
    assert report.measured.in_flight_bytes == 0


def test_a_run_is_counted_once() -> None:
    """Whoever records a report twice counts one run; the next one adds to it."""
    report = RunReport(run_id="1", job="j", outcome="ok", counts=Counts(listed=3, written=3), seconds=2)
    metrics.record(report)
    metrics.record(report)
    assert samples()["connector_documents_total", "written"] == 3
    assert samples()["connector_runs_total", "ok"] == 1
    metrics.record(report.model_copy(update={"run_id": "2", "seconds": 100_000}))
    found = samples()
    assert found["connector_documents_total", "written"] == 6
    assert (found["connector_run_seconds_count",], found["connector_run_seconds_sum",]) == (2, 100_002)
    assert (found["connector_run_seconds_bucket", "5.0"], found["connector_run_seconds_bucket", "86400.0"]) == (1, 1)


def test_jobs_are_kept_apart() -> None:
    """Each job has its own numbers."""
    for job, count in (("a", 1), ("b", 2)):
        metrics.record(RunReport(run_id=job, job=job, counts=Counts(written=count)))
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    [documents] = [family for family in families if family.name == "connector_documents"]
    written = {sample.labels["job"]: sample.value for sample in documents.samples if sample.labels["outcome"] == "written"}
    assert written == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Transient("x"), "failed"),
        (OutOfTime("x"), "stopped"),
        (Interrupted(15), "stopped"),
        (KeyboardInterrupt(), "failed"),
        (ValueError("x"), "failed"),
    ],
)
def test_outcomes(error: BaseException, outcome: str) -> None:
    """A run that was told to stop has not failed; a bug has."""
    report = RunReport(run_id="1", job="j")
    report.end(error)
    assert report.outcome == outcome


def test_a_failed_run_counts_and_keeps_the_last_success(milvus: FaultyMilvus) -> None:
    """A run that Milvus does not let in is counted; the collection falls further behind the last good run."""
    job = job_of(rows(), milvus)
    good = run_job(job)
    milvus.faults += [faults.unreachable(None, method="*")]
    bad = report_of(Transient, lambda: run_job(job))
    assert (bad.outcome, bad.exit_code) == ("failed", 4)
    assert bad.succeeded_at == pytest.approx(good.succeeded_at, abs=1)
    metrics.record(bad)
    found = samples()
    assert found["connector_runs_total", "failed"] == 1
    assert found["connector_last_success_timestamp_seconds",] == bad.succeeded_at
    assert ("connector_rejects",) not in found
    assert bad.in_step_at is not None
    assert 0 < found["connector_lag_seconds",] <= time.time() - bad.in_step_at
    assert samples()["connector_lag_seconds",] > found["connector_lag_seconds",]


def test_a_part_of_the_source_is_no_success(milvus: FaultyMilvus) -> None:
    """A run with --limit says nothing about the rest, so neither the last success nor the rejects change."""
    report = run_job(job_of(rows(), milvus), Options(limit=3))
    assert (report.outcome, report.partial, report.succeeded_at) == ("ok", True, None)
    metrics.record(report)
    assert ("connector_last_success_timestamp_seconds",) not in samples()
    assert ("connector_lag_seconds",) not in samples()
    assert ("connector_rejects",) not in samples()


def test_deleted_documents(milvus: FaultyMilvus) -> None:
    """What vanished from the source is counted as documents, and its rows as rows."""
    metrics.record(run_job(job_of(rows(), milvus)))
    metrics.record(run_job(job_of(rows(ROWS - 4), milvus)))
    assert samples()["connector_deletes_total",] == 4
    assert samples()["connector_rows_total", "deleted"] == 4


def test_our_registry_is_our_own() -> None:
    """Nothing of ours is in the registry of the process, and nothing of that in ours."""
    from prometheus_client import REGISTRY, generate_latest

    metrics.record(RunReport(run_id="1", job="j"))
    assert b"connector_" not in generate_latest(REGISTRY)
    assert b"python_info" not in metrics.exposition()

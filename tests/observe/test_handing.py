"""The metrics of a run outlive its process: in a file for node-exporter, or at a Pushgateway; where that fails, the run does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connector.commands.running import run_job
from connector.errors import ConfigError, ConnectorError
from connector.observe.settings import MetricsSettings
from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from tests.observe.listener import Listener
from tests.observe.shop import ROWS, job_of, rows

NOWHERE = "http://127.0.0.1:9"


def values(text: str) -> dict[tuple[str, ...], float]:
    """Every value by metric and labels beside `job`, as Prometheus reads it."""
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "job")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_file_for_node_exporter(milvus: FaultyMilvus, tmp_path: Path) -> None:
    """One file a job, whole or not there: what is written beside it meanwhile has another ending."""
    (tmp_path / "prom").mkdir()
    report = run_job(job_of(rows(), milvus, metrics={"textfile": "prom"}))
    assert [path.name for path in (tmp_path / "prom").iterdir()] == ["connector_shop.prom"]
    found = values((tmp_path / "prom" / "connector_shop.prom").read_text())
    assert found["connector_documents_total", "written"] == ROWS
    assert found["connector_run_seconds_sum",] == report.seconds
    assert report.notes == []


def test_counters_go_on_from_run_to_run(milvus: FaultyMilvus, tmp_path: Path) -> None:
    """A counter that began at zero with every process would say nothing; a failed run leaves the last success as it was."""
    path, job = tmp_path / "connector_shop.prom", job_of(rows(), milvus, metrics={"textfile": "."})
    first = run_job(job)
    second = run_job(job)
    found = values(path.read_text())
    assert (found["connector_runs_total", "ok"], found["connector_run_seconds_count",]) == (2, 2)
    assert found["connector_run_seconds_sum",] == pytest.approx(first.seconds + second.seconds)
    assert found["connector_run_seconds_bucket", "+Inf"] == 2
    assert (found["connector_documents_total", "written"], found["connector_documents_total", "unchanged"]) == (ROWS, ROWS)
    assert found["connector_padding_ratio",] == first.measured.padding
    milvus.faults += [faults.unreachable(None, method="*")]
    with pytest.raises(ConnectorError):
        run_job(job)
    after = values(path.read_text())
    assert (after["connector_runs_total", "ok"], after["connector_runs_total", "failed"]) == (2, 1)
    assert after["connector_last_success_timestamp_seconds",] == pytest.approx(second.succeeded_at, abs=1)


def test_a_file_that_is_none_of_ours_is_begun_anew(milvus: FaultyMilvus, tmp_path: Path) -> None:
    """Whatever stands there, half a line or another program's, the next run's values are right."""
    (tmp_path / "connector_shop.prom").write_text('connector_runs_total{job="shop",outcome="ok"')
    assert run_job(job_of(rows(3), milvus, metrics={"textfile": "."})).notes == []
    assert values((tmp_path / "connector_shop.prom").read_text())["connector_runs_total", "ok"] == 1


def test_a_pushgateway(milvus: FaultyMilvus, listener: Listener) -> None:
    """The group of the job is replaced by what this run came to."""
    report = run_job(job_of(rows(), milvus, metrics={"pushgateway": listener.url}))
    [sent] = listener.sent
    assert (sent.method, sent.path) == ("PUT", "/metrics/job/shop")
    assert values(sent.body.decode())["connector_rows_total", "upserted"] == report.rows.upserted
    assert report.notes == []


def test_what_cannot_be_reached_is_a_note(milvus: FaultyMilvus, listener: Listener) -> None:
    """The run is as good as it was; the report says what is missing, and a gateway that stumbles once is asked again."""
    report = run_job(job_of(rows(3), milvus, metrics={"pushgateway": NOWHERE, "textfile": "missing"}))
    assert (report.exit_code, report.outcome) == (0, "ok")
    assert report.notes == [
        "metrics are not written: No such file or directory",
        "metrics are not pushed: 127.0.0.1: ConnectionRefusedError",
    ]
    listener.statuses += [503, 200, 400]
    job = job_of(rows(3), milvus, metrics={"pushgateway": listener.url})
    assert run_job(job).notes == []
    assert run_job(job).notes == ["metrics are not pushed: 127.0.0.1: status 400"]
    assert len(listener.sent) == 3


def test_the_report_of_a_failed_run_is_handed_on_too(listener: Listener, tmp_path: Path) -> None:
    """A run that does not even reach Milvus, or whose job is wrong, is counted as failed."""
    with pytest.raises(ConfigError):
        run_job(job_of(rows(), str(tmp_path / "missing" / "x.db"), metrics={"pushgateway": listener.url}))
    with pytest.raises(ConfigError):
        run_job(job_of(rows(), "x.db", metrics={"pushgateway": listener.url}, encode={"nothing": {}}))
    assert [values(sent.body.decode())["connector_runs_total", "failed"] for sent in listener.sent] == [1, 1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "give textfile, a folder, or pushgateway"),
        ({"pushgateway": "gateway:9091"}, "pushgateway is no URL"),
        ({"pushgateway": "http://me:Geheim@gateway:9091"}, "holds credentials"),
    ],
)
def test_settings_that_are_wrong(given: dict[str, str], reason: str) -> None:
    """They are told before the run, without what they hold."""
    with pytest.raises(ConfigError, match=reason) as caught:
        job_of(rows(), "x.db", metrics=given)
    assert "Geheim" not in str(caught.value)


def test_both_places() -> None:
    """One does not exclude the other."""
    assert MetricsSettings(textfile=Path("x"), pushgateway="https://gateway/").textfile == Path("x")

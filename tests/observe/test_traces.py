"""Spans of a run hang together across threads, say what was done, and cost nothing where nobody asked for them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from connector.commands.running import run_job
from connector.errors import ConnectorError
from connector.observe import traces
from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from tests.observe.listener import Listener
from tests.observe.shop import job_of, rows


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Every span of the runs of this test."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces.enable(provider)
    yield kept
    traces.disable()
    provider.shutdown()


def above(spans: tuple[ReadableSpan, ...]) -> dict[tuple[str, str], int]:
    """How many spans of a name stand under one of another name."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    return Counter((span.name, names[span.parent.span_id] if span.parent else "") for span in spans)


@pytest.mark.parametrize("workers", [0, 2])
def test_run_window_batch(workers: int, milvus: FaultyMilvus, exporter: InMemorySpanExporter) -> None:
    """25 rows are three windows in one run; the micro-batches of a window stand under it, and so do the stations that end it."""
    report = run_job(job_of(rows(), milvus, workers=workers))
    spans = exporter.get_finished_spans()
    found = above(spans)
    batches = found.pop(("batch", "window"))
    assert found == {
        ("run", ""): 1,
        ("window", "run"): 3,
        ("conform", "window"): 3,
        ("ledger", "window"): 9,
        ("write", "window"): 3,
        ("sweep", "run"): 1,
        ("verify", "run"): 1,
        ("close", "run"): 1,
    }
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    of = {span.name: dict(span.attributes or {}) for span in spans}
    assert of["run"]["connector.run"] == report.run_id
    assert (of["run"]["connector.job"], of["run"]["connector.exit_code"], of["run"]["connector.written"]) == ("shop", 0, 25)
    inputs = [(span.attributes or {})["connector.inputs"] for span in spans if span.name == "batch"]
    assert len(inputs) == batches
    assert sum(int(str(one)) for one in inputs) == report.encoded
    assert sorted(str((span.attributes or {})["connector.rows"]) for span in spans if span.name == "window") == ["10", "10", "5"]


def test_what_fails_is_marked(milvus: FaultyMilvus, exporter: InMemorySpanExporter) -> None:
    """The run's span ends with the error, and the window before it is whole."""
    milvus.faults += [faults.unreachable(None, skip=1)]
    with pytest.raises(ConnectorError):
        run_job(job_of(rows(), milvus))
    spans = exporter.get_finished_spans()
    [run] = [span for span in spans if span.name == "run"]
    assert (run.status.status_code, run.status.description, run.events) == (StatusCode.ERROR, "Transient", ())
    assert ((run.attributes or {})["connector.exit_code"], (run.attributes or {})["connector.outcome"]) == (4, "failed")
    assert [span.status.status_code for span in spans if span.name == "window"] == [StatusCode.UNSET]
    assert StatusCode.ERROR in {span.status.status_code for span in spans if span.name == "write"}


def test_runs_that_nobody_traces_load_nothing(tmp_path: Path) -> None:
    """Neither OpenTelemetry nor the metrics' library is imported, and the program's logging and environment stay as they were."""
    code = """
import logging, os, sys
from tests.observe.shop import job_of, rows
from connector.commands.running import run_job
before = (logging.root.level, logging.root.handlers[:], logging.getLogger("connector").handlers[:], dict(os.environ))
assert run_job(job_of(rows(3), "x.db")).exit_code == 0
after = (logging.root.level, logging.root.handlers[:], logging.getLogger("connector").handlers[:], dict(os.environ))
changed = {name for name in {*before[3], *after[3]} if before[3].get(name) != after[3].get(name)}
assert before[:3] == after[:3], (before[:3], after[:3])
assert changed <= {"PYTHON_DOTENV_DISABLED", "GRPC_VERBOSITY"}, changed
print(sorted(name for name in sys.modules if name.partition(".")[0] in {"opentelemetry", "prometheus_client", "rich", "typer"}))
"""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(root)}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process in which nothing of traces was decided yet."""
    yield monkeypatch
    traces.disable()
    for provider in traces._OURS:
        provider.shutdown()
    traces._OURS.clear()
    traces._MISSED.clear()


def test_the_environment_asks_for_traces(milvus: FaultyMilvus, listener: Listener, asking: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's own variable is enough; when the run is over its spans are there."""
    asking.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listener.url)
    run_job(job_of(rows(3), milvus))
    assert {(sent.method, sent.path) for sent in listener.sent} == {("POST", "/v1/traces")}
    body = b"".join(sent.body for sent in listener.sent)
    assert b"connector" in body
    assert b"window" in body


def test_switched_off(milvus: FaultyMilvus, listener: Listener, asking: pytest.MonkeyPatch) -> None:
    """By OpenTelemetry's own variable too."""
    asking.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listener.url)
    asking.setenv("OTEL_TRACES_EXPORTER", "none")
    run_job(job_of(rows(3), milvus))
    assert listener.sent == []


def test_without_the_package(milvus: FaultyMilvus, asking: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A cluster that sets the variable for every program does not stop one that cannot trace; it says so once."""
    asking.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    asking.setitem(sys.modules, "opentelemetry", None)
    for _ in range(2):
        assert run_job(job_of(rows(3), milvus)).exit_code == 0
    assert caplog.text.count("pip install 'connector[otel]'") == 1

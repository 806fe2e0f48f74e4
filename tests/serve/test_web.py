"""What a monitor is told, and who may ask."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest

from connector.errors import ConfigError
from connector.job import Job
from connector.observe import metrics
from connector.report import RunReport
from connector.serve import web
from connector.serve.readiness import Readiness, _problem
from connector.serve.service import Service
from tests.serve.workplace import Workplace, code, wait

Serving = Callable[..., Service]


@pytest.fixture
def page(workplace: Workplace, serving: Serving) -> Iterator[tuple[Service, Readiness, ThreadingHTTPServer]]:
    """A service with one job, and what answers for it; readiness is not started."""
    workplace.job("notes")
    service = serving()
    readiness = Readiness(service.jobs, every=0.05)
    server = web.listen("127.0.0.1", 0, service, readiness)
    yield service, readiness, server
    readiness.end()
    server.shutdown()
    server.server_close()


def get(server: ThreadingHTTPServer, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_alive_and_ready(page: tuple[Service, Readiness, ThreadingHTTPServer], workplace: Workplace) -> None:
    """Ready once somebody has looked at every Milvus, not while one is away or the process stops; alive while it looks after things."""
    service, readiness, server = page
    assert get(server, "/readyz") == (503, "starting\n")
    readiness.start()
    wait(service, lambda: readiness.problems is not None)
    assert get(server, "/readyz") == (200, "ready\n")
    away = workplace.job("away").read_text().replace("uri: notes.db", "uri: http://127.0.0.1:9, retry_deadline: 0.1")
    workplace.put("jobs/away.yaml", away)
    wait(service, lambda: bool(readiness.problems))
    status, body = get(server, "/readyz")
    assert (status, "127.0.0.1:9" in body) == (503, True)
    assert get(server, "/healthz") == (200, "ok\n")
    service.ticked = time.monotonic() - 2 * web.QUIET
    assert get(server, "/healthz")[0] == 503


def test_jobs_are_told(page: tuple[Service, Readiness, ThreadingHTTPServer]) -> None:
    """State, schedule, next start and the latest run of each, as JSON; anything else is not found."""
    service, _, server = page
    wait(service, lambda: code(service, "notes") == 0)
    status, body = get(server, "/jobs?pretty")
    [job] = json.loads(body)["jobs"]
    assert (status, job["job"], job["state"], job["last"]["counts"]["written"]) == (200, "notes", "idle", 2)
    assert job["next_run"] > time.strftime("%Y-%m-%dT%H:%M")
    assert get(server, "/") == (404, "/healthz /readyz /metrics /jobs\n")


def test_metrics(page: tuple[Service, Readiness, ThreadingHTTPServer]) -> None:
    """What is counted in this process is shown."""
    _, _, server = page
    metrics.record(RunReport(run_id="r", job="counted", outcome="ok"))
    status, body = get(server, "/metrics")
    assert (status, 'connector_runs_total{job="counted",outcome="ok"} 1.0' in body) == (200, True)


def test_only_this_machine_unless_it_is_meant() -> None:
    """An address that others can reach needs a word of permission."""
    assert web.address("127.0.0.1:9480", expose=False) == ("127.0.0.1", 9480)
    assert web.address("[::1]:1", expose=False) == ("::1", 1)
    assert web.address("[::]:9480", expose=True) == ("::", 9480)
    with pytest.raises(ConfigError, match="--expose"):
        web.address("0.0.0.0:9480", expose=False)
    for wrong in ("9480x", "host:", "127.0.0.1:70000"):
        with pytest.raises(ConfigError, match="no port"):
            web.address(wrong, expose=False)


def test_a_port_that_is_taken(page: tuple[Service, Readiness, ThreadingHTTPServer]) -> None:
    """Said as such, with what to do."""
    service, readiness, server = page
    with pytest.raises(ConfigError, match=r"in use.*another port"):
        web.listen("127.0.0.1", server.server_address[1], service, readiness)


def test_looking_makes_no_file(workplace: Workplace) -> None:
    """A Milvus Lite file is not opened to see whether it could be."""
    job = Job.from_yaml(workplace.job("notes"))
    assert _problem(job.milvus) == ""
    assert not (workplace.root / "notes.db").exists()
    assert "does not exist" in _problem(job.milvus.model_copy(update={"uri": "nowhere/notes.db"}))

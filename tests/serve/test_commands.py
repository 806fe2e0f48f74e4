"""`connector serve` as a process of its own, and `connector status` for monitors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connector.cli import app
from connector.job import Job
from connector.ledger import file as ledger_file
from connector.ledger.file import LedgerFile
from connector.serve import readiness
from tests.serve.workplace import Workplace

COMMAND = [sys.executable, "-c", "from connector.cli import main; main()"]


def call(*words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def status(*words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `status`."""
    code, out, _ = call("status", *words, "--json")
    return code, json.loads(out)


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits for something that the process does."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, Path("log").read_text()
        time.sleep(0.05)


def started(workplace: Workplace, *words: str) -> subprocess.Popen[str]:
    """A process that serves."""
    command = [*COMMAND, "serve", "jobs", "--listen", "127.0.0.1:0", *words]
    with (workplace.root / "log").open("w") as log:
        return subprocess.Popen(command, cwd=workplace.root, stderr=log, text=True)


def test_a_signal_stops_it_cleanly(workplace: Workplace) -> None:
    """Runs under way end at a safe place, the process with exit code 0; what it did is on stderr and in the ledgers."""
    workplace.job("slow", more="transform: steps:wait")
    process = started(workplace)
    until((workplace.root / "waiting").exists, process)
    process.send_signal(signal.SIGTERM)
    until(lambda: "stopping: slow" in Path("log").read_text(), process)
    (workplace.root / "go").touch()
    assert process.wait(120) == 0, Path("log").read_text()
    assert "slow: every 1 h 0 min, next now" in Path("log").read_text()
    assert status("jobs/slow.yaml")[1]["last_exit_code"] == 143


def test_what_does_not_stop_is_left_behind(workplace: Workplace) -> None:
    """After the grace period the process ends all the same, and says what it left; the next start finishes the work."""
    workplace.job("hang", more="transform: steps:wait")
    process = started(workplace, "--grace", "0.2s")
    until((workplace.root / "waiting").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 4
    assert "left behind: hang" in Path("log").read_text()
    (workplace.root / "go").touch()
    assert call("serve", "jobs", "--once")[0] == 0
    code, document = status("jobs")
    assert (code, [(one["job"], one["last_exit_code"]) for one in document["jobs"]]) == (0, [("hang", 0)])


def test_once(workplace: Workplace) -> None:
    """Runs what is due and ends: with 0, or the highest exit code of a run, or 2 for a broken file; a second time nothing is due."""
    workplace.job("good")
    workplace.job("later", "cron: '0 0 1 1 *'")
    assert call("serve", "jobs", "--once")[0] == 0
    assert [one["last_exit_code"] for one in status("jobs")[1]["jobs"]] == [0, None]
    workplace.job("bad", more="transform: steps:crash")
    assert call("serve", "jobs", "--once")[0] == 1
    workplace.job("bad", "evry: 1h")
    assert call("serve", "jobs", "--once")[0] == 2
    with LedgerFile(Path(".connector/good.db"), lock=False) as ledger:
        assert len(ledger.runs()) == 1


def test_the_environment_is_whole_when_jobs_are_read(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """While pymilvus is imported MILVUS_URI is gone for a moment, so that is done before any thread reads a job that needs it."""
    workplace.put("jobs/one.yaml", workplace.job("one").read_text().replace("milvus: {uri: notes.db}\n", ""))
    monkeypatch.setenv("MILVUS_URI", "environment.db")
    order: list[str] = []
    read, load = Job.from_yaml, readiness.prepare

    def noted_read(path: Path) -> Job:
        order.append("job")
        return read(path)

    def noted_load() -> None:
        order.append("client")
        load()

    monkeypatch.setattr(Job, "from_yaml", noted_read)
    monkeypatch.setattr(readiness, "prepare", noted_load)
    assert call("serve", "jobs", "--once")[0] == 0
    assert order == ["client", "job", "job"]


def test_mistakes_end_with_2(workplace: Workplace) -> None:
    """A folder that is not there, an address that others could reach, a port that is taken."""
    assert call("serve", "nowhere")[0] == 2
    code, _, err = call("serve", "jobs", "--listen", "0.0.0.0:9480")
    assert (code, "--expose" in err) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = call("serve", "jobs", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (code, "in use" in err) == (2, True)


def test_status_of_a_job(workplace: Workplace) -> None:
    """Before any run, after a success and a failure: age and lag count from the last success; exit code 3 when it is old."""
    workplace.job("notes", "every: 2h", more="rejects: {fail_over: 5}")
    code, before = status("jobs/notes.yaml")
    assert (code, before["last_success"], before["runs"], before["next_run"] is not None) == (0, None, [], True)
    assert status("jobs/notes.yaml", "--max-age", "24h")[0] == 3
    workplace.put("notes/bad.txt", "\x00\x01")
    assert call("run", "jobs/notes.yaml")[0] == 0
    code, after = status("jobs/notes.yaml", "--max-age", "24h")
    assert (code, after["stale"], after["last_exit_code"], after["rejects"], after["running"]) == (0, False, 0, 1, "")
    assert 0 <= after["age"] <= after["lag"] < 600
    assert after["next_run"] > after["last_success"]
    time.sleep(0.02)  # all of the above may take less than the age that is too old
    code, out, _ = call("status", "jobs/notes.yaml", "--max-age", "0.01s")
    assert (code, out.startswith("notes: STALE, last success ")) == (3, True)
    assert call("run", "jobs/notes.yaml", "--limit", "1")[0] == 0
    assert status("jobs/notes.yaml")[1]["last_success"] == after["last_success"], "a part of the source says nothing of the rest"
    workplace.job("notes", "every: 2h", more="transform: steps:nothing")
    assert call("run", "jobs/notes.yaml")[0] == 2
    assert status("jobs/notes.yaml")[1]["last_success"] == after["last_success"]
    workplace.job("notes", "every: 2h")
    assert call("run", "jobs/notes.yaml")[0] == 3
    first, latest, why, *_ = call("status", "jobs/notes.yaml")[1].splitlines()
    assert (first.startswith("notes: "), "  exit 3  notes" in latest) == (True, True)
    assert "rejected" in why, "why it failed stands below"


def test_status_of_a_folder(workplace: Workplace) -> None:
    """Every job in a line; a broken file is exit code 2, a stale job 3; the ledgers are only read, also while a run holds them."""
    workplace.job("one")
    workplace.job("two", None)
    assert call("run", "jobs/one.yaml")[0] == 0
    with LedgerFile(Path(".connector/one.db")):
        code, document = status("jobs", "--max-age", "1h")
    one, two = document["jobs"]
    assert (code, one["stale"], two["stale"]) == (3, False, True)
    assert f"pid {os.getpid()} on " in one["running"]
    assert (one["next_run"] is None, two["next_run"]) == (False, None)
    workplace.put("jobs/three.yaml", "job: three\n")
    code, out, _ = call("status", "jobs")
    assert code == 2
    assert [line.split(":")[0] for line in out.splitlines()] == ["one", "two", "broken"]
    assert not (workplace.root / ".connector/two.db").exists()


def test_runs_do_not_fill_the_disk(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger remembers a thousand runs (here ten), and the last success however long ago it was."""
    monkeypatch.setattr(ledger_file, "KEPT_RUNS", 10)
    workplace.job("notes")
    assert call("run", "jobs/notes.yaml")[0] == 0
    with LedgerFile(Path(".connector/notes.db")) as ledger:
        ledger._scope, success = ledger._rows("SELECT scope, id FROM run")[0]
        for number in range(30):
            ledger.start(f"r{number}")
        kept = [run["id"] for run in ledger.runs(5000)]
        assert kept == [*(f"r{number}" for number in range(29, 19, -1)), success]

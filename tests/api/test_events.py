"""A job that runs itself: events in order, several at once in threads, nothing touched that is the caller's."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import threading
from pathlib import Path

import pytest

import connector
from connector.errors import ConfigError, Locked
from connector.ledger.file import LedgerFile
from tests.workfolder import JOB, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """One with three notes, and two more jobs on the same collection."""
    folder = Folder(tmp_path)
    for name in "abc":
        folder.put(f"notes/{name}.txt", f"about {name}")
        folder.put(f"{name}.yaml", JOB.replace("job: notes", f"job: {name}"))
    return folder


def test_events_in_order(folder: Folder) -> None:
    """Started, windows committed, finished; each frozen; the report is the one that is returned and kept in the ledger."""
    seen: list[connector.Event] = []
    report = connector.Job.from_yaml("job.yaml").run(on_event=seen.append)
    assert [type(one) for one in seen] == [connector.RunStarted, connector.WindowCommitted, connector.RunFinished]
    assert {one.run_id for one in seen} == {report.run_id}
    started, committed, finished = seen
    assert isinstance(committed, connector.WindowCommitted)
    assert (committed.counts.written, committed.rows.upserted) == (3, 3)
    assert isinstance(finished, connector.RunFinished)
    assert finished.report is report
    with pytest.raises(dataclasses.FrozenInstanceError):
        started.job = "other"  # type: ignore[misc]  # that is the point


def test_notes_are_events(folder: Folder) -> None:
    """What the report notes is told too: here that the vector cache cannot be used."""
    (folder.root / ".connector").mkdir()
    (folder.root / ".connector/vectors.db").mkdir()
    seen: list[connector.Event] = []
    report = connector.Job.from_yaml("job.yaml").run(on_event=seen.append)
    assert [one.text for one in seen if isinstance(one, connector.Note)] == report.notes
    assert len(report.notes) == 1


def test_a_run_that_fails_is_finished_too(folder: Folder) -> None:
    """The last event carries the exit code, and the error is raised; a run that could not even load what it names has only that event."""
    seen: list[connector.Event] = []
    folder.put("notes/a.txt", "a")
    job = connector.Job.from_yaml("job.yaml")
    with LedgerFile(job.state_path), pytest.raises(Locked):
        job.run(on_event=seen.append)
    assert [type(one) for one in seen] == [connector.RunStarted, connector.RunFinished]
    assert isinstance(last := seen.pop(), connector.RunFinished)
    assert last.report.exit_code == Locked.exit_code
    folder.put("schema.py", "x = 1\n")
    with pytest.raises(ConfigError):
        job.run(on_event=seen.append)
    assert [type(one) for one in seen[1:]] == [connector.RunFinished]


def test_an_error_of_the_callers_own(folder: Folder) -> None:
    """Raised by `on_event` after a commit: it ends the run there, reaches the caller, and the next run goes on."""

    def enough(event: connector.Event) -> None:
        if isinstance(event, connector.WindowCommitted):
            raise KeyError("enough")

    job = connector.Job.from_yaml("job.yaml")
    with pytest.raises(KeyError, match="enough"):
        job.run(on_event=enough)
    assert job.run().counts.unchanged == 3


def test_several_at_once_from_async_code(folder: Folder) -> None:
    """Different jobs on one collection, each in a thread; signals, logging and warnings are left as they were."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    level, outputs = logging.getLogger().level, list(logging.getLogger().handlers)
    threads: set[str] = set()

    async def all_of_them() -> list[connector.RunReport]:
        jobs = [connector.Job.from_yaml(f"{name}.yaml") for name in "abc"]
        return await asyncio.gather(*(asyncio.to_thread(job.run, lambda _: threads.add(threading.current_thread().name)) for job in jobs))

    assert connector.Job.from_yaml("job.yaml").run().exit_code == 0
    reports = asyncio.run(all_of_them())
    assert [(one.job, one.exit_code, one.counts.written) for one in reports] == [(name, 0, 3) for name in "abc"]
    assert len(threads) == 3
    assert threading.current_thread().name not in threads
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert (logging.getLogger().level, logging.getLogger().handlers) == (level, outputs)


def test_such_a_job_goes_everywhere(folder: Folder) -> None:
    """What takes a job takes it; its report shows itself in a notebook, with all of it escaped."""
    job = connector.Job.from_yaml("job.yaml")
    report = connector.run(job)
    assert connector.verify(job).exit_code == 0
    assert connector.rejects(job) == []
    report.notes.append("<script>alert(1)</script>")
    html = report._repr_html_()
    assert "<th>written</th>" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html

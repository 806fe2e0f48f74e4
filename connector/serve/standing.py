"""How a job stands, from its ledger alone: when it last succeeded, how far the collection may lag behind, what was rejected, what is next.

Nothing is opened but the ledger, and that only to read, so a monitor can ask while a run is under way and while Milvus is down.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from connector.durations import words_of
from connector.job import Job
from connector.ledger.file import LedgerFile, running
from connector.ledger.rejects import stored_rejects

AGAIN = frozenset({4, 5, 130, 143})
"""Exit codes of runs that did not come to their end and want to be tried again."""


class Standing(BaseModel):
    """How a job stands.

    Attributes:
        job: Its name.
        last_success: When the latest run over the whole source that ended with exit code 0 ended, ISO 8601; None: there is none.
        age: Seconds since then.
        lag: Seconds since that run began: what changed in the source since may not be in the collection.
        last_exit_code: Of the latest run; None: it did not end by itself, or is under way.
        rejects: Entries in the reject store.
        running: Who holds the lock; "": nobody.
        next_run: When `connector serve` would start it next, ISO 8601; None without a schedule.
        stale: Whether the last success is older than was asked for.
        exit_code: 0, or 3 when stale.
    """

    job: str
    last_success: str | None = None
    age: float | None = None
    lag: float | None = None
    last_exit_code: int | None = None
    rejects: int = 0
    running: str = ""
    next_run: str | None = None
    stale: bool = False
    exit_code: int = 0

    @classmethod
    def of(cls, job: Job, max_age: float | None = None) -> Standing:
        """Asks the ledger; with `max_age` seconds, a last success that is older makes it stale, and so does none.

        Raises:
            ConfigError: The ledger cannot be read.
        """
        with LedgerFile(job.state_path, lock=False, read_only=True) as ledger:
            last, success = ledger.latest_run(job.scope), ledger.good_run(job.job)
        now = time.time()
        began, ended = success or (None, None)
        age = None if ended is None else now - ended
        stale = max_age is not None and (age is None or age > max_age)
        return cls(
            job=job.job,
            last_success=None if ended is None else _iso(ended),
            age=age,
            lag=None if began is None else now - began,
            last_exit_code=last["exit_code"] if last else None,
            rejects=len(stored_rejects(job.state_path, job.scope)),
            running=running(job.state_path) if job.state_path.parent.exists() else "",
            next_run=_iso(start.timestamp()) if (start := next_start(job, last, now)) else None,
            stale=stale,
            exit_code=3 if stale else 0,
        )

    def __str__(self) -> str:
        success = f"last success {words_of(self.age)} ago" if self.age is not None else "no success yet"
        lag = f", lag {words_of(self.lag)}" if self.lag is not None else ""
        further = [f"{self.rejects:,} rejects"] if self.rejects else []
        further += [f"running: {self.running}"] if self.running else []
        further += [f"next {self.next_run}"] if self.next_run else []
        return "; ".join([f"{self.job}: {'STALE, ' if self.stale else ''}{success}{lag}", *further])


def latest_run(job: Job) -> dict[str, Any] | None:
    """The latest run of a job, as a row of the ledger.

    Raises:
        ConfigError: The ledger cannot be read.
    """
    with LedgerFile(job.state_path, lock=False, read_only=True) as ledger:
        return ledger.latest_run(job.scope)


def next_start(job: Job, last: dict[str, Any] | None, now: float) -> datetime | None:
    """When a job is to start next, which may be in the past: then it is due; None: never.

    A run that did not come to its end is due again. One that never ran begins at once with `every`, and waits for its time with `cron`.
    """
    schedule, moment = job.schedule, datetime.fromtimestamp(now, UTC)
    if schedule is None:
        return None
    if last is None:
        return moment if schedule.every is not None else schedule.next_after(moment)
    began = datetime.fromtimestamp(last["started"], UTC)
    if last["exit_code"] is None or last["exit_code"] in AGAIN:
        return began
    due = schedule.next_after(began)
    if due is not None and due <= moment and schedule.missed == "skip":
        return _later(job, began, moment)
    return due


def _later(job: Job, began: datetime, moment: datetime) -> datetime | None:
    """The first start after this moment, those before it being skipped; intervals keep counting from where they began."""
    schedule = job.schedule
    if schedule is None or schedule.every is None:
        return schedule.next_after(moment) if schedule else None
    passed = (moment - began).total_seconds() // schedule.every
    return datetime.fromtimestamp(began.timestamp() + (passed + 1) * schedule.every, UTC)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")

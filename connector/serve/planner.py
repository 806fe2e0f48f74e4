"""Calls a job when it is due, by its schedule and by what its ledger says of the time before this process; the user of APScheduler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from connector.durations import words_of
from connector.job import Job
from connector.serve.standing import next_start

log = logging.getLogger(__name__)

LATE = 60
"""Seconds that a start may be late before the job's rule for missed runs decides."""

_MOST = 16
"""How many times the first wait a run waits at most until it is tried again."""


class Planner:
    """The times of all jobs.

    Args:
        call: Called with a job's name when it is due, in a thread of the scheduler.
        retry: Seconds until a run that could not come to its end is tried again.
    """

    def __init__(self, call: Callable[[str], None], retry: float) -> None:
        self._call, self._retry = call, retry
        self._scheduler = BackgroundScheduler(timezone=UTC, daemon=True)

    @property
    def running(self) -> bool:
        """Whether it calls."""
        return bool(self._scheduler.running)

    def start(self) -> None:
        """Begins to call."""
        self._scheduler.start()

    def end(self) -> None:
        """Calls nobody any more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def place(self, name: str, job: Job, last: dict[str, Any] | None) -> bool:
        """Plans a job anew, after its latest run `last`; whether it is due now."""
        self.remove(name)
        schedule, now = job.schedule, datetime.now(UTC)
        begin = next_start(job, last, now.timestamp())
        if schedule is None or begin is None:
            if schedule is not None:
                log.warning("%s: %s never comes", name, schedule)
            return False
        due = begin <= now
        anchor = now + timedelta(seconds=schedule.every or 0) if due else begin
        grace = LATE if schedule.missed == "skip" else None
        options: dict[str, Any] = {"coalesce": True, "misfire_grace_time": grace, "max_instances": 1}
        self._scheduler.add_job(self._call, schedule.trigger(anchor), args=[name], id=name, **options)
        log.info("%s: %s, next %s", name, schedule, "now" if due else begin.astimezone().isoformat(timespec="seconds"))
        return due

    def again(self, name: str, tries: int) -> None:
        """Calls once more, soon: a run that could not come to its end does not wait for the next night."""
        if not self._scheduler.running:
            return
        wait = self._retry * min(2 ** (tries - 1), _MOST)
        log.info("%s: again in %s", name, words_of(wait))
        options: dict[str, Any] = {
            "replace_existing": True,
            "misfire_grace_time": None,
            "run_date": datetime.now(UTC) + timedelta(seconds=wait),
        }
        self._scheduler.add_job(self._call, "date", args=[name], id=_second(name), **options)

    def remove(self, name: str) -> None:
        """Forgets a job."""
        for number in (name, _second(name)):
            if self._scheduler.get_job(number):
                self._scheduler.remove_job(number)

    def next(self, name: str) -> str | None:
        """When it is called next, ISO 8601; None: never."""
        planned = [self._scheduler.get_job(number) for number in (name, _second(name))]
        times = [time for one in planned if one is not None and (time := getattr(one, "next_run_time", None))]
        return min(times).astimezone().isoformat(timespec="seconds") if times else None


def _second(name: str) -> str:
    return f"again: {name}"  # no job's name has a space

"""Decides what runs when: takes in the job files, starts what is due in order of priority, and looks after what runs.

A job that is due waits for one of a few places, the highest priority first; it is never started while it runs, and starts that came
meanwhile are made up for by one. What hangs gives its place back.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.durations import words_of
from connector.errors import ConfigError, Interrupted, OutOfTime
from connector.job import Job
from connector.observe import metrics
from connector.report import RunReport
from connector.serve.entries import Entry, Table
from connector.serve.folder import Folder, Found
from connector.serve.planner import Planner
from connector.serve.runs import Hall, Outcome, Run, Runner
from connector.serve.standing import AGAIN, latest_run
from connector.serve.warm import WarmEncoders

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a process serves.

    Attributes:
        places: Runs at a time.
        keep_warm: Seconds that a model stays loaded when nobody uses it.
        look: Seconds between two looks at the job files.
        patience: Seconds that a run which was asked to stop for hanging gets before it is given up.
        retry: Seconds until a run that could not come to its end is tried again; doubled each time, up to sixteen times that.
    """

    places: int = 4
    keep_warm: float = 600.0
    look: float = 2.0
    patience: float = 60.0
    retry: float = 60.0


class Service:
    """Runs jobs on their schedules. `start` it, then call `tick` all the time; or `load` it, and what is due now is run once.

    Args:
        paths: Job files, and folders of them.
        run: Runs a job: `commands.running.run_job`.
        settings: How.

    Attributes:
        loaded: Whether the job files were read.
        ticked: When `tick` was last done, by the monotonic clock.
        worst: The highest exit code of any run.

    Raises:
        ConfigError: A path does not exist.
    """

    def __init__(self, paths: Sequence[Path], run: Runner, settings: ServeSettings | None = None) -> None:
        self.settings = settings or ServeSettings()
        self._hall = Hall(run, WarmEncoders(self.settings.keep_warm))
        self.loaded, self.stopping, self.worst = False, False, 0
        self.ticked = time.monotonic()
        self._folder = Folder(paths)
        self._planner = Planner(self.due, self.settings.retry)
        self._table = Table()
        self._looked = 0.0

    def start(self) -> None:
        """Takes in the job files and begins to start what is due."""
        self._planner.start()
        self.load()

    def load(self) -> None:
        """Takes in the job files as they are now, and starts what is due now."""
        self._reload(first=True)
        self.loaded = True

    def tick(self) -> None:
        """What is to be done again and again: looks at files, runs and models. Called every half second or so."""
        self._hall.modules.look()
        if self._planner.running and time.monotonic() - self._looked >= self.settings.look:
            self._reload()
        self._watch()
        self._hall.warm.free()
        self.ticked = time.monotonic()

    # Job files

    def _reload(self, *, first: bool = False) -> None:
        found = self._folder.look(first=first)
        self._looked = time.monotonic()
        with self._table.lock:
            wanted = self._accepted(found)
            for name in self._table.jobs.keys() - wanted.keys():
                self._remove(name)
            for name, one in wanted.items():
                entry = self._table.jobs.get(name)
                if entry is None or entry.leaving or entry.found != one:
                    self._put(name, one)

    def _accepted(self, found: Sequence[Found]) -> dict[str, Found]:
        """One file a name: the one that has it already, else the first; later ones are refused, and both are named."""
        wanted: dict[str, Found] = {}
        broken = {one.path: one.problem for one in found if one.job is None}
        known = {entry.found.path for entry in self._table.jobs.values()}
        for one in sorted(found, key=lambda one: (one.path not in known, one.path)):
            if one.job is not None:
                first = wanted.setdefault(one.job.job, one)
                if first is not one:
                    broken[one.path] = f"{one.path}: the name `{one.job.job}` is that of {first.path}; give this job another name"
        for path, problem in broken.items():
            if self._table.broken.get(path) != problem:
                log.error("%s", problem)
        self._table.broken = broken
        return wanted

    def _remove(self, name: str) -> None:
        """A run that is under way finishes, and its entry goes with it."""
        entry = self._table.jobs[name]
        self._planner.remove(name)
        entry.queued = None
        if entry.run is not None:
            entry.leaving = True
            return
        del self._table.jobs[name]
        log.info("%s: no longer served", name)

    def _put(self, name: str, found: Found) -> None:
        """Takes a new or changed file; a run that is under way finishes with the old one."""
        entry = self._table.jobs.setdefault(name, Entry(found))
        entry.found, entry.leaving = found, False
        if found.job is not None and self._planner.place(name, found.job, entry.latest() or _from_ledger(found.job)):
            self.due(name)

    # Starting

    def due(self, name: str) -> None:
        """Puts a job in line; while it runs or hangs, it is noted instead that it is to run again."""
        with self._table.lock:
            entry = self._table.jobs.get(name)
            if entry is None or entry.leaving or self.stopping:
                return
            if entry.run is not None:
                entry.again = entry.makes_up
            elif entry.queued is None:
                entry.queued = time.monotonic()
            self._admit()

    def _admit(self) -> None:
        """Starts what waits, as far as there are places."""
        entries = self._table.jobs.values()
        while not self.stopping and sum(entry.busy for entry in entries) < self.settings.places:
            waiting = [entry for entry in entries if entry.queued is not None]
            if not waiting:
                return
            entry = min(waiting, key=lambda one: (-one.priority, one.queued))
            entry.queued = None
            entry.run = Run(entry.found, self._hall, self._ended)
            entry.run.start()

    def _ended(self, run: Run, outcome: Outcome) -> None:
        """Called in the run's thread."""
        name, report = run.job.job, outcome.report
        _tell(name, report)
        with self._table.lock:
            entry = self._table.jobs[name]
            again = entry.again
            entry.run, entry.last, entry.asked, entry.hung, entry.again = None, outcome, None, False, False
            entry.tries = entry.tries + 1 if report.exit_code in AGAIN else 0
            self.worst = max(self.worst, report.exit_code)
            if entry.leaving:
                self._remove(name)
            elif again:
                entry.queued = time.monotonic()
            elif entry.tries and not self.stopping:
                self._planner.again(name, entry.tries)
            self._admit()

    # Looking after

    def _watch(self) -> None:
        """Asks runs that show no sign of life to stop, and gives up those that do not."""
        with self._table.lock:
            for name, entry in self._table.jobs.items():
                if entry.run is not None and not entry.hung:
                    self._look_after(name, entry, entry.run)
            self._admit()

    def _look_after(self, name: str, entry: Entry, run: Run) -> None:
        now, limit = time.monotonic(), run.job.schedule.hang_limit if run.job.schedule else None
        if limit is None:
            return
        if entry.asked is None and run.silent() >= limit:
            why = f"no sign of life for {words_of(limit)} (schedule.hang_limit)"
            log.error("%s: %s; asked to stop", name, why)
            run.stop.ask(OutOfTime(why, hint="look at what it waits for; the next run goes on from there"))
            entry.asked = now
        elif entry.asked is not None and now - entry.asked >= self.settings.patience:
            log.error("%s: hangs and does not stop; the others go on, this one not before it ends or the process is restarted", name)
            entry.hung = True
            self._hall.warm.give_up(run.owner)

    # Ending

    def busy(self) -> list[str]:
        """The jobs that wait or run, without those that hang."""
        with self._table.lock:
            return [name for name, one in self._table.jobs.items() if one.queued is not None or one.busy]

    def alive(self) -> list[str]:
        """The jobs with a run that has not ended, hanging or not."""
        with self._table.lock:
            return [name for name, one in self._table.jobs.items() if one.run is not None]

    def stop(self) -> None:
        """Starts nothing any more and asks every run to end at a safe place."""
        with self._table.lock:
            self.stopping = True
            for entry in self._table.jobs.values():
                entry.queued = None
                if entry.run is not None:
                    entry.run.stop.ask(Interrupted(signal.SIGTERM))
        self._planner.end()

    # Looking

    def jobs(self) -> list[Job]:
        """The jobs that are served."""
        with self._table.lock:
            return [entry.found.job for entry in self._table.jobs.values() if entry.found.job]

    def document(self) -> dict[str, Any]:
        """The state of everything, as JSON values."""
        with self._table.lock:
            jobs = [entry.document(name, self._planner.next(name)) for name, entry in sorted(self._table.jobs.items())]
            broken = [{"file": str(path), "problem": problem} for path, problem in sorted(self._table.broken.items())]
        return {"jobs": jobs, "broken": broken, "models": self._hall.warm.names, "stopping": self.stopping}


def _from_ledger(job: Job) -> dict[str, Any] | None:
    """The latest run, of whichever process; a ledger that cannot be read is for the run to report."""
    try:
        return latest_run(job)
    except ConfigError as error:
        log.warning("%s: %s", job.job, error)
        return None


def _tell(name: str, report: RunReport) -> None:
    """Says and counts how a run ended."""
    tell = log.info if report.exit_code in {0, 143} else log.error
    tell("%s: exit %d  %s", name, report.exit_code, report.message or str(report).splitlines()[0])
    metrics.record(report)

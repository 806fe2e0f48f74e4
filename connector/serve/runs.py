"""One run of a job in a thread of its own: whatever happens in it stays in it, and becomes an outcome."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from connector.errors import ConnectorError, exit_code
from connector.interfaces import Encoder
from connector.job import Job
from connector.report import RunReport
from connector.schema.spec import VectorFieldSpec
from connector.serve.folder import Found, fresh
from connector.serve.modules import UserModules
from connector.serve.turnstile import Owner
from connector.serve.warm import WarmEncoders
from connector.stations import Monitor, Options
from connector.stopping import Stop

log = logging.getLogger(__name__)

_LOADING = threading.Lock()
"""Held while a run loads what its job names: modules must not be forgotten while they are imported."""

_LOADING_WAIT = 30.0
"""Seconds that a run waits for another's code to be imported; one that hangs there keeps nobody from running."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        report: What it came to; made up where the run did not get so far as to begin one.
        started: Seconds since 1970.
        finished: The same.
    """

    report: RunReport
    started: float
    finished: float

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        kept = {"run_id", "exit_code", "message", "counts", "rows", "encoded", "seconds"}
        return {**self.report.model_dump(include=kept), "started": self.started, "finished": self.finished}


class Runner(Protocol):
    """What runs a job: `commands.running.run_job`."""

    def __call__(
        self, job: Job, options: Options, stop: Stop, /, *, on_begin: Callable[[Monitor], None], make: Callable[[VectorFieldSpec], Encoder]
    ) -> RunReport:
        """As `commands.running.run_job`."""


@dataclass(frozen=True, slots=True)
class Hall:
    """What the runs of a process share.

    Attributes:
        run: Runs a job.
        warm: The loaded models.
        modules: The user's modules.
    """

    run: Runner
    warm: WarmEncoders
    modules: UserModules = field(default_factory=UserModules)


class Run:
    """A run under way.

    Args:
        found: The job and its file.
        hall: What it shares with the others.
        ended: Called in the run's thread, last.
    """

    def __init__(self, found: Found, hall: Hall, ended: Callable[[Run, Outcome], None]) -> None:
        assert found.job is not None  # noqa: S101 - broken files are not run
        self.job: Job = found.job
        self.stop = Stop()
        self.owner = Owner(self.job.schedule.priority if self.job.schedule else 0, self.stop)
        self.started = time.time()
        self._found, self._hall, self._ended = found, hall, ended
        self._monitor: Monitor | None = None
        self._life: object = None
        self._alive = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"run {self.job.job}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def report(self) -> RunReport | None:
        """What it came to so far; None while it is loading what its job names."""
        return self._monitor.report if self._monitor else None

    def silent(self) -> float:
        """Seconds since anything was last seen to change in it."""
        life = repr((self.report, self._monitor.watch.seconds)) if self._monitor else None
        if life != self._life:
            self._life, self._alive = life, time.monotonic()
        return time.monotonic() - self._alive

    def _work(self) -> None:
        try:
            report = self._run()
        except BaseException as error:  # noqa: BLE001 - nothing that a job does may end the process
            report = self._failed(error)
        self._ended(self, Outcome(report, self.started, time.time()))

    def _run(self) -> RunReport:
        with contextlib.ExitStack() as loading:
            if _LOADING.acquire(timeout=_LOADING_WAIT):
                loading.callback(_LOADING.release)
                changed = self._hall.modules.forget_changed()
                if changed:
                    log.info("%s changed: imported anew", ", ".join(changed))
            job = fresh(self._found)

            def began(monitor: Monitor) -> None:
                self._monitor = monitor
                self._hall.modules.look()
                loading.close()

            limit = job.schedule.time_limit if job.schedule else None
            return self._hall.run(job, Options(time_limit=limit), self.stop, on_begin=began, make=self._hall.warm.maker(self.owner))

    def _failed(self, error: BaseException) -> RunReport:
        report: RunReport | None = getattr(error, "report", None)
        begun = report or self.report or RunReport(run_id=f"unbegun-{os.urandom(6).hex()}", job=self.job.job)
        begun.end(error)
        if isinstance(error, ConnectorError):
            return begun.model_copy(update={"exit_code": exit_code(error), "message": str(error)})
        log.error("%s: %s", self.job.job, type(error).__name__, exc_info=error)
        return begun.model_copy(update={"exit_code": ConnectorError.exit_code, "message": f"{type(error).__name__}: {error}"})

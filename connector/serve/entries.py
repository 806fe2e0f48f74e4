"""What is known of each job that is served, and how it is shown."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.serve.folder import Found
from connector.serve.runs import Outcome, Run


@dataclass(slots=True)
class Entry:
    """A job that is served.

    Attributes:
        found: Its file.
        leaving: Its file is gone or broken: the run under way is the last.
        run: The run under way.
        queued: Since when it waits for a place; None: it does not.
        again: A start came while it ran.
        asked: Since when the run is asked to stop for hanging.
        hung: The run did not stop; it has given its place back.
        last: How the latest run ended.
        tries: Runs in a row that did not come to their end.
    """

    found: Found
    leaving: bool = False
    run: Run | None = None
    queued: float | None = None
    again: bool = False
    asked: float | None = None
    hung: bool = False
    last: Outcome | None = None
    tries: int = 0

    @property
    def priority(self) -> int:
        """The job's."""
        return self.found.job.schedule.priority if self.found.job and self.found.job.schedule else 0

    @property
    def busy(self) -> bool:
        """Whether its run takes a place."""
        return self.run is not None and not self.hung

    @property
    def makes_up(self) -> bool:
        """Whether a start that it misses is made up for."""
        return self.found.job is None or self.found.job.schedule is None or self.found.job.schedule.missed == "run"

    @property
    def state(self) -> str:
        """In one word: running, hung, queued, idle, or unscheduled."""
        if self.run is not None:
            return "hung" if self.hung else "running"
        if self.queued is not None:
            return "queued"
        return "idle" if self.found.job and self.found.job.schedule else "unscheduled"

    def latest(self) -> dict[str, Any] | None:
        """The latest run that this process knows, as the ledger has it."""
        if self.run is not None:
            return {"started": self.run.started, "exit_code": 0}
        if self.last is not None:
            return {"started": self.last.started, "exit_code": self.last.report.exit_code}
        return None

    def document(self, name: str, next_run: str | None) -> dict[str, Any]:
        """As JSON values."""
        schedule = self.found.job.schedule if self.found.job else None
        report = self.run.report if self.run else None
        so_far = report.model_dump(include={"run_id", "counts", "rows"}) if report else {}
        return {
            "job": name,
            "file": str(self.found.path),
            "state": self.state,
            "schedule": str(schedule) if schedule else None,
            "priority": self.priority,
            "next_run": next_run,
            "running": {"since": self.run.started, **so_far} if self.run else None,
            "last": self.last.document() if self.last else None,
            "tries": self.tries,
        }


@dataclass(slots=True)
class Table:
    """Entries by name, and files that are none with the reason, under one lock."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    jobs: dict[str, Entry] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)

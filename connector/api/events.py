"""What happens in a run, as values that never change: a run starts, commits windows, notes things, and finishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from connector.report import Counts, RowCounts, RunReport


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Everything that the job names is loaded; the run begins.

    Attributes:
        job: The job's name.
        run_id: Unique, sorts by time.
    """

    job: str
    run_id: str


@dataclass(frozen=True, slots=True)
class WindowCommitted:
    """A window is in Milvus and in the ledger.

    Attributes:
        job: The job's name.
        run_id: Of the run.
        counts: Documents of the run so far.
        rows: Rows of the run so far.
    """

    job: str
    run_id: str
    counts: Counts
    rows: RowCounts


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is to be known, and does not end the run.

    Attributes:
        job: The job's name.
        run_id: Of the run.
        text: What.
    """

    job: str
    run_id: str
    text: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run has ended, well or not: `report.exit_code` says which. The last event.

    Attributes:
        job: The job's name.
        run_id: Of the run.
        report: What it came to.
    """

    job: str
    run_id: str
    report: RunReport


Event: TypeAlias = RunStarted | WindowCommitted | Note | RunFinished


class Teller:
    """Turns a run's report, looked at again and again, into events.

    Args:
        tell: Called with each, in the run's thread.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._told = 0

    def started(self, report: RunReport) -> None:
        """The run begins."""
        self._tell(RunStarted(report.job, report.run_id))

    def committed(self, report: RunReport) -> None:
        """A window is committed."""
        self._notes(report)
        self._tell(WindowCommitted(report.job, report.run_id, report.counts.model_copy(), report.rows.model_copy()))

    def finished(self, report: RunReport) -> None:
        """The run has ended."""
        self._notes(report)
        self._tell(RunFinished(report.job, report.run_id, report))

    def _notes(self, report: RunReport) -> None:
        new = report.notes[self._told :]
        self._told = len(report.notes)
        for text in new:
            self._tell(Note(report.job, report.run_id, text))

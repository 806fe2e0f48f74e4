"""Brings a run's report up to date at any moment: after a window for metrics, several times a second for a progress bar."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Protocol

from connector.report import RunReport
from connector.retry import Attempts
from connector.stopwatch import Stopwatch


class Counters(Protocol):
    """What ENCODE counts; see `microbatches.EncodingCounters`."""

    @property
    def encoded(self) -> int:
        """Inputs that went through a model."""

    @property
    def reused(self) -> int:
        """Inputs whose vectors were known."""

    @property
    def truncated(self) -> int:
        """Inputs longer than the model reads."""

    @property
    def forwards(self) -> int:
        """Micro-batches."""

    @property
    def padding(self) -> float:
        """Share that was padding."""

    @property
    def fill(self) -> float:
        """How full the micro-batches were."""

    @property
    def startup_s(self) -> float:
        """Seconds of loading models."""


@dataclass(slots=True)
class Live:
    """A run under way; call it for its report. Any thread may, also in the middle of a window.

    Attributes:
        report: What the stations fill.
        watch: What they time.
        attempts: What had to be tried again.
        begun: When the run began, by `time.perf_counter`.
        ready_s: Seconds until its stations were built.
        counters: Of ENCODE; None before it is built.
    """

    report: RunReport
    watch: Stopwatch
    attempts: Attempts = field(default_factory=Attempts)
    begun: float = field(default_factory=time.perf_counter)
    ready_s: float | None = None
    counters: Counters | None = None

    def __call__(self) -> RunReport:
        """The report as it is now."""
        report, measured, nbytes = self.report, self.report.measured, self.watch.nbytes
        report.seconds = round(time.perf_counter() - self.begun, 3)
        report.stations = {name: round(seconds, 3) for name, seconds in self.watch.seconds.items()}
        measured.nbytes = nbytes
        measured.in_flight_bytes = nbytes.get("window", 0) - nbytes.get("commit", 0)
        measured.retries, measured.throttled = self.attempts.repeated, self.attempts.throttled
        if self.counters is not None:
            self._encoded(self.counters)
        return report

    def _encoded(self, counters: Counters) -> None:
        report, measured = self.report, self.report.measured
        report.encoded, report.reused, report.truncated = counters.encoded, counters.reused, counters.truncated
        report.startup_s = round((self.ready_s or 0.0) + counters.startup_s, 3)
        if counters.forwards:
            measured.batch_fill, measured.padding = round(counters.fill, 4), round(counters.padding, 4)
            wall = max(report.seconds - report.startup_s, 0.001)
            measured.encoder_busy = round(min(1.0, report.stations.get("encode", 0.0) / wall), 4)


def window_committed(live: Live) -> None:
    """Shows a run's values to whoever serves metrics in this process; where nobody does, nothing is loaded for it."""
    metrics = sys.modules.get("connector.observe.metrics")
    if metrics is not None:
        metrics.live(live())

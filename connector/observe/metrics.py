"""Counts what runs came to, for Prometheus: the numbers of their reports, and nothing that was not measured.

The numbers of a run that is under way grow with every committed window; a counter goes up by what is new since the last look, so the same
report may be shown any number of times. The registry is our own: what else a process measures stays its own affair.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from connector.report import Outcome, RunReport

COUNTERS = {
    "connector_runs_total": ("outcome", "Runs that ended, by how: ok, rejects, failed, stopped, locked."),
    "connector_documents_total": ("outcome", "Documents listed, by what became of them: unchanged, written, empty, rejected, deferred."),
    "connector_rows_total": ("action", "Rows upserted, deleted and rejected, and inputs encoded and reused."),
    "connector_bytes_total": ("station", "Bytes that a station handled: read, window, encode, write, commit."),
    "connector_station_seconds_total": ("station", "Seconds of work of a station; stations overlap."),
    "connector_retries_total": ("", "Requests that were sent again."),
    "connector_throttled_total": ("", "Requests that were refused because they came too fast."),
    "connector_deletes_total": ("", "Documents whose rows were deleted because they vanished."),
}
"""Counters: the label beside `job`, and what they count."""

GAUGES = {
    "connector_encoder_busy_ratio": "Share of the latest run, start-up aside, in which the encoder was at work.",
    "connector_batch_fill_ratio": "How full the micro-batches of the latest run were, padding included.",
    "connector_padding_ratio": "Share of what the model computed in the latest run that was padding.",
    "connector_in_flight_bytes": "Memory of the windows that are made and not committed, now.",
    "connector_rejects": "Documents that the latest whole run could not write.",
    "connector_lag_seconds": "How far the collection is behind: seconds since the latest good whole run began.",
    "connector_last_success_timestamp_seconds": "When the latest good whole run ended, Unix time.",
}
SECONDS = "connector_run_seconds"
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of `exposition()`, over HTTP."""

NAMES: frozenset[str] = frozenset({*COUNTERS, *GAUGES, SECONDS})
"""Every metric."""

BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)
"""Upper bounds of `connector_run_seconds`."""

_DOCUMENTS = ("unchanged", "written", "empty", "rejected", "deferred")

Series = tuple[str, str]
"""A metric and the value of its label beside `job`, or ""."""


@dataclass(slots=True)
class _Job:
    """What is known of one job.

    Attributes:
        counters: So far.
        gauges: By metric.
        in_step_at: See `RunReport`.
        seconds: Of its runs: how many fell into each bucket and beyond, not added up.
        total_seconds: Of all its runs.
        run_id: Of the run that was shown last.
        shown: What was counted of it.
        ended: Whether it was counted to its end.
    """

    counters: defaultdict[Series, float] = field(default_factory=lambda: defaultdict(float))
    gauges: dict[str, float] = field(default_factory=dict)
    in_step_at: float | None = None
    seconds: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total_seconds: float = 0.0
    run_id: str = ""
    shown: dict[Series, float] = field(default_factory=dict)
    ended: bool = False

    def show(self, report: RunReport) -> None:
        """Counts what is new in the report of a run."""
        if report.run_id != self.run_id:
            self.run_id, self.shown, self.ended = report.run_id, {}, False
        now = dict(_counted(report))
        for series, value in now.items():
            self.counters[series] += max(0.0, value - self.shown.get(series, 0.0))
        self.shown = now
        measured = report.measured
        ratios = {"encoder_busy": measured.encoder_busy, "batch_fill": measured.batch_fill, "padding": measured.padding}
        self.gauges |= {f"connector_{name}_ratio": value for name, value in ratios.items() if value is not None}
        self.gauges["connector_in_flight_bytes"] = measured.in_flight_bytes

    def end(self, report: RunReport) -> None:
        """Counts a run that has ended, once."""
        self.show(report)
        if self.ended:
            return
        self.ended = True
        for outcome in filter(None, get_args(Outcome)):
            self.counters["connector_runs_total", outcome] += outcome == report.outcome
        self.seconds[bisect_left(BUCKETS, report.seconds)] += 1
        self.total_seconds += report.seconds
        if report.outcome in {"ok", "rejects"} and not report.partial:
            self.gauges["connector_rejects"] = report.counts.rejected
        if report.succeeded_at is not None:
            self.gauges["connector_last_success_timestamp_seconds"] = report.succeeded_at
        self.in_step_at = report.in_step_at if report.in_step_at is not None else self.in_step_at


def _counted(report: RunReport) -> Iterator[tuple[Series, float]]:
    """What a report adds to the counters."""
    counts, rows, measured = report.counts, report.rows, report.measured
    yield from ((("connector_documents_total", name), getattr(counts, name)) for name in _DOCUMENTS)
    actions = {"upserted": rows.upserted, "deleted": rows.deleted, "rejected": rows.rejected}
    actions |= {"encoded": report.encoded, "reused": report.reused}
    yield from ((("connector_rows_total", name), value) for name, value in actions.items())
    yield from ((("connector_bytes_total", name), value) for name, value in measured.nbytes.items())
    yield from ((("connector_station_seconds_total", name), value) for name, value in report.stations.items())
    yield ("connector_retries_total", ""), measured.retries
    yield ("connector_throttled_total", ""), measured.throttled
    yield ("connector_deletes_total", ""), counts.deleted


class Book(Collector):
    """Counts the runs of any number of jobs, for one registry of its own."""

    def __init__(self) -> None:
        self._jobs: defaultdict[str, _Job] = defaultdict(_Job)
        self._mutex = threading.Lock()
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def live(self, report: RunReport) -> None:
        """Counts a run as far as it is."""
        with self._mutex:
            self._jobs[report.job].show(report)

    def record(self, report: RunReport) -> None:
        """Counts a run that has ended."""
        with self._mutex:
            self._jobs[report.job].end(report)

    def go_on_from(self, job: str, families: Iterable[Metric]) -> None:
        """Lets the counters of a job go on from what an earlier process told."""
        with self._mutex:
            known, beyond = self._jobs[job], 0
            for sample in (sample for family in families for sample in family.samples if sample.labels.get("job") == job):
                if sample.name in COUNTERS:
                    label = COUNTERS[sample.name][0]
                    known.counters[sample.name, sample.labels.get(label, "")] = sample.value
                elif sample.name == f"{SECONDS}_sum":
                    known.total_seconds = sample.value
                elif sample.name == f"{SECONDS}_bucket":
                    place = bisect_left(BUCKETS, float(sample.labels["le"]))
                    known.seconds[place], beyond = int(sample.value) - beyond, int(sample.value)
                elif sample.name in GAUGES:
                    known.gauges[sample.name] = sample.value

    def exposition(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The families, for the registry."""
        with self._mutex:
            jobs = {name: self._jobs[name] for name in sorted(self._jobs)}
            yield from list(_families(jobs))


def _families(jobs: dict[str, _Job]) -> Iterator[Metric]:
    for name, (label, text) in COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=["job", label] if label else ["job"])
        for job, known in jobs.items():
            for (metric, value), total in known.counters.items():
                if metric == name:
                    counter.add_metric([job, value] if label else [job], total)
        yield counter
    for name, text in GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=["job"])
        for job, known in jobs.items():
            now = _lag(known) if name == "connector_lag_seconds" else known.gauges.get(name)
            if now is not None:
                gauge.add_metric([job], now)
        yield gauge
    runs = HistogramMetricFamily(SECONDS, "Wall time of runs that ended.", labels=["job"])
    for job, known in jobs.items():
        added = [sum(known.seconds[: place + 1]) for place in range(len(known.seconds))]
        bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
        runs.add_metric([job], list(zip(bounds, map(float, added), strict=True)), known.total_seconds)
    yield runs


def _lag(known: _Job) -> float | None:
    return None if known.in_step_at is None else max(0.0, time.time() - known.in_step_at)


_BOOK = Book()


def live(report: RunReport) -> None:
    """Counts a run that is under way, as far as it is; called after every committed window."""
    _BOOK.live(report)


def record(report: RunReport) -> None:
    """Counts a run that has ended, well or not; a second call with the same run counts nothing."""
    _BOOK.record(report)


def exposition() -> bytes:
    """All runs that this process has recorded, in Prometheus' text format."""
    return _BOOK.exposition()

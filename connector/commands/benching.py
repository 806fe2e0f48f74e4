"""Measures a job: its model alone, every station alone, and the pipeline, on a sample of its own documents.

The stations are those of a run, and so is their order. Alone they are measured by a run without threads, in which nothing overlaps; then
the same documents go through the pipeline. Both write to collections made for the purpose and dropped again, keep their ledgers in
a folder that goes away, and reuse no vectors, so nothing of the job is touched. The sample is the first documents that the source lists,
as many as keep a run without threads busy for the time that was asked for; they were read before, so they come from the
file cache of the machine.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from connector.commands.benchresult import Alone, Bench
from connector.commands.building import Front, Parts, stations_of
from connector.commands.crowd import CROWDED, crowd
from connector.commands.keeping import KeepingSink
from connector.commands.timeline import Timeline
from connector.encoding import Encoding
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Sink
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.sink import MilvusSink
from connector.pipeline import run
from connector.plan import Want, diff, generation_name
from connector.record import Document, Position
from connector.report import RunReport
from connector.stations import Monitor, Options
from connector.stopping import Stop
from connector.stopwatch import Stopwatch

SECONDS = 20.0
"""How long the sample keeps a run without threads busy: long enough for several windows, since the first and last overlap with nothing."""

PREFIX = "connector_bench_"
"""Collections made for a measurement are named so; one that is killed leaves them behind."""

_FIRST, _SHARE = 8, 8


class _Meter(Stopwatch):
    """Adds up wall time and the time of all cores; the latter means something only where nothing overlaps.

    Attributes:
        alone: By station.
        timeline: Also keeps what was done when, if there is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alone: dict[str, Alone] = {}
        self.timeline: Timeline | None = None

    def now(self) -> tuple[float, float]:
        """By both clocks."""
        return time.perf_counter(), time.process_time()

    def lap(self, station: str, since: tuple[float, float]) -> tuple[float, float]:
        """Adds what passed by both clocks."""
        now, one = self.now(), self.alone.setdefault(station, Alone())
        one.seconds += now[0] - since[0]
        one.core_seconds += now[1] - since[1]
        if self.timeline is not None:
            self.timeline.add(station, since[0], now[0])
        return now


class _Sample:
    """A source over the first documents of another; more are taken as they are asked for."""

    def __init__(self, front: Front) -> None:
        self.mode: Literal["listing", "cursor"] = front.source.mode
        self.documents: list[Document] = []
        self._more = _listed(front)

    def take(self, count: int) -> bool:
        """Makes it this many documents; False if there are no more."""
        self.documents += islice(self._more, max(0, count - len(self.documents)))
        return len(self.documents) == count

    def partitions(self) -> list[str]:
        """One."""
        return [""]

    def read(self, partition: str, after: Position | None) -> Iterator[Document]:
        """The documents."""
        del partition, after
        return iter(self.documents)


def _listed(front: Front) -> Iterator[Document]:
    for partition in front.source.partitions():
        yield from (item for item in front.source.read(partition, None) if isinstance(item, Document))


@dataclass(slots=True)
class _Trials:
    """Runs the sample.

    Attributes:
        front: The stations before ENCODE; its source is the sample.
        sample: The same source.
        encoding: ENCODE, whose models stay loaded from run to run.
        meter: Times the stations; emptied before every run.
        folder: For ledgers.
        stop: Ends it.
        made: How many runs there were.
        busy: Cores that other programs kept busy before.
    """

    front: Front
    sample: _Sample
    encoding: Encoding
    meter: _Meter
    folder: Path
    stop: Stop
    made: int = 0
    busy: float = field(default_factory=crowd)

    def run(self, sink: Sink, workers: int) -> tuple[RunReport, float]:
        """The report, and seconds of wall time without loading models."""
        job, spec = self.front.parts.job, self.front.parts.spec
        report, startup = RunReport(run_id="bench", job=job.job), self.encoding.counters.startup_s
        self.made += 1
        self.meter.alone.clear()
        self.encoding.workers = workers
        with Ledger(self.folder / f"{self.made}.db") as ledger:
            ledger.enter(job.scope, "", self.front.fingerprint, self.front.settings, natural=not spec.primary.generated)
            stations = replace(stations_of(self.front, self.encoding, sink, ledger), workers=workers)
            begun = time.perf_counter()
            run(stations, Options(limit=len(self.sample.documents) or 1), Monitor(report, self.meter, self.stop))
        return report, time.perf_counter() - begun - self.encoding.counters.startup_s + startup

    def fill(self, seconds: float) -> None:
        """Makes the sample as large as keeps a run without threads busy for these seconds, by runs that write nowhere.

        Raises:
            ConfigError: There is nothing to measure.
        """
        sink, count = KeepingSink(self.front.parts.spec), _FIRST
        more = self.sample.take(count)
        report, _ = self.run(sink, 0)  # loads the models and warms them; not timed
        if not report.rows.upserted:
            what = f"{report.counts.listed} documents gave no row that could be written"
            raise ConfigError(f"there is nothing to measure: {what}", hint=f"connector check {self.front.parts.job.where}")
        report, took = self.run(sink, 0)
        while more and took < seconds / _SHARE:
            count *= 2
            more = self.sample.take(count)
            report, took = self.run(sink, 0)
        if more:
            self.sample.take(max(count, round(count * seconds / took)))


def bench_job(
    job: Job,
    *,
    seconds: float = SECONDS,
    device: str | None = None,
    write: bool = True,
    stop: Stop | None = None,
    timeline: Timeline | None = None,
) -> Bench:
    """Measures a job.

    Args:
        job: The job.
        seconds: How long the sample keeps a run without threads busy; the whole takes about two and a half times as long.
        device: Instead of the devices that the job names.
        write: Whether rows go to a throw-away collection; else nowhere.
        stop: Ends it early.
        timeline: Filled with what each station of the pipeline did when.

    Raises:
        ConfigError: The source has nothing that could be measured.
        ConnectorError: As a run.
    """
    parts = Parts.of(job)
    meter, stop = _Meter(), stop or Stop()
    front = Front.of(parts, Options(full_refresh=True), meter)
    sample = _Sample(front)
    front = replace(front, source=sample)
    encoding = Encoding(parts.bindings, _devices(parts, device), ready=parts.spec.ready, stop=stop.event, stopwatch=meter)
    with tempfile.TemporaryDirectory(prefix="connector-bench-") as folder, contextlib.ExitStack() as stack:
        connection = stack.enter_context(_connected(job, Path(folder))) if write else None
        stack.enter_context(encoding)
        trials = _Trials(front, sample, encoding, meter, Path(folder), stop)
        trials.fill(seconds)
        return _measured(trials, connection, timeline)


def _measured(trials: _Trials, connection: Connection | None, timeline: Timeline | None) -> Bench:
    job, sample = trials.front.parts.job, trials.sample
    with _sink(trials.front.parts, connection) as sink:
        report, _ = trials.run(sink, 0)
    alone = {name: one for name, one in trials.meter.alone.items() if name != "sweep"}
    trials.meter.timeline = timeline
    with _sink(trials.front.parts, connection) as sink:
        _, took = trials.run(sink, job.workers)
    result = Bench(
        job=job.job,
        documents=len(sample.documents),
        rows=report.rows.upserted,
        server=connection.server.text if connection else "",
        encoders=trials.encoding.precisions,
        cores=_cores(),
        workers=job.workers,
        stations=alone,
        pipeline_s=took,
        startup_s=trials.encoding.counters.startup_s,
    )
    if report.counts.rejected:
        result.notes.append(f"{report.counts.rejected} documents were rejected: see `connector check`")
    if trials.busy > result.cores * CROWDED:
        result.notes.append(f"other programs kept {trials.busy:.1f} cores busy on this machine: rates are too low, and shares unsure")
    if not result.verdict:
        result.notes.append(f"the pipeline took {took:.2f} s, too short to tell: give it more documents")
    return result


def _devices(parts: Parts, device: str | None) -> dict[str, DeviceSpec]:
    known = parts.job.encode
    if device is None:
        return known
    return {one.field.name: replace(known.get(one.field.name, DeviceSpec()), device=device) for one in parts.bindings}


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _connected(job: Job, folder: Path) -> Connection:
    """To the job's server; instead of the job's Milvus Lite file, which another run may have open, to a new one."""
    settings = job.milvus.model_copy(update={"uri": str(folder / "bench.db")}) if job.milvus.lite else job.milvus
    return connect(settings)


def _sink(parts: Parts, connection: Connection | None) -> contextlib.AbstractContextManager[Sink]:
    return contextlib.nullcontext(KeepingSink(parts.spec)) if connection is None else throw_away(parts.want, connection)


@contextlib.contextmanager
def throw_away(want: Want, connection: Connection) -> Iterator[MilvusSink]:
    """An empty collection as it is declared, under a name of its own; dropped in the end."""
    own = replace(want, spec=want.spec.model_copy(update={"name": f"{PREFIX}{os.urandom(4).hex()}"}))
    catalog, name = Catalog(connection), generation_name(own.spec.name, 1)
    try:
        catalog.apply(diff(own, catalog.have(own.spec.name)), own)
        yield MilvusSink(connection, name, own.spec)
    finally:
        if catalog.have(own.spec.name).generations:
            catalog.drop(name)

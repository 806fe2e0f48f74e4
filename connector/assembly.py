"""Builds the objects that a job names and runs them: the only place that knows every part.

What a run needs is opened in the order in which it can fail cheaply: the declaration, the encoder's description (no weights), the lock and
ledger, the connection, the collection. Weights are loaded by ENCODE, when there is something to encode.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from connector.building import Parts, fingerprint_parts, reader, source_hash, source_of
from connector.encoding import Encoding
from connector.errors import ConnectorError, PlanNeeded, TooManyRejects
from connector.faults import hit
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus import features
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.sink import MilvusSink
from connector.pipeline import run
from connector.plan import Action, Generation, Replace, diff, render, target
from connector.record import fingerprint
from connector.recovery import recover
from connector.report import RunReport, Stopwatch
from connector.rows import Conform
from connector.stations import Monitor, Options, Stations
from connector.stopping import Stop
from connector.windows import WindowLimits


def plan(job: Job) -> tuple[Action, ...]:
    """What `apply` would do; changes nothing."""
    parts = Parts.of(job)
    with connect(job.milvus) as connection:
        features.check(parts.spec, connection.server)
        return diff(parts.want, Catalog(connection).have(parts.spec.name))


def apply(job: Job) -> tuple[Action, ...]:
    """Creates what is missing of the collection; running it again after any interruption finishes it.

    Raises:
        PlanNeeded: The live collection would have to be replaced.
    """
    parts = Parts.of(job)
    with connect(job.milvus) as connection:
        return _apply(connection, parts)


def _apply(connection: Connection, parts: Parts) -> tuple[Action, ...]:
    features.check(parts.spec, connection.server)
    catalog = Catalog(connection)
    actions = diff(parts.want, catalog.have(parts.spec.name))
    if any(isinstance(action, Replace) for action in actions):
        raise PlanNeeded(
            f"{parts.spec.where}: the live collection `{parts.spec.name}` is not what the code says:\n{render(actions)}",
            hint="undo the change, or declare it under another name and fill that",
        )
    catalog.apply(actions, parts.want)
    return actions


def _generation(connection: Connection, parts: Parts) -> Generation:
    """The generation to write to; the first one is made when nothing exists.

    Raises:
        PlanNeeded: Something exists that is not what the code says.
    """
    _apply(connection, parts)
    found = target(parts.want, Catalog(connection).have(parts.spec.name))
    if found is None or found.stamp is None:
        raise PlanNeeded(f"no generation of `{parts.spec.name}` is what the code says", hint=f"connector plan {parts.job.where}")
    Catalog(connection).load(found.name)
    return found


def run_job(
    job: Job, options: Options | None = None, stop: Stop | None = None, on_progress: Callable[[RunReport], None] = lambda _: None
) -> RunReport:
    """Runs a job to its end; `on_progress` is called after every committed window.

    Returns:
        The report; its exit code is 0, or 3 when there were too many rejects or a gap.

    Raises:
        ConnectorError: Everything else that ends a run; `error.report` is the report up to there, where one was begun.
    """
    begun = time.perf_counter()
    report = RunReport(run_id=f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(3).hex()}", job=job.job)
    monitor = Monitor(report, stop=stop or Stop(), on_window=on_progress)
    parts = Parts.of(job)
    with Ledger(job.state_path) as ledger, connect(job.milvus) as connection:
        generation = _generation(connection, parts)
        report.collection = generation.name
        try:
            _run(parts, connection, generation, ledger, options or Options(), monitor, begun)
        except BaseException as error:
            if isinstance(error, ConnectorError):
                report.exit_code, report.message = exit_code(error), error.message
                error.report = report  # type: ignore[attr-defined]  # for the command line's --json
            _close(report, monitor.watch, begun, ledger)
            raise
        _close(report, monitor.watch, begun, ledger)
    hit("run.finished")
    return report


def exit_code(error: ConnectorError) -> int:
    """The command line's exit code for an error."""
    signal_number: int | None = getattr(error, "signal_number", None)
    return error.exit_code if signal_number is None else 128 + signal_number


def _close(report: RunReport, watch: Stopwatch, begun: float, ledger: Ledger) -> None:
    counts = report.counts
    counts.deferred = counts.listed - counts.unchanged - counts.written - counts.empty - counts.rejected
    report.stations = {name: round(seconds, 3) for name, seconds in watch.seconds.items()}
    report.seconds = round(time.perf_counter() - begun, 3)
    with contextlib.suppress(Exception):  # a full disk must not hide what ended the run
        ledger.finish(report.run_id, report.exit_code, report.model_dump_json())


def _run(
    parts: Parts, connection: Connection, generation: Generation, ledger: Ledger, options: Options, monitor: Monitor, begun: float
) -> None:
    job, spec = parts.job, parts.spec
    report, watch = monitor.report, monitor.watch
    assert generation.stamp is not None  # noqa: S101 - _generation made sure
    settings = fingerprint_parts(parts)
    mark = fingerprint(settings)
    natural = not spec.primary.generated
    ledger.enter(job.scope, generation.stamp.uid, mark, settings, natural=natural)
    clean = ledger.start(report.run_id)
    sink = MilvusSink(connection, generation.name, spec)
    recover(ledger, sink, job.scope, primary=spec.primary.name, natural=natural, epoch=generation.epoch, clean=clean)
    source = source_of(parts)
    ready = [field for field in spec.vectors if field.encoder is None]
    with Encoding(parts.bindings, job.encode, ready=ready, stop=monitor.stop.event, workers=job.workers, stopwatch=watch) as encoding:
        stations = Stations(
            source=source,
            read=reader(parts, mark, options, watch),
            encode=encoding,
            conform=Conform(spec, job.scope, mark, last_wins=source.mode == "cursor"),
            sink=sink,
            ledger=ledger,
            limits=WindowLimits(vector_bytes=sum(field.row_bytes for field in spec.vectors)),
            sync=job.sync,
            source_settings=source_hash(job),
            workers=job.workers,
        )
        started = time.perf_counter() - begun
        try:
            run(stations, options, monitor)
        finally:
            report.encoded, report.truncated = encoding.counters.encoded, encoding.counters.truncated
            report.startup_s = round(started + encoding.counters.startup_s, 3)
    swept = job.sync == "mirror" and options.limit is None and options.select is None and not report.gaps
    catalog = Catalog(connection)
    epoch = max(catalog.epoch(generation.name), ledger.epoch) + 1
    catalog.write_epoch(generation.name, epoch)
    ledger.settle(epoch=epoch, source=stations.source_settings if swept or job.sync != "mirror" else None)
    _judge(job, report)


def _judge(job: Job, report: RunReport) -> None:
    """Sets exit code 3 when there are more rejects than the job tolerates, or a gap."""
    rejected, allowed = report.counts.rejected, job.rejects.allowed(report.counts.listed)
    if rejected > allowed:
        report.message = (
            f"{rejected} of {report.counts.listed} documents were rejected, {job.rejects.fail_over} are tolerated (rejects.fail_over)"
        )
    elif report.gaps:
        report.message = f"{len(report.gaps)} parts of the source could not be listed; nothing was deleted"
    if report.message:
        report.exit_code = TooManyRejects.exit_code

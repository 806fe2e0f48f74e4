"""Builds the objects that a job names and runs them: the only place that knows every part.

What a run needs is opened in the order in which it can fail cheaply: the declaration, the encoder's description (no weights), the lock and
ledger, the connection, the collection. Weights are loaded by ENCODE, when there is something to encode.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from connector.commands.building import Front, Parts, stations_of
from connector.commands.grounds import ground_of
from connector.encoding import Encoding
from connector.encoding.vectorcache import VectorCache
from connector.errors import TooManyRejects
from connector.faults import hit
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus import features
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.indexing import wait_for_indexes
from connector.milvus.sink import MilvusSink
from connector.pipeline import run
from connector.plan import Generation, required, standing, steps
from connector.plan.stamp import run_property
from connector.recall import Place, Recall
from connector.reconcile.readback import read_back
from connector.reconcile.recovery import recover
from connector.reconcile.witness import Witness
from connector.report import RunReport, Stopwatch
from connector.stations import Monitor, Options, Stations
from connector.stopping import Stop
from connector.verdict import verdict


def _generation(connection: Connection, parts: Parts) -> tuple[Generation, Generation | None, list[str]]:
    """The generation to write to, the live one, and what is to be said; the first one is made when nothing exists.

    Raises:
        PlanNeeded: Something exists that is not what the code says.
    """
    features.check(parts.spec, connection.server)
    catalog = Catalog(connection)
    catalog.apply(steps(parts.want, catalog.have(parts.spec.name)), parts.want)
    have = catalog.have(parts.spec.name)
    found = required(parts.want, have, parts.job.where)
    catalog.load(found.name)
    return found, have.live, standing(found, have, parts.job.where)


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
    options, monitor = options or Options(), Monitor(report, stop=stop or Stop(), on_window=on_progress)
    monitor.stop.limit(options.time_limit)
    front = Front.of(Parts.of(job), options, monitor.watch)
    with Ledger(job.state_path) as ledger, connect(job.milvus) as connection:
        connection.stop = monitor.stop.event
        generation, live, report.notes = _generation(connection, front.parts)
        report.collection = generation.name
        try:
            _run(front, Back(connection, generation, live, ledger), options, monitor, begun)
        except BaseException as error:
            report.exit_code, report.message = exit_code(error), getattr(error, "message", type(error).__name__)
            error.report = report  # type: ignore[attr-defined]  # for the command line's --json
            raise
        finally:
            _close(report, monitor.watch, begun, ledger, job.workers)
    hit("run.finished")
    return report


def exit_code(error: BaseException) -> int:
    """The command line's exit code for an error; what nobody raised on purpose is a bug, 1."""
    signal_number: int | None = getattr(error, "signal_number", None)
    return getattr(error, "exit_code", 1) if signal_number is None else 128 + signal_number


def _close(report: RunReport, watch: Stopwatch, begun: float, ledger: Ledger, workers: int) -> None:
    counts = report.counts
    counts.deferred = counts.listed - counts.unchanged - counts.written - counts.empty - counts.rejected
    report.stations = {name: round(seconds, 3) for name, seconds in watch.seconds.items()}
    report.seconds = round(time.perf_counter() - begun, 3)
    report.verdict = verdict(report.stations, report.seconds - report.startup_s, workers)
    with contextlib.suppress(Exception):  # a full disk must not hide what ended the run
        ledger.finish(report.run_id, report.exit_code, report.model_dump_json())


@dataclass(frozen=True, slots=True)
class Back:
    """What a run writes to: an open connection, a generation of the collection, beside which one may be live, and the ledger."""

    connection: Connection
    generation: Generation
    live: Generation | None
    ledger: Ledger


def _run(front: Front, back: Back, options: Options, monitor: Monitor, begun: float) -> None:
    job, spec, report, ledger = front.parts.job, front.parts.spec, monitor.report, back.ledger
    sink = MilvusSink(back.connection, back.generation.name, spec)
    _enter(front, back, sink, report.run_id)
    ledger.requeue(options.only or ())
    witness = Witness(sink, spec, report.run_id)
    stop, watch = monitor.stop.event, monitor.watch
    goldens = Catalog(back.connection).goldens(back.generation)
    recall = Recall([] if options.full_refresh else _places(front, back), spec, job.scope, front.settings, ledger.settings, goldens)
    encode = partial(Encoding, front.parts.bindings, job.encode, ready=spec.ready, workers=job.workers, goldens=goldens, recall=recall)
    with VectorCache(job.cache_path, job.vector_cache) as cache, encode(stop=stop, stopwatch=watch, cache=cache) as encoding:
        stations = stations_of(front, encoding, witness, ledger)
        started = time.perf_counter() - begun
        try:
            run(stations, options, replace(monitor, on_window=lambda known: _committed(cache, monitor, known)))
        finally:
            counters = encoding.counters
            report.encoded, report.reused, report.truncated = counters.encoded, counters.reused, counters.truncated
            report.notes += goldens.notes
            report.notes += [f"vectors are not kept for another time: {cache.problem}"] if cache.problem else []
            report.startup_s = round(started + encoding.counters.startup_s, 3)
    with watch.time("verify"):
        report.verified = read_back(ground_of(back.connection, back.generation.name, spec, ledger, job.scope), witness)
    _judge(job, report)
    _settle(back, stations, options, report)
    if job.milvus.wait_for_index:
        report.index = wait_for_indexes(back.connection, back.generation.name)


def _places(front: Front, back: Back) -> list[Place]:
    """The generations whose rows may hold vectors that need not be encoded again."""
    if any(binding.ragged for binding in front.parts.bindings):
        return []
    catalog = Catalog(back.connection)
    others = [back.live] if back.live is not None and back.live.name != back.generation.name else []
    return [
        Place(MilvusSink(back.connection, one.name, front.parts.spec), one.stamp, catalog.goldens(one) if one in others else None)
        for one in (back.generation, *others)
        if one.stamp is not None
    ]


def _committed(cache: VectorCache, monitor: Monitor, report: RunReport) -> None:
    cache.window_committed()
    monitor.on_window(report)


def _enter(front: Front, back: Back, sink: MilvusSink, run_id: str) -> None:
    """Opens the run in the ledger, which is rebuilt from the collection if it cannot be right."""
    spec, namespace, ledger, stamp = front.parts.spec, front.parts.job.scope, back.ledger, back.generation.stamp
    natural = not spec.primary.generated
    ledger.enter(namespace, stamp.uid if stamp else "", front.fingerprint, front.settings, natural=natural)
    clean = ledger.start(run_id)
    recover(ledger, sink, namespace, primary=spec.primary.name, natural=natural, epoch=back.generation.epoch, clean=clean)


def _settle(back: Back, stations: Stations, options: Options, report: RunReport) -> None:
    """Counts the epoch on, in Milvus first: an epoch behind the ledger's means that a backup was restored."""
    whole = not options.partial and not report.gaps
    catalog, name = Catalog(back.connection), back.generation.name
    epoch = max(catalog.epoch(name), back.ledger.epoch) + 1
    ended_well = whole and report.exit_code == 0
    catalog.write_epoch(name, epoch, run_property(stations.conform.namespace, report.run_id) if ended_well else None)
    back.ledger.settle(epoch=epoch, source=stations.source_settings if whole or stations.sync != "mirror" else None)


def _judge(job: Job, report: RunReport) -> None:
    """Sets exit code 3 when the collection is not what was written, when there are more rejects than the job tolerates, or a gap."""
    rejected, allowed = report.counts.rejected, job.rejects.allowed(report.counts.listed)
    if report.verified and not report.verified.good:
        report.message = "the collection does not hold what was written; run again to write what differs, then connector verify"
    elif rejected > allowed:
        report.message = (
            f"{rejected} of {report.counts.listed} documents were rejected, {job.rejects.fail_over} are tolerated (rejects.fail_over)"
        )
    elif report.gaps:
        report.message = f"{len(report.gaps)} parts of the source could not be listed; nothing was deleted"
    if report.message:
        report.exit_code = TooManyRejects.exit_code

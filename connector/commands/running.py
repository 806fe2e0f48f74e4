"""Builds the objects that a job names and runs them: the only place that knows every part.

What a run needs is opened in the order in which it can fail cheaply: the declaration, the encoder's description (no weights), the lock and
ledger, the connection, the collection. Weights are loaded by ENCODE, when there is something to encode.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from connector.commands.building import Front, Parts, stations_of
from connector.commands.grounds import ground_of
from connector.encoding import Encoding
from connector.encoding.binding import make_encoder
from connector.encoding.stored_vectors import Place, StoredVectors
from connector.encoding.vectorcache import VectorCache
from connector.errors import TooManyRejects
from connector.faults import hit
from connector.interfaces import Encoder
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus import features
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.indexing import wait_for_indexes
from connector.milvus.sink import MilvusSink
from connector.observe import traces
from connector.observe.around import observed
from connector.observe.live import Live, window_committed
from connector.pipeline import run
from connector.plan import Generation, check_fields, lost, required, standing, steps
from connector.plan.stamp import run_property
from connector.reconcile.readback import read_back
from connector.reconcile.recovery import recover
from connector.reconcile.witness import Witness
from connector.report import RunReport
from connector.retry import ATTEMPTS, until
from connector.schema.spec import VectorFieldSpec
from connector.stations import Monitor, Options, Stations
from connector.stopping import Stop
from connector.verdict import CLOSE, verdict


def _generation(connection: Connection, parts: Parts, ledger: Ledger) -> tuple[Generation, Generation | None, list[str]]:
    """The generation to write to, the live one, and what is to be said; the first one is made when nothing exists.

    Raises:
        PlanNeeded: Something exists that is not what the code says.
    """
    features.check(parts.spec, connection.server)
    catalog = Catalog(connection)
    before = catalog.have(parts.spec.name)
    actions = steps(parts.want, before)
    gone = lost(parts.spec.name, actions, before, ledger.last_collection(parts.job.scope))
    catalog.apply(actions, parts.want)
    have = catalog.have(parts.spec.name)
    found = required(parts.want, have, parts.job.where)
    check_fields(found)
    catalog.load(found.name)
    return found, have.live, [*gone, *standing(found, have, parts.job.where)]


def run_job(
    job: Job,
    options: Options | None = None,
    stop: Stop | None = None,
    on_progress: Callable[[RunReport], None] = lambda _: None,
    on_start: Callable[[Live], None] = lambda _: None,
    *,
    on_begin: Callable[[Monitor], None] = lambda _: None,
    make: Callable[[VectorFieldSpec], Encoder] = make_encoder,
) -> RunReport:
    """Runs a job to its end.

    Args:
        job: The job.
        options: What this run does differently.
        stop: Asks it to end.
        on_progress: Called after every committed window.
        on_start: Called first, with what gives the report at any later moment, to any thread.
        on_begin: Called once everything that the job names is loaded, before anything is opened.
        make: Builds the encoders.

    Returns:
        The report; its exit code is 0, or 3 when there were too many rejects or a gap.

    Raises:
        ConnectorError: Everything else that ends a run; `error.report` is the report up to there.
    """
    options, stop = options or Options(), stop or Stop()
    report = RunReport(run_id=f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(3).hex()}", job=job.job)
    report.partial = options.partial
    with observed(report, job.metrics, job.notify):
        now = Live(report, traces.stopwatch())
        on_start(now)
        stop.limit(options.time_limit)
        front = Front.of(Parts.of(job, make), options, now.watch)
        monitor = Monitor(report, now.watch, stop, on_progress)
        on_begin(monitor)
        with until(stop.event), Ledger(job.state_path) as ledger, _kept(now, ledger, job.workers), _connected(job, now) as connection:
            generation, live, report.notes = _generation(connection, front.parts, ledger)
            report.collection = generation.name
            _run(front, Back(connection, generation, live, ledger), options, monitor, now)
        hit("run.finished")
    return report


@contextlib.contextmanager
def _connected(job: Job, live: Live) -> Iterator[Connection]:
    """A connection; how long closing it takes is told apart."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(connect(job.milvus))
        with live.watch.time(CLOSE):
            stack.close()


@contextlib.contextmanager
def _kept(live: Live, ledger: Ledger, workers: int) -> Iterator[None]:
    """Goes around what a run does with its ledger, and leaves the finished report there."""
    report, began, counting = live.report, time.time(), ATTEMPTS.set(live.attempts)
    if good := ledger.good_run(report.job):
        report.in_step_at, report.succeeded_at = good
    badly = ledger.ended_badly(report.job)
    try:
        yield
        report.end()
    except BaseException as error:
        report.end(error)
        raise
    finally:
        ATTEMPTS.reset(counting)
        if report.outcome == "ok":
            report.recovered = badly
        if report.outcome == "ok" and not report.partial:
            report.in_step_at, report.succeeded_at = began, time.time()
        _close(live, ledger, workers)


def _close(live: Live, ledger: Ledger, workers: int) -> None:
    report, counts = live(), live.report.counts
    counts.deferred = counts.listed - counts.unchanged - counts.written - counts.empty - counts.rejected
    report.measured.in_flight_bytes = 0
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


def _run(front: Front, back: Back, options: Options, monitor: Monitor, live: Live) -> None:
    job, spec, report, ledger = front.parts.job, front.parts.spec, monitor.report, back.ledger
    sink = MilvusSink(back.connection, back.generation.name, spec, moved=partial(monitor.watch.moved, "write"))
    _enter(front, back, sink, report.run_id)
    ledger.requeue(options.only or ())
    witness = Witness(sink, spec, report.run_id)
    stop, watch = monitor.stop.event, monitor.watch
    goldens = Catalog(back.connection).goldens(back.generation)
    stored = StoredVectors([] if options.full_refresh else _places(front, back), spec, job.scope, front.settings, ledger.settings, goldens)
    encode = partial(Encoding, front.parts.bindings, job.encode, ready=spec.ready, workers=job.workers, goldens=goldens, stored=stored)
    with VectorCache(job.cache_path, job.vector_cache) as cache, encode(stop=stop, stopwatch=watch, cache=cache) as encoding:
        stations = stations_of(front, encoding, witness, ledger)
        live.ready_s, live.counters = time.perf_counter() - live.begun, encoding.counters
        try:
            run(stations, options, replace(monitor, on_window=lambda known: _committed(cache, monitor, live, known)))
        finally:
            report.notes += goldens.notes
            report.notes += [f"vectors are not kept for another time: {cache.problem}"] if cache.problem else []
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


def _committed(cache: VectorCache, monitor: Monitor, live: Live, report: RunReport) -> None:
    cache.window_committed()
    window_committed(live)
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

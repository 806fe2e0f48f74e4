"""The whole product on one page: a document's way from the source into Milvus and the ledger.

    LIST -> SKIP -> READ -> SKIP -> PARSE -> SPLIT -> WINDOW -> ENCODE -> CONFORM -> WRITE -> COMMIT -> SWEEP

Everything to the left of WRITE runs ahead in threads; WRITE and COMMIT run in the caller's thread, window after window in listing order,
so what is committed is always a prefix of the listing. See `commit` for the protocol that survives a crash at any point.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice

from connector.errors import Refused
from connector.faults import hit
from connector.flow import parallel_map, prefetch
from connector.interfaces import Sink, Source
from connector.ledger import Ledger
from connector.reading import Reader
from connector.recovery import keys_of
from connector.record import Document, Gap, Key, Payload, Removed, Visit, Window
from connector.report import RunReport, Stopwatch
from connector.rows import MAX_DOCUMENT_KEY, Conform
from connector.stopping import Stop
from connector.windows import WindowLimits, row_bytes, windows

LOOKUP = 512
"""Documents per ledger look-up."""

BRAKE_ABSOLUTE, BRAKE_SHARE = 10, 0.2
"""A sweep of more documents than both is refused."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one run does differently from the job.

    Attributes:
        limit: List at most this many documents; never sweeps.
        select: Only documents whose key matches this glob; never sweeps.
        full_refresh: Read and write every document whatever the ledger says.
        allow_mass_delete: Lift the brake on sweeping.
    """

    limit: int | None = None
    select: str | None = None
    full_refresh: bool = False
    allow_mass_delete: bool = False


@dataclass(frozen=True, slots=True)
class Stations:
    """Everything a run is composed of; `job.py` builds it.

    Attributes:
        source: LIST.
        read: READ, PARSE and SPLIT of one document.
        encode: ENCODE: windows in, the same windows with vectors out.
        conform: CONFORM.
        sink: WRITE.
        ledger: SKIP and COMMIT.
        limits: Of a window.
        sync: append (known documents are never looked at again), upsert, or mirror (what vanished is deleted).
        source_settings: Hash of the source's settings; a sweep needs the same as in the last run.
        workers: Threads that read; 0 runs every station serially.
    """

    source: Source
    read: Reader
    encode: Callable[[Iterator[Window]], Iterator[Window]]
    conform: Conform
    sink: Sink
    ledger: Ledger
    limits: WindowLimits = field(default_factory=WindowLimits)
    sync: str = "upsert"
    source_settings: str = ""
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Monitor:
    """Who watches a run.

    Attributes:
        report: Filled as the run goes on.
        watch: Seconds by station.
        stop: Asks the run to end.
        on_window: Called with the report after every committed window.
    """

    report: RunReport
    watch: Stopwatch = field(default_factory=Stopwatch)
    stop: Stop = field(default_factory=Stop)
    on_window: Callable[[RunReport], None] = lambda _: None


def run(stations: Stations, options: Options, monitor: Monitor) -> None:
    """Runs every station until the source is exhausted, then sweeps; fills the report as it goes.

    Raises:
        Interrupted: A signal came; what was acknowledged is committed.
        Transient: Milvus stayed away past the deadline; the ledger is consistent.
        Refused: The brake held the sweep; everything else is done.
    """
    report, watch = monitor.report, monitor.watch
    listed = watch.each("list", listing(stations, options, report))
    visits = prefetch(listed, depth=stations.workers and LOOKUP)
    read = parallel_map(
        stations.read, visits, workers=stations.workers, ahead=64, size=lambda visit: sum(map(row_bytes, visit.rows)), max_bytes=64 << 20
    )
    encoded = prefetch(stations.encode(windows(read, stations.limits)), depth=min(stations.workers, 1))
    with closing(encoded):  # type: ignore[type-var]  # it is a generator
        for window in encoded:
            hit("window.encoded")
            with monitor.stop.shield():
                commit(window, stations, report, watch)
            monitor.on_window(report)
    if stations.sync == "mirror" and options.limit is None and options.select is None:
        with watch.time("sweep"):
            sweep(stations, options, report, monitor.stop)


def listing(stations: Stations, options: Options, report: RunReport) -> Iterator[Visit]:
    """LIST and SKIP by version: yields the documents that may have changed, counts the others."""
    items = (visit for partition in stations.source.partitions() for visit in _partition(stations, partition, report))
    if options.select is not None:
        pattern = options.select
        items = (visit for visit in items if fnmatch.fnmatchcase(visit.key, pattern))
    skip = _skip_in_cursor if stations.source.mode == "cursor" else _skip_in_listing
    touched: set[str] = set()
    for some in _chunks(islice(items, options.limit), LOOKUP):
        keys = [visit.key for visit in some]
        known, before = stations.ledger.known(keys), stations.ledger.see(keys)
        for visit in some:
            visit.known = known.get(visit.key)
            report.counts.listed += not visit.removed
            if not skip(visit, before, touched, stations, options):
                yield visit
            else:
                count_unchanged(visit, report)


def _skip_in_listing(visit: Visit, before: set[str], _: set[str], stations: Stations, options: Options) -> bool:
    """Skips what the ledger knows by version; of two documents with one key, the first one counts."""
    if visit.key in before:
        visit.repeated = True
        visit.reject("list", "this key is listed twice; the first one is used", retry=True)
    before.add(visit.key)
    return _unchanged(visit, stations, options)


def _skip_in_cursor(visit: Visit, _: set[str], touched: set[str], stations: Stations, options: Options) -> bool:
    """Skips nothing, since every position is to be committed, but marks what is unchanged.

    The ledger lags behind the listing, so a key that is under way in this run is never unchanged by what the ledger says (A, B, A).
    """
    if visit.key in touched:
        visit.known = None
    elif _unchanged(visit, stations, options):
        visit.outcome = "unchanged"
        return False
    touched.add(visit.key)
    return False


def _chunks(items: Iterator[Visit], size: int) -> Iterator[list[Visit]]:
    """Lists of up to `size`; what was listed before the source failed comes before its error."""
    some: list[Visit] = []
    try:
        for item in items:
            some.append(item)
            if len(some) == size:
                yield some
                some = []
    except Exception:
        if some:
            yield some
        raise
    if some:
        yield some


def _partition(stations: Stations, partition: str, report: RunReport) -> Iterator[Visit]:
    cursor = stations.source.mode == "cursor"
    for item in stations.source.read(partition, stations.ledger.position(partition) if cursor else None):
        hit("source.listed")
        if isinstance(item, Gap):
            report.gaps.append(f"{item.where}: {item.reason}")
        elif isinstance(item, Removed):
            yield Visit(Document(item.key, _nothing, position=item.position), partition, removed=True, outcome="removed")
        else:
            visit = Visit(item, partition)
            if problem := _bad_key(item.key):
                visit.document = replace(item, key=repr(item.key)[:200])
                visit.reject("list", problem)
            yield visit


def _nothing() -> Payload:
    raise AssertionError("a removed document is never opened")


def _bad_key(key: str) -> str | None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "the document's key is not valid Unicode"
    if not key or "\0" in key or size > MAX_DOCUMENT_KEY:
        return f"the document's key is empty, holds a NUL, or is over {MAX_DOCUMENT_KEY} bytes ({size})"
    return None


def _unchanged(visit: Visit, stations: Stations, options: Options) -> bool:
    """Whether the ledger says that nothing is to be done."""
    known = visit.known
    if known is None or known.status == "writing" or visit.removed or visit.outcome or options.full_refresh:
        return False
    same = known.version is not None and known.version == visit.document.version and known.fingerprint == stations.conform.fingerprint
    return same or stations.sync == "append"


def count_unchanged(visit: Visit, report: RunReport) -> None:
    """Counts a document that is as the ledger has it: a partial or rejected one stays rejected, every run."""
    if visit.known is not None and visit.known.status in {"partial", "rejected"}:
        report.counts.rejected += 1
    else:
        report.counts.unchanged += 1


def commit(window: Window, stations: Stations, report: RunReport, watch: Stopwatch) -> None:
    """CONFORM, WRITE and COMMIT one window.

    1. The intent is recorded: status `writing`, the largest number of rows before or now, natural keys.
    2. The good rows are upserted and acknowledged.
    3. Stale rows of documents that end here are deleted by primary key.
    4. One transaction marks these documents and their position.
    A crash before 4 leaves `writing`: the next run reads the document again, and every row it may have is known.
    """
    with watch.time("conform"):
        keys = stations.conform(window)
    natural = not stations.conform.spec.primary.generated
    with watch.time("ledger"):
        taken = stations.ledger.begin(window, keys if natural else None, take_over=stations.source.mode == "cursor")
    for index, owner in taken.items():
        window.bad[index] = ("claim", f"key {keys.pop(index)!r} belongs to the document `{owner}`")
    hit("ledger.begun")
    with watch.time("write"):
        receipt = stations.sink.write(window)
        window.bad |= {index: ("write", reason) for index, reason in receipt.rejects.items()}
        _settle(window, keys, receipt.acknowledged, natural=natural)
        stale = _stale(window, stations)
        report.rows.deleted += stations.sink.delete(stale) if stale else 0
    hit("stale.deleted")
    with watch.time("ledger"):
        stations.ledger.complete(window, report.run_id)
    hit("ledger.completed")
    report.rows.upserted += len(receipt.acknowledged)
    _count(window, report)


def _settle(window: Window, keys: dict[int, Key], acknowledged: list[int], *, natural: bool) -> None:
    """Notes on every visit what was written of it and what was not."""
    accepted = set(acknowledged)
    for index, visit, ordinal in window.whose():
        if index in window.bad:
            station, reason = window.bad[index]
            visit.reject(station, reason, ordinal=ordinal, retry=station == "claim")
        elif index in accepted:
            visit.acknowledged.add(keys[index])
    for part in window.parts:
        if part.last and part.visit.outcome is None:
            part.visit.outcome = "written"


def _stale(window: Window, stations: Stations) -> list[Key]:
    """Keys of rows that earlier versions left behind, of the documents that end in this window."""
    stale: list[Key] = []
    for part in window.parts:
        visit = part.visit
        if not part.last or visit.repeated or visit.outcome in {"unchanged", "rejected"}:
            continue
        stale += (key for key in _keys(visit.key, stations, stations.ledger.max_rows(visit.key)) if key not in visit.acknowledged)
    return stale


def _keys(document: str, stations: Stations, max_rows: int) -> Iterable[Key]:
    natural = not stations.conform.spec.primary.generated
    return keys_of(stations.ledger, stations.conform.namespace, document, max_rows, natural=natural)


def _count(window: Window, report: RunReport) -> None:
    for part in window.parts:
        if not part.last:
            continue
        visit, counts = part.visit, report.counts
        report.rows.rejected += sum(reject.ordinal is not None for reject in visit.rejects)
        report.rejects += [f"{r.document}{'' if r.ordinal is None else f' row {r.ordinal}'}: {r.reason}" for r in visit.rejects][
            : max(0, 20 - len(report.rejects))
        ]
        if visit.removed:
            counts.deleted += visit.known is not None
        elif visit.rejects:
            counts.rejected += 1
        elif visit.outcome == "unchanged":
            count_unchanged(visit, report)
        elif visit.outcome == "empty":
            counts.empty += 1
        else:
            counts.written += 1


def sweep(stations: Stations, options: Options, report: RunReport, stop: Stop) -> None:
    """SWEEP: deletes the rows of documents that the complete listing no longer has.

    Raises:
        Refused: More would go than the brake lets, the listing was empty, or the source's settings changed.
    """
    if report.gaps:
        return
    ledger = stations.ledger
    known, _ = ledger.counts()
    gone = ledger.vanished()
    if gone and not options.allow_mass_delete:
        _brake(stations, report, gone, known)
    while some := ledger.some_vanished(LOOKUP):
        with stop.shield():
            keys = [key for document, max_rows in some for key in _keys(document, stations, max_rows)]
            report.rows.deleted += stations.sink.delete(keys) if keys else 0
            hit("sweep.deleted")
            ledger.forget([document for document, _ in some])
            report.counts.deleted += len(some)


def _brake(stations: Stations, report: RunReport, gone: int, known: int) -> None:
    why = ""
    if report.counts.listed == 0:
        why = "the source listed nothing"
    elif gone > max(BRAKE_ABSOLUTE, BRAKE_SHARE * known):
        why = f"more than {BRAKE_SHARE:.0%}"
    elif stations.ledger.source not in {"", stations.source_settings}:
        why = "the source's settings changed since the last run"
    if why:
        raise Refused(
            f"{gone} of {known} known documents are no longer listed ({why}): nothing was deleted",
            hint="look at the source, then run again with --allow-mass-delete if they are really gone",
        )

"""LIST and SKIP: what the ledger knows is counted, what may have changed goes on.

A document is skipped by its version, or, where its payload is in memory already, as a table's row is, by its content: what is unchanged
then never goes from thread to thread. Look-ups go to the ledger in chunks. What a source listed before it failed is not lost.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from connector.faults import hit
from connector.record import Document, Gap, Payload, Removed, Visit
from connector.report import RunReport
from connector.stations import Options, Stations
from connector.stations.rows import MAX_DOCUMENT_KEY
from connector.stopping import Stop

LOOKUP = 500
"""Documents per ledger look-up: as many keys as go into one statement."""


def listing(stations: Stations, options: Options, report: RunReport, stop: Stop | None = None) -> Iterator[list[Visit]]:
    """LIST and SKIP: yields the documents that may have changed, a few at a time, counts the others; ends with an error when time is up."""
    skip = _skip_in_cursor if stations.source.mode == "cursor" else _skip_in_listing
    touched: set[str] = set()
    new = stations.ledger.empty  # then nothing is looked up, which would wait for the commits of this very run
    report.total = _told(stations, options)
    for some in _chunks(islice(_chosen(stations, options, report, stop), options.limit), LOOKUP):
        keys = [visit.document.key for visit in some]
        known, before = {} if new else stations.ledger.known(keys), stations.ledger.see(keys)
        for visit, key in zip(some, keys, strict=True):
            visit.known = known.get(key)
            visit.fresh = visit.known is None and stations.source.mode == "listing"
        skipped = [skip(visit, before, touched, stations, options) for visit in some]
        report.count_listed(some, skipped)
        if not all(skipped):
            yield [visit for visit, done in zip(some, skipped, strict=True) if not done]
        if stop is not None:
            stop.check_time()
    report.total = report.counts.listed


def _told(stations: Stations, options: Options) -> int | None:
    """How many documents there will be, where the source knows it without listing them (its method `total`)."""
    if options.only is not None:
        return len(options.only)
    total = getattr(stations.source, "total", None) if options.select is None and stations.source.mode == "listing" else None
    told: int | None = total() if total is not None else None
    return told if told is None or options.limit is None else min(told, options.limit)


def _chosen(stations: Stations, options: Options, report: RunReport, stop: Stop | None) -> Iterator[Visit]:
    """What the source lists, as far as this run is about it; a forgotten document is not."""
    forgotten = stations.ledger.forgotten()
    for partition in stations.source.partitions():
        for visit in _partition(stations, partition, report, options):
            if stop is not None:
                stop.check()
            if options.only is not None and visit.key not in options.only:
                continue
            if visit.key in forgotten:
                report.forgotten += not visit.removed
                continue
            if options.select is None or fnmatch.fnmatchcase(visit.key, options.select):
                yield visit


def _skip_in_listing(visit: Visit, before: set[str], _: set[str], stations: Stations, options: Options) -> bool:
    """Skips what the ledger knows by version or content; of two documents with one key, the first one counts."""
    key = visit.document.key
    if key in before:
        visit.repeated = True
        visit.reject("list", "this key is listed twice; the first one is used", retry=True)
    before.add(key)
    return _unchanged(visit, stations, options) or (visit.document.held and stations.read.unchanged(visit))


def _skip_in_cursor(visit: Visit, _: set[str], touched: set[str], stations: Stations, options: Options) -> bool:
    """Skips nothing, since every position is to be committed, but marks what is unchanged.

    The ledger lags behind the listing, so a key that is under way in this run is never unchanged by what the ledger says (A, B, A).
    """
    if visit.key in touched and stations.sync == "append":
        visit.outcome = "unchanged"
    elif visit.key in touched:
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


def _partition(stations: Stations, partition: str, report: RunReport, options: Options) -> Iterator[Visit]:
    """What a partition lists; where keys are chosen, a cursor source's position stays: what is passed over is still due."""
    again, chosen = options.only is not None, options.only is not None or options.select is not None
    after = stations.ledger.position(partition) if stations.source.mode == "cursor" and not again else None
    for item in stations.source.read(partition, after):
        hit("source.listed")
        if isinstance(item, Gap):
            report.gaps.append(f"{item.where}: {item.reason}")
        elif isinstance(item, Removed):
            position = None if chosen else item.position
            if stations.sync == "append":  # nothing is deleted; only the position goes on
                yield Visit(Document(item.key, _nothing, position=position), partition, outcome="unchanged")
                continue
            yield Visit(Document(item.key, _nothing, position=position), partition, removed=True, outcome="removed")
        else:
            visit = Visit(replace(item, position=None) if chosen else item, partition)
            if item.unnamed:
                report.unnamed += 1
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
    if known is None or known.status == "writing" or visit.removed or visit.outcome:
        return False
    if options.full_refresh or options.only is not None:
        return False
    same = known.version is not None and known.version == visit.document.version and known.fingerprint == stations.conform.fingerprint
    written = known.status != "rejected" or known.rows > 0
    return same or (stations.sync == "append" and written)

"""The whole product on one page: a document's way from the source into Milvus and the ledger.

    LIST -> SKIP -> READ -> SKIP -> PARSE -> SPLIT -> WINDOW -> ENCODE -> CONFORM -> WRITE -> COMMIT -> SWEEP

Everything to the left of CONFORM runs ahead in threads; CONFORM and COMMIT run in the caller's thread, and WRITE beside them, window
after window in listing order, so what is committed is always a prefix of the listing. Every arrow is an iterator: a station pulls from
the one before it, and nothing holds more than a bounded number of documents, windows and bytes.

    stations/listing.py  LIST and SKIP by version     stations/reading.py  READ, SKIP by content, PARSE, SPLIT
    stations/windows.py  WINDOW                       encoding/            ENCODE
    stations/commit.py   CONFORM, WRITE, COMMIT       stations/sweep.py    SWEEP
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from connector.errors import Interrupted
from connector.faults import hit
from connector.flow import Aside, flat, parallel_map, prefetch
from connector.observe import traces
from connector.record import Visit, Window
from connector.report import RunReport
from connector.stations import Monitor, Options, Stations
from connector.stations.commit import Committer
from connector.stations.listing import listing
from connector.stations.sweep import sweep
from connector.stations.windows import row_bytes, windows
from connector.stopwatch import Stopwatch

CHUNK, HELD = 8, 1 / 16
"""Documents that a reading thread takes at a time; one that is in memory already, as a table's row is, counts as so much of one."""

AHEAD, AHEAD_BYTES = 16, 64 << 20
"""Most chunks of parsed documents, and bytes of their rows, that wait for their window."""


def run(stations: Stations, options: Options, monitor: Monitor) -> None:
    """Runs every station until the source is exhausted, then sweeps; fills the report as it goes.

    Raises:
        Interrupted: A signal came; what was acknowledged is committed.
        OutOfTime: The time limit is over; what was acknowledged is committed.
        Transient: Milvus stayed away past the deadline; the ledger is consistent.
        Refused: The brake held the sweep; everything else is done.
    """
    report, watch = monitor.report, monitor.watch
    listed = watch.each("list", listing(stations, options, report, monitor.stop))
    visits = flat(prefetch(listed, depth=2 * min(stations.workers, 1)))
    bounds = {"ahead": AHEAD, "chunk": CHUNK, "max_bytes": AHEAD_BYTES}
    read = parallel_map(stations.read, visits, workers=stations.workers, weight=_weight, size=_row_bytes, **bounds)
    made = _begun(windows(read, stations.limits), report, watch)
    encoded = stations.encode(made)
    with closing(encoded), Aside("write") as aside:  # type: ignore[type-var]  # it is a generator
        committer = Committer(stations, monitor, aside if stations.workers else None)
        try:
            for window in encoded:
                hit("window.encoded")
                with monitor.stop.shield():
                    committer(window)
                monitor.stop.check_time()
        except Interrupted:
            aside.waits = False
            raise
        finally:
            with monitor.stop.shield():
                committer.finish()  # what was sent is committed, however the run ends, but for a second signal
    monitor.stop.check_time()
    monitor.stop.check()  # stations that are asked to stop end quietly; what they did not list has not vanished
    if stations.sync == "mirror" and stations.source.mode == "listing" and not options.partial:
        with watch.time("sweep"):
            sweep(stations, options, report, monitor.stop)


def _begun(made: Iterator[Window], report: RunReport, watch: Stopwatch) -> Iterator[Window]:
    """The windows, counted as they are made: until they are committed they are in flight."""
    for window in made:
        watch.moved("window", window.nbytes)
        report.measured.window_rows += len(window.rows)
        report.measured.window_documents += sum(part.last for part in window.parts)
        traces.begin(window)
        yield window


def _weight(visit: Visit) -> float:
    return HELD if visit.document.held else 1


def _row_bytes(visit: Visit) -> int:
    visit.sizes = [row_bytes(row) for row in visit.rows]
    return sum(visit.sizes)

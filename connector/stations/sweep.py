"""SWEEP: deletes the rows of documents that vanished from the source, carefully.

A partial listing looks just like a deletion, so a sweep comes last, only after a listing without a gap, and under a brake.
"""

from __future__ import annotations

from connector.errors import Refused
from connector.faults import hit
from connector.report import RunReport
from connector.stations import Options, Stations
from connector.stopping import Stop

BRAKE_ABSOLUTE, BRAKE_SHARE = 10, 0.2
"""A sweep of more documents than both is refused."""

CHUNK = 512
"""Documents that are swept in one step."""


def sweep(stations: Stations, options: Options, report: RunReport, stop: Stop) -> None:
    """SWEEP: deletes the rows of documents that the complete listing no longer has.

    Raises:
        Refused: More would go than the brake lets, the listing was empty, the source's settings changed, or keys could not be read.
    """
    if report.gaps:
        return
    ledger = stations.ledger
    known, _ = ledger.counts()
    gone = ledger.vanished()
    if gone and not options.allow_mass_delete:
        brake(stations, report, gone, known)
    while some := ledger.some_vanished(CHUNK):
        with stop.shield():
            keys = [key for document, max_rows in some for key in ledger.keys_of(document, max_rows)]
            report.rows.deleted += stations.sink.delete(keys) if keys else 0
            hit("sweep.deleted")
            ledger.forget([document for document, _ in some])
            report.counts.deleted += len(some)


def brake(stations: Stations, report: RunReport, gone: int, known: int) -> None:
    """Returns if a sweep of `gone` of `known` documents may go ahead.

    Raises:
        Refused: It looks like an accident.
    """
    why = ""
    if report.counts.listed == 0:
        why = "the source listed nothing"
    elif gone > max(BRAKE_ABSOLUTE, BRAKE_SHARE * known):
        why = f"more than {BRAKE_SHARE:.0%}"
    elif stations.ledger.source not in {"", stations.source_settings}:
        why = "the source's settings changed since the last run"
    elif report.unnamed:
        why = f"{report.unnamed} rows of the source have no readable key, and may be these"
    if why:
        raise Refused(
            f"{gone} of {known} known documents are no longer listed ({why}): nothing was deleted",
            hint="look at the source, then run again with --allow-mass-delete if they are really gone",
        )

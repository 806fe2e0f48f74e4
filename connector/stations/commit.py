"""CONFORM, WRITE and COMMIT: one window, in an order that survives a crash at any point."""

from __future__ import annotations

from connector.faults import hit
from connector.record import Key, Window
from connector.report import RunReport, Stopwatch
from connector.stations import Stations


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
    hit("window.conformed")
    with watch.time("ledger"):
        cursor, append = stations.source.mode == "cursor", stations.sync == "append"
        taken = stations.ledger.begin(window, keys if stations.natural else None, take_over=cursor, append=append)
    for index, owner in taken.items():
        window.bad[index] = ("claim", f"key {keys.pop(index)!r} belongs to the document `{owner}`")
    hit("ledger.begun")
    with watch.time("write"):
        receipt = stations.sink.write(window)
        window.bad |= {index: ("write", reason) for index, reason in receipt.rejects.items()}
        _settle(window, keys, receipt.acknowledged)
        stale = stations.ledger.stale([part.visit for part in window.parts if part.last and part.visit.writes])
        report.rows.deleted += stations.sink.delete(stale) if stale else 0
    hit("stale.deleted")
    with watch.time("ledger"):
        stations.ledger.complete(window, report.run_id, take_over=cursor)
    hit("ledger.completed")
    report.rows.upserted += len(receipt.acknowledged)
    report.count_committed([part.visit for part in window.parts if part.last])


def _settle(window: Window, keys: dict[int, Key], acknowledged: list[int]) -> None:
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

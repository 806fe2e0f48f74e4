"""A run takes as long as its slowest station: stations wait here like a disk, a GPU or a network does, and the processor is free."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from connector.commands.building import Front, Parts, stations_of
from connector.encoding import Encoding
from connector.interfaces import Prepared, Receipt
from connector.job import Job
from connector.ledger import Ledger
from connector.pipeline import run
from connector.record import Document, Payload, Window
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField
from connector.stations import Monitor, Options
from connector.stations.windows import WindowLimits
from connector.testing.encoders import FakeEncoder
from connector.testing.sinks import MemorySink
from connector.testing.sources import ListSource
from connector.verdict import THREADED

ROWS, WINDOW = 1600, 64
SLOW, QUICK = 2.0, 0.7
"""Seconds that the slowest station takes for all rows, and each of the others."""


class Notes(Collection):
    """A text and its vector."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=100)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


@dataclass
class Waiting:
    """Prepares as the fake encoder does, after a while.

    Attributes:
        inner: The fake encoder's.
        seconds: For one input.
    """

    inner: Any
    seconds: float

    def __call__(self, text: str) -> Prepared:
        """Waits, and prepares."""
        time.sleep(self.seconds)
        prepared: Prepared = self.inner(text)
        return prepared


@dataclass
class WaitingSink(MemorySink):
    """Writes after a while.

    Attributes:
        seconds: For one row.
    """

    seconds: float = field(default=0.0)

    def write(self, window: Window) -> Receipt:
        """Waits, and writes."""
        time.sleep(self.seconds * len(window.rows))
        return super().write(window)


def source(seconds: float) -> ListSource:
    """Documents that take a while to open."""

    def document(number: int) -> Document:
        def opened() -> Payload:
            time.sleep(seconds)
            return Payload({"text": f"note {number}"})

        return Document(f"d{number:05}", opened)

    return ListSource([document(number) for number in range(ROWS)], mode="listing")


def ratio(slowest: str, workers: int) -> float:
    """Wall time of a run over what its slowest station took, as measured: a sleep takes longer than it was told to.

    The ledger is in memory: the disk that it waits for is none of these stations.
    """
    seconds = {name: SLOW if name == slowest else QUICK for name in ("read", "prepare", "encode", "write")}
    each = {name: one / ROWS for name, one in seconds.items()}
    into: Any = Notes
    job = Job.check({"job": "waits", "source": source(each["read"] * workers), "into": into, "milvus": {"uri": "http://localhost:1"}}, "t")
    parts, report = Parts.of(job), RunReport(run_id="r", job="waits")
    encoder: Any = parts.bindings[0].encoder
    assert isinstance(encoder, FakeEncoder)
    encoder.delay = each["encode"]
    encoder._prepare["document"] = Waiting(encoder._prepare["document"], each["prepare"] * workers)  # type: ignore[assignment]
    monitor, sink = Monitor(report), WaitingSink(seconds=each["write"])
    front = Front.of(parts, Options(), monitor.watch)
    with Ledger(None) as ledger, Encoding(parts.bindings, workers=workers, stopwatch=monitor.watch) as encoding:
        ledger.enter("waits", "", front.fingerprint, front.settings)
        stations = replace(stations_of(front, encoding, sink, ledger), limits=WindowLimits(rows=WINDOW), workers=workers)
        begun = time.perf_counter()
        run(stations, Options(), monitor)
        took = time.perf_counter() - begun
    assert (report.counts.written, len(sink.rows)) == (ROWS, ROWS)
    took_each = {name: one / (workers if name in THREADED else 1) for name, one in monitor.watch.seconds.items()}
    return took / took_each[slowest]


@pytest.mark.parametrize("slowest", ["read", "prepare", "encode", "write"])
def test_a_run_takes_as_long_as_its_slowest_station(slowest: str) -> None:
    """At most a tenth more, or a quarter while other tests use the cores. Stations that take turns need half as much more."""
    found = []
    for _ in range(3):
        found.append(ratio(slowest, workers=2))
        if found[-1] <= (1.1 if os.getloadavg()[0] < 1 else 1.25):
            return
    pytest.fail(f"wall time over that of {slowest}: {found}")

"""A sink that is slower than the encoder holds the encoder back: what waits is bounded, however much there is to write."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from connector.interfaces import Receipt
from connector.record import Document, Gap, Payload, Position, Removed, Row, Window
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.stations.windows import WindowLimits
from connector.testing.sinks import MemorySink
from tests.test_pipeline import Bench, Listed

DIM, DOCUMENTS, BOUND = 2048, 2500, 256 << 10
"""20 MB of vectors through windows of a quarter of a megabyte stand for 20 GB through windows of 256 MB."""


class Wide(Collection):
    """Large vectors of short texts."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=20)
    vector: Vector = VectorField(dim=DIM, source="v")


class Scales:
    """A fast encoder and a slow sink with a scale between them: how many bytes of vectors were made and are not yet written."""

    def __init__(self) -> None:
        self.made = self.waiting = self.most = 0
        self._mutex = threading.Lock()

    def encode(self, windows: Iterator[Window]) -> Iterator[Window]:
        """Vectors at once."""
        for window in windows:
            window.vectors["vector"] = np.ones((len(window.rows), DIM), dtype=np.float32)
            self._add(window.vectors["vector"].nbytes)
            yield window

    def written(self, window: Window) -> None:
        """A window is written, after the encoder had time to run as far ahead as it may."""
        time.sleep(0.01)
        self._add(-window.vectors["vector"].nbytes)

    def _add(self, nbytes: int) -> None:
        with self._mutex:
            self.made += max(0, nbytes)
            self.waiting += nbytes
            self.most = max(self.most, self.waiting)


class SlowSink(MemorySink):
    """Takes its time, and keeps nothing."""

    def __init__(self, scales: Scales) -> None:
        super().__init__()
        self.scales = scales

    def write(self, window: Window) -> Receipt:
        """Acknowledges every row."""
        self.scales.written(window)
        return Receipt(list(range(len(window.rows))))


def one_row(row: Row) -> list[Row]:
    """The row as it is."""
    return [row]


class Many(Listed):
    """Documents of which none is kept."""

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Makes them."""
        for number in range(DOCUMENTS):
            yield Document(f"d{number}", lambda: Payload({"text": "text"}), version="1")


def test_a_slow_sink_bounds_what_waits(tmp_path: Path) -> None:
    """Eighty windows go through; never more than four are in memory, and the peak of all that was allocated is below sixteen."""
    bench, scales = Bench(tmp_path, spec_of(Wide), one_row), Scales()
    bench.sink = SlowSink(scales)
    limits = WindowLimits(nbytes=BOUND, vector_bytes=4 * DIM)
    tracemalloc.start()
    try:
        report = bench.run(Many([]), workers=2, encode=scales.encode, limits=limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.counts.written, scales.waiting) == (DOCUMENTS, 0)
    assert scales.made == DOCUMENTS * 4 * DIM > 70 * BOUND
    assert scales.most <= 4 * BOUND
    assert peak < 16 * BOUND, peak

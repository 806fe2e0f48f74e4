"""Memory: ten times the input, the same peak. Rows go nowhere, since a Milvus Lite would live, and grow, in our process.

The smaller input must fill every queue of the pipeline: 20,000 documents are about ten windows.

    python -m tests.bench.memory [--documents 20000] [--length 1000] [--rounds 5] [--out bench-memory.json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.bench.nowhere import Many, run_nowhere
from tests.bench.rounds import Benchmark, Measured, main, peak

TIMES = 10


def measure(empty: Path, count: int, length: int) -> Measured:
    """A first run over so many documents."""
    begun = time.perf_counter()
    report, encoded = run_nowhere(Many(count, length), empty / "state.db")
    assert (report.counts.written, encoded) == (count, count)
    seconds = time.perf_counter() - begun
    return {"documents": count, "seconds": seconds, "a_second": count / seconds, "peak_mb": peak()}


def small(_: Path, empty: Path, given: argparse.Namespace) -> Measured:
    """The input."""
    return measure(empty, given.documents, given.length)


def large(_: Path, empty: Path, given: argparse.Namespace) -> Measured:
    """Ten times as much."""
    return measure(empty, given.documents * TIMES, given.length)


BENCH = Benchmark(
    module="tests.bench.memory",
    about=str(__doc__),
    options={"documents": 20_000, "length": 1000},
    prepare=lambda *_: None,
    sides={"small": small, "large": large},
    ratios={
        "peak of ten times the input": lambda one: one["large"]["peak_mb"] / one["small"]["peak_mb"],
        "seconds a document": lambda one: one["small"]["a_second"] / one["large"]["a_second"],
    },
)

if __name__ == "__main__":
    main(BENCH)

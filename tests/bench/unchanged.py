"""Unchanged documents: what a run costs that finds nothing to do, a tenth of the documents and all of them.

Two sources: a listing whose documents have versions, so that none is opened, and JSON lines, which have none, so that every line is read
and hashed. The ledgers are made as a first run leaves them; each measurement then has a process of its own, whose peak of memory and size
of ledger are told, and which must find every document unchanged and encode nothing. Seconds of the processor are told beside those of the
clock, since they depend less on what else the machine does.

    python -m tests.bench.unchanged [--documents 1000000] [--rounds 5] [--out bench-unchanged.json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from connector.sources.jsonl import JsonlSource
from tests.bench.nowhere import Many, fill, run_nowhere
from tests.bench.rounds import Benchmark, Measured, main, peak

SMALLER = 10


def source_of(folder: Path, kind: str, count: int) -> Any:
    """A listing of so many documents, or the file that holds them."""
    return Many(count) if kind == "listing" else JsonlSource(str(folder / f"{count}.jsonl"), key="key")


def prepare(folder: Path, given: argparse.Namespace) -> None:
    """Writes the files and fills the ledgers."""
    for count in (given.documents // SMALLER, given.documents):
        with (folder / f"{count}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"key": f"k{number:09}", "text": f"note {number}"}) + "\n" for number in range(count))
        for kind in ("listing", "jsonl"):
            assert fill(source_of(folder, kind, count), folder / f"{kind}-{count}.db") == count


def measure(folder: Path, empty: Path, given: argparse.Namespace, *, kind: str, share: int) -> Measured:
    """A second run."""
    count = given.documents // share
    state = empty / "state.db"
    shutil.copy(folder / f"{kind}-{count}.db", state)
    begun, used = time.perf_counter(), time.process_time()
    report, encoded = run_nowhere(source_of(folder, kind, count), state)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    assert (report.counts.unchanged, report.counts.listed, encoded) == (count, count, 0)
    size = state.stat().st_size / 1e6
    return {"documents": count, "seconds": seconds, "cpu_s": cpu, "peak_mb": peak(), "ledger_mb": size, "encoded": encoded}


def growth(kind: str, measure: str) -> Any:
    """By how much more a document costs in the large source; of memory, the peaks compared."""
    share = 1 if measure == "peak_mb" else SMALLER
    return lambda one: one[f"{kind}-all"][measure] / one[f"{kind}-tenth"][measure] / share


KINDS = ("listing", "jsonl")
BENCH = Benchmark(
    module="tests.bench.unchanged",
    about=str(__doc__),
    options={"documents": 1_000_000},
    prepare=prepare,
    sides={
        f"{kind}-{name}": partial(measure, kind=kind, share=share) for kind in KINDS for name, share in (("tenth", SMALLER), ("all", 1))
    },
    ratios={f"{kind}: {name} of ten times as many": growth(kind, name) for kind in KINDS for name in ("cpu_s", "peak_mb", "ledger_mb")},
)

if __name__ == "__main__":
    main(BENCH)

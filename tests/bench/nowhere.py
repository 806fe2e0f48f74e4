"""Runs a job whose rows go nowhere, with a fake model: what is measured is ours alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from connector.commands.building import Front, Parts, source_hash, stations_of
from connector.commands.keeping import KeepingSink
from connector.encoding import Encoding
from connector.encoding.vectorcache import VectorCache
from connector.interfaces import DeviceSpec, Sink
from connector.job import Job
from connector.ledger import Ledger
from connector.pipeline import run
from connector.record import Document, Known, Payload, Position, content_hash
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField
from connector.stations import Monitor, Options
from connector.stopwatch import Stopwatch

UNKNOWN_SERVER = "http://localhost:1"
"""Nothing is sent there."""


class Notes(Collection):
    """A text and its vector."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=4096)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


@dataclass
class Many:
    """A source of as many documents as one likes, each with a version, none of them kept.

    Attributes:
        count: How many.
        length: Letters in each.
    """

    count: int
    length: int = 100
    mode: Literal["listing"] = "listing"

    def partitions(self) -> list[str]:
        """One."""
        return [""]

    def read(self, partition: str, after: Position | None) -> Iterator[Document]:
        """Makes them, one after the other."""
        del partition, after
        return (self._document(number) for number in range(self.count))

    def _document(self, number: int) -> Document:
        return Document(f"d{number:09}", lambda: Payload({"text": f"{number:09} " + "x" * (self.length - 10)}), version="v1")


class _Forgetful(list[Any]):
    """A list of batches that does not grow."""

    def append(self, item: Any) -> None:
        """Nothing."""


def _job(source: Any, into: type[Collection] = Notes) -> Job:
    return Job.check({"job": "bench", "source": source, "into": into, "milvus": {"uri": UNKNOWN_SERVER}, "sync": "mirror"}, "bench")


def fill(source: Any, state: Path) -> int:
    """Makes the ledger that a first run over a source of notes leaves, without that run; returns how many documents it knows."""
    job = _job(source)
    front = Front.of(Parts.of(job), Options(), Stopwatch())
    listed = (item for part in source.partitions() for item in source.read(part, None))
    entries = ((one.key, Known("done", one.version, _content(one), front.fingerprint, 1, 1), ()) for one in listed)
    with Ledger(state) as ledger:
        ledger.enter(job.scope, "bench", front.fingerprint, front.settings)
        number = ledger.replace(entries)
        ledger.settle(epoch=1, source=source_hash(job))
    return number


def _content(document: Document) -> str:
    return content_hash(None, {"text": document.open().fields["text"]})


def run_nowhere(
    source: Any,
    state: Path,
    into: type[Collection] = Notes,
    sink: Sink | None = None,
    *,
    cache: VectorCache | None = None,
    workers: int = 2,
    devices: Mapping[str, DeviceSpec] | None = None,
) -> tuple[RunReport, int]:
    """The report of a run into a sink that is at hand, or nowhere, and how many inputs were encoded; a cache keeps vectors as in a job.

    `devices` says where and how to compute, by field.
    """
    job = _job(source, into).model_copy(update={"workers": workers})
    report, parts = RunReport(run_id="bench", job=job.job), Parts.of(job)
    for binding in parts.bindings:
        encoder: Any = binding.encoder
        encoder.batches = _Forgetful()
    monitor = Monitor(report, on_window=lambda _: cache.window_committed() if cache is not None else None)
    front = Front.of(parts, Options(), monitor.watch)
    encode = Encoding(parts.bindings, devices, ready=parts.spec.ready, workers=job.workers, stopwatch=monitor.watch, cache=cache)
    with Ledger(state) as ledger, encode as encoding:
        ledger.enter(job.scope, "bench", front.fingerprint, front.settings, natural=not parts.spec.primary.generated)
        run(stations_of(front, encoding, sink or KeepingSink(parts.spec), ledger), Options(), monitor)
        ledger.settle(epoch=1, source=source_hash(job))
    return report, encoding.counters.encoded

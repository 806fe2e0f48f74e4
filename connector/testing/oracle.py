"""Says whether a collection holds exactly what its source says: rows that are missing, doubled, stale or foreign.

`compare` takes what must be there and what is there. `check_job` works out what must be there from the job alone: it lists, reads, parses,
splits, conforms and encodes everything anew, without ledger and without skipping anything, so it needs no trust in what earlier runs did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from connector.commands.building import Front, Parts
from connector.encoding import Encoding
from connector.errors import PlanNeeded
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.sink import MilvusSink
from connector.plan import target
from connector.record import Document, Gap, Key, Row, Visit
from connector.stations import Options
from connector.stations.rows import Conform
from connector.stations.windows import WindowLimits, windows
from connector.stopwatch import Stopwatch

TOLERANCE = 1e-4
"""How far a vector may lie from the expected one, relative to its length: as far as fp32 on two machines."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong, by key.

    Attributes:
        missing: Expected and not there.
        doubled: There more than once.
        stale: There with another value.
        foreign: There and not expected.
    """

    missing: list[Any] = field(default_factory=list)
    doubled: list[Any] = field(default_factory=list)
    stale: list[Any] = field(default_factory=list)
    foreign: list[Any] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many of each; all 0 if everything is right."""
        return {name: len(getattr(self, name)) for name in ("missing", "doubled", "stale", "foreign")}

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.counts.values())


def compare(
    expected: Mapping[Any, Row],
    found: Iterable[tuple[Any, Row]],
    *,
    counted: int | None = None,
    tolerance: float = TOLERANCE,
) -> Verdict:
    """Compares two sets of rows.

    Args:
        expected: What must be there, by key; the values that it names are compared, arrays as vectors, and no others.
        found: What is there, each row with its key, a key as often as it is there.
        counted: How many rows there are by another way of counting; more than were found are doubled (a read by key shows one of two).
        tolerance: For vectors, relative to their length.
    """
    seen: dict[Any, Row] = {}
    doubled: list[Any] = []
    rows = 0
    for key, row in found:
        rows += 1
        doubled += [key] if key in seen else []
        seen[key] = row
    doubled += [None] * max(0, (rows if counted is None else counted) - rows)
    return Verdict(
        missing=[key for key in expected if key not in seen],
        doubled=doubled,
        stale=[key for key, row in expected.items() if key in seen and not _same(row, seen[key], tolerance)],
        foreign=[key for key in seen if key not in expected],
    )


def expected_rows(job: Job) -> dict[Key, Row]:
    """What a job's source must have in the collection now, by primary key, vectors included; encodes everything."""
    front = Front.of(Parts.of(job), Options(full_refresh=True), Stopwatch())
    spec = front.parts.spec
    conform = Conform(spec, job.scope, front.fingerprint, last_wins=front.source.mode == "cursor", tenant=front.parts.tenant)
    limits = WindowLimits(vector_bytes=sum(one.row_bytes for one in spec.vectors))
    ready = list(spec.ready)
    expected: dict[Key, Row] = {}
    with Encoding(front.parts.bindings, job.encode, ready=ready, workers=0) as encoding:
        for window in encoding(windows(_visits(front), limits)):
            begun = {part.visit.key for part in window.parts if part.first == 0}
            for key in [key for key, row in expected.items() if row["connector_key"] in begun] if front.source.mode == "cursor" else ():
                del expected[key]  # a later version of these documents, or their removal
            for index, key in conform(window).items():
                if index not in window.bad:
                    expected[key] = {**window.rows[index], **{name: values[index] for name, values in window.vectors.items()}}
    return expected


def check_job(job: Job | str | Path) -> Verdict:
    """Compares a job's rows in its collection with its source as it is now; writes nothing.

    Documents that a run would reject are not expected. It is for tests: what the source must have is held in memory.

    Raises:
        PlanNeeded: There is no collection of this code.
    """
    job = job if isinstance(job, Job) else Job.from_yaml(job)
    expected = expected_rows(job)
    parts = Parts.of(job)
    with connect(job.milvus) as connection:
        found = target(parts.want, Catalog(connection).have(parts.spec.name))
        if found is None:
            raise PlanNeeded(f"no generation of `{parts.spec.name}` is what the code says", hint=f"connector run {job.where}")
        sink = MilvusSink(connection, found.name, parts.spec)
        names = [*(one.name for one in parts.spec.fields), *(one.name for one in parts.spec.sent)]
        rows = [(row[parts.spec.primary.name], row) for row in sink.scan(job.scope, names)]
        return compare(expected, rows, counted=sink.count(job.scope))


def _visits(front: Front) -> Iterator[Visit]:
    """Every document, read, and every removal; of two documents with one key in a listing the first counts."""
    seen: set[str] = set()
    for partition in front.source.partitions():
        for item in front.source.read(partition, None):
            if isinstance(item, Gap) or (item.key in seen and front.source.mode == "listing"):
                continue
            seen.add(item.key)
            if isinstance(item, Document):
                yield front.read(Visit(item, partition))
            else:
                yield Visit(Document(item.key, _gone), partition, outcome="removed")


def _gone() -> NoReturn:
    raise AssertionError("a removal is not opened")


def _same(expected: Row, found: Row, tolerance: float) -> bool:
    return all(name in found and _equal(value, found[name], tolerance) for name, value in expected.items())


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    if not isinstance(one, np.ndarray):
        return bool(one == other)
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return a.shape == b.shape and float(np.linalg.norm(a - b)) <= tolerance * max(float(np.linalg.norm(a)), 1e-12)

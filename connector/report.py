"""Counts and seconds of a run: filled by the stations, printed as two lines or as one JSON document.

The counts must add up: listed = unchanged + written + empty + rejected + deferred. What a run did not come to is deferred, so
a run that ends by itself defers nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field

from connector.flow import close

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from connector.record import Visit

T = TypeVar("T")

MAX_SHOWN = 20
"""Most rejects that a report lists; the ledger has them all."""

REJECTED = frozenset({"partial", "rejected"})
"""What the ledger says of documents that count as rejected although they are unchanged."""

_COUNTING = threading.Lock()
"""Documents are counted by the thread that lists and by the one that commits."""


class Counts(BaseModel):
    """Documents by what became of them."""

    listed: int = 0
    unchanged: int = 0
    written: int = 0
    empty: int = 0
    rejected: int = 0
    deferred: int = 0
    deleted: int = 0


class RowCounts(BaseModel):
    """Rows sent to Milvus."""

    upserted: int = 0
    deleted: int = 0
    rejected: int = 0


class Verified(BaseModel):
    """What reading back at the end of a run came to.

    Attributes:
        rows: Of finished documents in the job's namespace, counted with Strong consistency.
        written: How many the ledger says there are.
        sampled: Rows of this run that were read back and compared bit for bit.
        differing: Documents that are not as they were written; they are re-queued.
        shown: The first of them.
    """

    rows: int
    written: int
    sampled: int
    differing: int = 0
    shown: list[str] = Field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything is there as it was written."""
        return self.rows == self.written and not self.differing

    def __str__(self) -> str:
        if self.good:
            return f"verified: {self.rows:,} rows counted as written, {self.sampled:,} read back equal"
        counted = f"{self.rows:,} rows counted, {self.written:,} were written; {self.differing:,} documents differ"
        return "\n".join([f"NOT verified: {counted}", *(f"differs: {one}" for one in self.shown)])


class RunReport(BaseModel):
    """What a run came to; the document that `--json` prints.

    Attributes:
        run_id: Unique, sorts by time.
        job: The job's name.
        collection: The physical collection written to.
        exit_code: As of the command line; 0 is success.
        message: Why the exit code is not 0, else "".
        counts: Documents.
        rows: Rows.
        encoded: Inputs that went through a model.
        reused: Inputs whose vectors were paid for before.
        truncated: Inputs longer than the model reads.
        gaps: Parts of the source that could not be listed.
        notes: What else is to be known: a collection that is not live yet or was changed by hand, a precision that was not used.
        unnamed: Documents whose own key could not be read.
        forgotten: Documents that the source has and that were left out, since they are forgotten; they are not in `counts`.
        rejects: The first rejects of this run, at most 20.
        seconds: Wall time, start-up included.
        startup_s: Of which: imports, connecting and loading models.
        verified: What reading back came to; None if the run did not get there.
        index: With `wait_for_index`, by field: "rows indexed/rows that are to be".
        verdict: How near the encoder came to its own speed, and what held it back; "" if there is nothing to tell.
        stations: Seconds of work by station; stations overlap, so they may add up to more than `seconds`.
    """

    run_id: str
    job: str
    collection: str = ""
    exit_code: int = 0
    message: str = ""
    counts: Counts = Field(default_factory=Counts)
    rows: RowCounts = Field(default_factory=RowCounts)
    encoded: int = 0
    reused: int = 0
    truncated: int = 0
    gaps: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    unnamed: int = 0
    forgotten: int = 0
    rejects: list[str] = Field(default_factory=list)
    seconds: float = 0.0
    startup_s: float = 0.0
    verified: Verified | None = None
    index: dict[str, str] = Field(default_factory=dict)
    verdict: str = ""
    stations: dict[str, float] = Field(default_factory=dict)

    def count_listed(self, visits: Sequence[Visit], skipped: Sequence[bool]) -> None:
        """Counts documents that were listed, and those of them whose visit is over."""
        listed = len(visits) - sum(visit.removed for visit in visits)
        known = [visit.known for visit, done in zip(visits, skipped, strict=True) if done]
        rejected = sum(entry is not None and entry.status in REJECTED for entry in known)
        with _COUNTING:
            self.counts.listed += listed
            self.counts.unchanged += len(known) - rejected
            self.counts.rejected += rejected

    def count(self, visit: Visit) -> None:
        """Counts a document whose visit is over."""
        with _COUNTING:
            self._count(visit)

    def _count(self, visit: Visit) -> None:
        if visit.rejects:
            self.rows.rejected += sum(reject.ordinal is not None for reject in visit.rejects)
            room = max(0, MAX_SHOWN - len(self.rejects))
            self.rejects += [f"{r.document}{'' if r.ordinal is None else f' row {r.ordinal}'}: {r.reason}" for r in visit.rejects[:room]]
        if visit.removed:
            self.counts.deleted += visit.known is not None
        elif visit.rejects:
            self.counts.rejected += 1
        elif visit.outcome == "unchanged":
            self._count_unchanged(visit)
        elif visit.outcome == "empty":
            self.counts.empty += 1
        else:
            self.counts.written += 1

    def _count_unchanged(self, visit: Visit) -> None:
        """Counts a document that is as the ledger has it: a partial or rejected one stays rejected, every run."""
        if visit.known is not None and visit.known.status in REJECTED:
            self.counts.rejected += 1
        else:
            self.counts.unchanged += 1

    def __str__(self) -> str:
        c, rows = self.counts, self.rows
        documents = (
            f"{self.collection or self.job}  {c.listed:,} listed = {c.unchanged:,} unchanged + {c.written:,} written + {c.empty:,} empty"
            f" + {c.rejected:,} rejected + {c.deferred:,} deferred; {c.deleted:,} deleted     in {self.seconds:.1f} s"
        )
        again = f", {self.reused:,} reused" if self.reused else ""
        work = (
            f"rows: {rows.upserted:,} upserted, {rows.deleted:,} deleted, {self.encoded:,} encoded{again}; start-up {self.startup_s:.1f} s"
        )
        stations = "  ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stations.items())
        lines = [documents, f"{work}; {stations}" if stations else work]
        lines += [self.verdict] if self.verdict else []
        lines += [f"indexed: {', '.join(f'{name} {done}' for name, done in self.index.items())}"] if self.index else []
        lines += [str(self.verified)] if self.verified else []
        lines += [f"forgotten: {self.forgotten:,} documents of the source were left out"] if self.forgotten else []
        lines += [f"gap: {gap}" for gap in self.gaps]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"rejected: {reject}" for reject in self.rejects]
        return "\n".join(lines)


class Stopwatch:
    """Adds up seconds by station; called from several threads."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._mutex = threading.Lock()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by station so far, in the order of first use."""
        with self._mutex:
            return dict(self._seconds)

    def add(self, station: str, seconds: float) -> None:
        """Adds to a station."""
        with self._mutex:
            self._seconds[station] += seconds

    @contextlib.contextmanager
    def time(self, station: str) -> Iterator[None]:
        """Times a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(station, time.perf_counter() - start)

    def each(self, station: str, items: Iterator[T]) -> Iterator[T]:
        """Times every step of an iterator; closing it closes `items`."""
        try:
            while True:
                with self.time(station):
                    item: Any = next(items, self)
                if item is self:
                    return
                yield item
        finally:
            close(items)

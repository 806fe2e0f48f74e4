"""Counts and seconds of a run: filled by the stations, printed as two lines or as one JSON document.

The counts must add up: listed = unchanged + written + empty + rejected + deferred. What a run did not come to is deferred, so
a run that ends by itself defers nothing.
"""

from __future__ import annotations

import threading
from html import escape
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from connector.display import table, text
from connector.errors import Locked, OutOfTime, TooManyRejects, exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.record import Visit

Outcome = Literal["", "ok", "rejects", "failed", "stopped", "locked"]
"""How a run ended: `rejects` is exit code 3, `stopped` a signal or its own time limit, `locked` that another run was at work."""

_OUTCOMES: dict[int, Outcome] = {0: "ok", TooManyRejects.exit_code: "rejects", Locked.exit_code: "locked"}
_SIGNALS = 128

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


class Measured(BaseModel):
    """How the work went, counted where it happened.

    Attributes:
        nbytes: Bytes by station: `read` as documents gave them, `window` and `commit` as an estimate of the memory that a window takes
            (inputs and vectors) when it is made and when it is committed, `encode` of prepared inputs, `write` of acknowledged requests.
        window_rows: Rows in the windows made.
        window_documents: Documents that end in one of them; those skipped by their version are in none.
        in_flight_bytes: Of windows that are made and not committed: while the run goes on; afterwards 0.
        retries: Requests that were sent again, to Milvus or to a server that encodes.
        throttled: Requests that were refused because they came too fast.
        encoder_busy: Share of the time, start-up aside, in which the encoder was at work, 0 to 1; None: nothing was encoded.
        batch_fill: How full the micro-batches were, padding included, 0 to 1; None: nothing was encoded.
        padding: Share of what the model computed that was padding, 0 to 1; None: nothing was encoded.
    """

    nbytes: dict[str, int] = Field(default_factory=dict)
    window_rows: int = 0
    window_documents: int = 0
    in_flight_bytes: int = 0
    retries: int = 0
    throttled: int = 0
    encoder_busy: float | None = None
    batch_fill: float | None = None
    padding: float | None = None


class RunReport(BaseModel):
    """What a run came to; the document that `--json` prints.

    Attributes:
        run_id: Unique, sorts by time.
        job: The job's name.
        collection: The physical collection written to.
        exit_code: As of the command line; 0 is success.
        outcome: How it ended; "" while it is under way.
        partial: Whether it looked at a part of the source only, as with `--limit`.
        recovered: It ended well, and the run before it had not.
        succeeded_at: When the latest run ended well that looked at the whole source, this one included: Unix time; None: never.
        in_step_at: When that run began: the collection has everything that the source had by then.
        total: Documents that there are; None: the source does not say, and is not listed to its end.
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
        measured: How the work went.
    """

    run_id: str
    job: str
    collection: str = ""
    exit_code: int = 0
    outcome: Outcome = ""
    message: str = ""
    partial: bool = False
    recovered: bool = False
    succeeded_at: float | None = None
    in_step_at: float | None = None
    total: int | None = None
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
    measured: Measured = Field(default_factory=Measured)

    def end(self, error: BaseException | None = None) -> None:
        """Notes how the run ended: by this error, or by itself with the exit code that it has."""
        if error is not None:
            self.exit_code, self.message = exit_code(error), getattr(error, "message", type(error).__name__)
        stopped = isinstance(error, OutOfTime) or self.exit_code > _SIGNALS
        self.outcome = "stopped" if stopped else _OUTCOMES.get(self.exit_code, "failed")

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

    def count_committed(self, visits: Sequence[Visit]) -> None:
        """Counts the documents of a window; those that were simply written, which are most, all at once."""
        others = [visit for visit in visits if visit.rejects or visit.removed or visit.outcome != "written"]
        with _COUNTING:
            self.counts.written += len(visits) - len(others)
        for visit in others:
            self.count(visit)

    def _count_unchanged(self, visit: Visit) -> None:
        """Counts a document that is as the ledger has it: a partial or rejected one stays rejected, every run."""
        if visit.known is not None and visit.known.status in REJECTED:
            self.counts.rejected += 1
        else:
            self.counts.unchanged += 1

    def _repr_html_(self) -> str:
        """As a notebook shows it: the counts in a table, the rest as it is printed."""
        return table(list(Counts.model_fields), [[text(f"{count:,}") for _, count in self.counts]]) + f"<pre>{escape(str(self))}</pre>"

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

"""Compares what the ledger says was written with what the collection holds, and, if asked to, with what the source lists.

Rows are counted, then every row's key and lineage is compared with its document's entry, then rows are read back whole and compared with
the digests of what was written: some of them, or all. A repair re-queues what differs, so that the next run encodes only that.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from connector.commands.building import Front, Parts, stations_of
from connector.commands.grounds import ground_of
from connector.commands.keeping import KeepingSink
from connector.errors import TooManyRejects
from connector.flow import flat
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus.client import connect
from connector.milvus.peek import look
from connector.plan import required
from connector.plan.generations import Generation
from connector.reconcile import balance, compare_rows, gather, reconcile
from connector.reconcile.findings import Ground
from connector.reconcile.stored import RowDigest
from connector.report import RunReport
from connector.stations import Options
from connector.stations.listing import listing
from connector.stopwatch import Stopwatch

SAMPLE = 256
"""Rows that are read back unless all are."""


class SourceSide(BaseModel):
    """What the source has that the collection has not, or the reverse.

    Attributes:
        listed: Documents that the source lists.
        new: Listed, but never written.
        changed: Listed in another version than the one that was written.
        rejected: Listed, but they cannot be written; they do not count as differing.
        vanished: Known and no longer listed; only a mirror counts them as differing. None if this source cannot tell.
        gaps: Parts that could not be listed.
    """

    listed: int = 0
    new: int = 0
    changed: int = 0
    rejected: int = 0
    vanished: int | None = None
    gaps: list[str] = Field(default_factory=list)


class Verification(BaseModel):
    """What a verification came to.

    Attributes:
        job: The job's name.
        collection: The physical collection.
        documents: That the ledger knows.
        rows: Of finished documents in the namespace, counted with Strong consistency.
        written: How many the ledger says there are.
        compared: Rows that were read back whole and compared with what was written.
        uncompared: Documents among them of which it is not known what was written: their ledger was rebuilt, or is of an older format.
        seed: Of the sample; give it again to look at the same rows.
        differing: Documents that differ.
        kinds: Differences by kind.
        shown: The first of them.
        source: With `source`, that side.
        repaired: Whether they were re-queued.
        requeued: Documents that the next run makes again.
        adopted: Documents that the ledger took over from the collection.
        deleted: Rows that belonged to nothing and were deleted.
        seconds: Wall time.
        message: Why the exit code is not 0, else "".
        exit_code: 0 when clean, else 3.
    """

    job: str
    collection: str
    documents: int = 0
    rows: int = 0
    written: int = 0
    compared: int = 0
    uncompared: int = 0
    seed: str = ""
    differing: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    shown: list[str] = Field(default_factory=list)
    source: SourceSide | None = None
    repaired: bool = False
    requeued: int = 0
    adopted: int = 0
    deleted: int = 0
    seconds: float = 0.0
    message: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        counted = f"{self.documents:,} documents; {self.rows:,} rows counted, {self.written:,} written, {self.compared:,} read back"
        lines = [f"{self.collection}  {counted}     in {self.seconds:.1f} s"]
        lines += [f"{self.uncompared:,} documents could not be compared: their ledger was rebuilt"] if self.uncompared else []
        lines += [f"differs: {one}" for one in self.shown]
        if self.source is not None:
            side = self.source
            vanished = "" if side.vanished is None else f", {side.vanished:,} vanished"
            lines.append(
                f"source: {side.listed:,} listed, {side.new:,} new, {side.changed:,} changed, {side.rejected:,} rejected{vanished}"
            )
            lines += [f"gap: {gap}" for gap in side.gaps]
        if self.repaired:
            lines.append(f"re-queued {self.requeued:,} documents, took over {self.adopted:,}, deleted {self.deleted:,} rows")
        return "\n".join([*lines, self.message or "clean"])


def verify_job(job: Job, *, full: bool = False, repair: bool = False, source: bool = False, seed: str = "") -> Verification:
    """Compares ledger, collection and source.

    Args:
        job: The job.
        full: Read every row back, not only 256.
        repair: Re-queue what differs, delete rows that belong to nothing, and take over documents that only the collection knows; run the
            job afterwards.
        source: List the source too; what has another version is opened and compared by content.
        seed: Of the sample; default another one every time.

    Raises:
        PlanNeeded: There is no collection as the code says.
        Locked: A run of this job is under way.
    """
    begun = time.perf_counter()
    parts = Parts.of(job)
    front = Front.of(parts, Options(), Stopwatch())
    found = required(parts.want, look(parts.job.milvus, parts.spec.name)[1], parts.job.where)
    result = Verification(job=job.job, collection=found.name, seed=seed or os.urandom(4).hex(), repaired=repair)
    with Ledger(job.state_path) as ledger, connect(job.milvus) as connection:
        _enter(ledger, front, found, repair=repair)
        ground = ground_of(connection, found.name, parts.spec, ledger, job.scope)
        if source:
            result.source = _source_side(front, ledger, job)
        _compare(result, ground, RowDigest(parts.spec), full=full)
        if (result.requeued or result.adopted) and front.source.mode == "cursor":
            ledger.rewind()
    _judge(result, job)
    result.seconds = round(time.perf_counter() - begun, 3)
    return result


def _enter(ledger: Ledger, front: Front, found: Generation, *, repair: bool) -> None:
    namespace, uid, natural = front.parts.job.scope, found.stamp.uid if found.stamp else "", not front.parts.spec.primary.generated
    if repair:
        ledger.enter(namespace, uid, front.fingerprint, front.settings, natural=natural)
    else:
        ledger.look(namespace, uid, natural=natural)


def _compare(result: Verification, ground: Ground, digest: RowDigest, *, full: bool) -> None:
    result.documents = ground.ledger.counts()[0]
    result.rows, result.written = balance(ground)
    scanned = gather(ground)
    documents = ground.ledger.written() if full else _some(ground.ledger.written(), result.seed)
    result.compared, result.uncompared, changed = compare_rows(ground, digest, documents, None if full else SAMPLE)
    findings = reconcile(ground, scanned, repair=result.repaired, changed=changed)
    result.differing, result.kinds = findings.documents, dict(findings.kinds)
    result.shown = [f"{one.document}: {one.kind}: {one.detail}" for one in findings.shown]
    result.requeued, result.adopted, result.deleted = findings.requeued, findings.adopted, findings.deleted


def _some(documents: Iterable[str], seed: str) -> list[str]:
    """A sample of documents, each with the same chance, in random order."""
    chance, sample = random.Random(seed), list[str]()  # noqa: S311 - a sample, not a secret
    for number, key in enumerate(documents, start=1):
        if len(sample) < SAMPLE:
            sample.append(key)
        elif chance.random() * number < SAMPLE:
            sample[chance.randrange(SAMPLE)] = key
    chance.shuffle(sample)
    return sample


def _source_side(front: Front, ledger: Ledger, job: Job) -> SourceSide:
    stations = stations_of(front, iter, KeepingSink(front.parts.spec), ledger)
    report, side = RunReport(run_id="", job=job.job), SourceSide()
    for visit in flat(listing(stations, Options(), report)):
        if visit.outcome is None:
            visit = front.read(visit)  # noqa: PLW2901 - the same visit, read
        visit.rows = []
        if visit.outcome == "rejected":
            side.rejected += 1
        elif visit.outcome != "unchanged" and not (visit.outcome == "removed" and visit.known is None):
            side.new += visit.known is None
            side.changed += visit.known is not None
    side.listed, side.gaps = report.counts.listed, report.gaps
    if front.source.mode == "listing" and not report.gaps:
        side.vanished = ledger.vanished()
    return side


def _judge(result: Verification, job: Job) -> None:
    said: list[Any] = []
    if result.differing:
        said.append(f"{result.differing:,} documents differ ({', '.join(f'{count:,} {kind}' for kind, count in result.kinds.items())})")
    elif result.rows != result.written:
        said.append(f"{result.rows:,} rows are counted, {result.written:,} were written, though every document is whole")
    if (side := result.source) is not None:
        gone = (side.vanished or 0) if job.sync == "mirror" else 0
        said += (
            [f"the source has {side.new:,} new, {side.changed:,} changed, {gone:,} vanished"] if side.new or side.changed or gone else []
        )
        said += [f"{len(side.gaps)} parts of the source could not be listed"] if side.gaps else []
    if said:
        following = "run the job to mend it" if result.repaired or not result.differing else "connector verify --repair re-queues it"
        result.message, result.exit_code = f"{'; '.join(said)}; {following}", TooManyRejects.exit_code

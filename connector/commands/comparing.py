"""The dry run: lists the source and compares it with the ledger, and says what a run would do. Changes nothing anywhere.

Documents are not opened but for rows of tables, which are in memory, so what has another version counts as to be read; a run may still find
its content unchanged, or reject it.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from connector.commands.building import Front, Parts, stations_of
from connector.commands.keeping import KeepingSink
from connector.errors import Refused, TooManyRejects
from connector.flow import flat
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus import features
from connector.milvus.peek import look
from connector.plan import Generation, steps, target
from connector.report import RunReport
from connector.stations import Options, Stations
from connector.stations.listing import listing
from connector.stations.sweep import brake
from connector.stopwatch import Stopwatch


class Comparison(BaseModel):
    """What a run would find: listed = unchanged + to_read + rejected.

    Attributes:
        job: The job's name.
        collection: The physical collection that a run would write to; "" if it would create one.
        changes: What a run would create first.
        listed: Documents that the source lists.
        unchanged: Documents that the ledger knows as they are.
        to_read: Documents that are new, or that may have changed.
        rejected: Documents that stay rejected or partial unread, or that cannot be listed.
        vanished: Known documents that are no longer listed; None if this listing cannot tell.
        to_delete: Documents whose rows a run would delete.
        gaps: Parts of the source that could not be listed.
        notes: What else a run would do.
        message: Why the exit code is not 0, else "".
        exit_code: As far as it can be told: 0, 3 for a gap, 6 if a safety brake would hold.
    """

    job: str
    collection: str = ""
    changes: list[str] = Field(default_factory=list)
    listed: int = 0
    unchanged: int = 0
    to_read: int = 0
    rejected: int = 0
    vanished: int | None = None
    to_delete: int = 0
    gaps: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    message: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        counts = f"{self.listed:,} listed = {self.unchanged:,} unchanged + {self.to_read:,} to read + {self.rejected:,} rejected"
        vanished = "" if self.vanished is None else f"; {self.vanished:,} vanished"
        lines = [f"{self.collection or self.job}  {counts}{vanished}; {self.to_delete:,} to delete     (dry run: nothing was changed)"]
        lines += [f"first: {change.removeprefix('+ ')}" for change in self.changes]
        lines += [f"gap: {gap}" for gap in self.gaps] + [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *([self.message] if self.message else [])])


def compare_job(job: Job, options: Options | None = None) -> Comparison:
    """What `run_job` would do with the same options, as far as listing tells.

    Raises:
        PlanNeeded: The live collection is not what the code says.
        ConnectorError: As a run up to its listing.
    """
    options = options or Options()
    parts = Parts.of(job)
    front = Front.of(parts, options, Stopwatch())
    server, have = look(job.milvus, parts.spec.name)
    features.check(parts.spec, server)
    result = Comparison(job=job.job, changes=[action.describe() for action in steps(parts.want, have)])
    found = target(parts.want, have)
    with Ledger(job.state_path, lock=False, read_only=True) as ledger:
        ledger.look(job.scope, found.stamp.uid if found and found.stamp else "")
        stations = stations_of(front, iter, KeepingSink(parts.spec), ledger)
        if found is not None:
            result.collection = found.name
            _note(result, ledger, found)
        _count(result, stations, options)
    return result


def _note(result: Comparison, ledger: Ledger, found: Generation) -> None:
    if found.epoch < ledger.epoch:
        result.notes.append(f"{found.name} was restored from a backup: a run rebuilds the ledger from it first and reads every document")
    elif found.epoch and not ledger.counts()[0]:
        result.notes.append(f"the ledger knows nothing of {found.name}: a run rebuilds it first and encodes only what is not there")


def _count(result: Comparison, stations: Stations, options: Options) -> None:
    report = RunReport(run_id="", job=result.job)
    for visit in flat(listing(stations, options, report)):
        if visit.outcome is None:
            result.to_read += 1
        else:
            report.count(visit)
    counts = report.counts
    result.listed, result.unchanged, result.rejected = counts.listed, counts.unchanged, counts.rejected
    result.to_delete, result.gaps = counts.deleted, report.gaps
    if report.gaps:
        result.message, result.exit_code = "a part of the source cannot be listed: nothing would be deleted", TooManyRejects.exit_code
    elif not options.partial and stations.source.mode == "listing":
        result.vanished = stations.ledger.vanished()
        _sweep(result, stations, options, report)


def _sweep(result: Comparison, stations: Stations, options: Options, report: RunReport) -> None:
    gone = result.vanished or 0
    if not gone or stations.sync != "mirror":
        return
    try:
        if not options.allow_mass_delete:
            brake(stations, report, gone, stations.ledger.counts()[0])
        result.to_delete += gone
    except Refused as error:
        result.message, result.exit_code = error.message.replace("was deleted", "would be deleted"), error.exit_code

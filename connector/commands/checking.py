"""Tries a job on its first documents: everything from LIST to CONFORM as a run does it, and then nothing is written.

The ledger is one in memory and the sink keeps a single row, so neither a file nor a collection is touched.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from connector.commands.building import Front, Parts, stations_of
from connector.commands.keeping import KeepingSink
from connector.display import one_line
from connector.encoding import Encoding
from connector.errors import TooManyRejects
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus import features
from connector.milvus.peek import look
from connector.pipeline import run
from connector.plan import diff
from connector.report import Counts, RunReport
from connector.schema.spec import LINEAGE
from connector.stations import Monitor, Options
from connector.stopwatch import Stopwatch

DOCUMENTS = 10
"""How many documents are tried."""


class Check(BaseModel):
    """What a trial came to.

    Attributes:
        job: The job's name.
        collection: The declared collection.
        server: What answered, with its version.
        changes: What a run would find different from the code; empty if the collection is as declared.
        encoders: By encoded vector field: the reference in the schema, and the identity that vectors are compared by.
        counts: Of the documents that were tried; `written` are those that would be.
        rows: How many rows they would become.
        truncated: Inputs longer than the model reads.
        first: The first row, vectors shortened; None if there is none.
        rejects: What would be rejected, with reasons.
        gaps: Parts of the source that could not be listed.
        message: Why the exit code is not 0, else "".
        exit_code: 0, or 3 if anything was rejected or could not be listed.
    """

    job: str
    collection: str
    server: str
    changes: list[str]
    encoders: dict[str, dict[str, Any]]
    counts: Counts = Field(default_factory=Counts)
    rows: int = 0
    truncated: int = 0
    first: dict[str, Any] | None = None
    rejects: list[str] = Field(default_factory=list)
    gaps: list[str] = Field(default_factory=list)
    message: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        c = self.counts
        lines = [f"server: {self.server}", f"collection {self.collection}: {self._state()}"]
        lines += [f"encoder of {field}: {_named(one)}" for field, one in self.encoders.items()]
        lines.append(f"tried: {c.listed} documents = {c.written} good + {c.empty} empty + {c.rejected} rejected; {self.rows} rows")
        if self.truncated:
            lines.append(f"truncated: {self.truncated} inputs are longer than the model reads; split them, or raise max_tokens")
        lines += [f"gap: {gap}" for gap in self.gaps] + [f"rejected: {reject}" for reject in self.rejects]
        lines.append("first row:" if self.first else "no row to show")
        return "\n".join([*lines, *(f"    {name}: {one_line(value)}" for name, value in (self.first or {}).items() if name not in LINEAGE)])

    def _state(self) -> str:
        return "as the code says" if not self.changes else "\n".join(["not yet as the code says:", *self.changes])


def check_job(job: Job, documents: int = DOCUMENTS) -> Check:
    """Tries a job on its first documents.

    Raises:
        ConnectorError: As a run up to its first write.
    """
    watch, options = Stopwatch(), Options(limit=documents)
    parts = Parts.of(job)
    front = Front.of(parts, options, watch)
    server, have = look(job.milvus, parts.spec.name)
    features.check(parts.spec, server)
    result = Check(
        job=job.job,
        collection=parts.spec.name,
        server=server.text,
        changes=[action.describe() for action in diff(parts.want, have)],
        encoders={one.field.name: {"encoder": one.field.encoder, **parts.want.identity[one.field.name]} for one in parts.bindings},
    )
    _try(result, front, options, watch)
    return result


def _try(result: Check, front: Front, options: Options, watch: Stopwatch) -> None:
    parts, job = front.parts, front.parts.job
    report, sink = RunReport(run_id="check", job=job.job), KeepingSink(parts.spec)
    encoding = Encoding(parts.bindings, job.encode, ready=parts.spec.ready, workers=job.workers, stopwatch=watch)
    with Ledger(None) as ledger, encoding:
        ledger.enter(job.scope, "", front.fingerprint, front.settings, natural=not parts.spec.primary.generated)
        run(stations_of(front, encoding, sink, ledger), options, Monitor(report, watch))
    result.counts, result.rows, result.truncated = report.counts, report.rows.upserted, encoding.counters.truncated
    result.first, result.rejects, result.gaps = sink.first, report.rejects, report.gaps
    if report.counts.rejected or report.gaps:
        result.exit_code = TooManyRejects.exit_code
        result.message = f"{report.counts.rejected} of {report.counts.listed} documents would be rejected, {len(report.gaps)} gaps"


def _named(encoder: dict[str, Any]) -> str:
    model, head = encoder["model"], encoder["head"]
    version = f"revision {model['revision']}" if model["revision"] else f"weights {model['weights'] or 'none'}"
    length = "normalised" if head["normalize"] else "not normalised"
    return f"{encoder['encoder']}, {version}, layer {head['layer']}, pooling {head['pooling']}, {length}"

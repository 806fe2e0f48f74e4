"""Fills a candidate from the live generation: for when only the schema changed, or the source is gone.

Scalars and vectors of an unchanged encoder are copied; a vector field of another encoder is encoded from the column that it is made from,
if the collection holds that. Rows keep their keys and their lineage, so the run that follows finds them and encodes nothing again. What
the collection cannot give (a new field without a default, another key) is refused before anything is written.
"""

from __future__ import annotations

from dataclasses import replace

from connector.commands.building import Parts, fingerprint_parts
from connector.commands.transfer.copies import Copy
from connector.commands.transfer.filling import Copied, fill
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.plan import waiting

__all__ = ["Copied", "copy_job"]


def copy_job(job: Job) -> Copied:
    """Copies every namespace's rows of the live generation into the one that is what the code says; may be repeated.

    Raises:
        PlanNeeded: No candidate waits.
        ConfigError: The live generation does not hold what the candidate needs; the field is named. What was copied until then stays
            in the candidate, which cannot be promoted before a copy or a run came to its end.
        Locked: A run of this job is under way.
    """
    job.for_all_tenants("copy")
    parts = Parts.of(job)
    known = job.state_path.exists()
    with Ledger(job.state_path, lock=known, read_only=not known), connect(job.milvus) as connection:
        live, candidate = waiting(parts.want, Catalog(connection).have(parts.spec.name), job.where)
        if live.name == candidate.name:
            return Copied(live.name, live.name, 0, 0, 0, (f"{live.name} is live and what the code says: there is nothing to copy",))
        done = fill(connection, parts, Copy.of(parts, live, fingerprint_parts(parts)), candidate)
    return replace(done, notes=(*done.notes, f"when it is complete: connector promote {job.where}"))

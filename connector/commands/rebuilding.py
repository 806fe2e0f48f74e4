"""Rebuilds a job's ledger from the collection on demand; a run does it by itself when it sees that it has to."""

from __future__ import annotations

from connector.commands.building import Front, Parts
from connector.commands.grounds import ground_of
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus.client import connect
from connector.milvus.peek import look
from connector.plan import required
from connector.reconcile.recovery import restore
from connector.stations import Options
from connector.stopwatch import Stopwatch


def rebuild_job(job: Job) -> int:
    """Puts what the rows' lineage says in the place of what the ledger knows; the next run reads every document and encodes what differs.

    Returns:
        How many documents the collection has.

    Raises:
        PlanNeeded: There is no collection as the code says.
        Locked: A run of this job is under way.
    """
    parts = Parts.of(job)
    front = Front.of(parts, Options(), Stopwatch())
    found = required(parts.want, look(parts.job.milvus, parts.spec.name)[1], parts.job.where)
    with Ledger(job.state_path) as ledger, connect(job.milvus) as connection:
        natural = not parts.spec.primary.generated
        ledger.enter(job.scope, found.stamp.uid if found.stamp else "", front.fingerprint, front.settings, natural=natural)
        return restore(ground_of(connection, found.name, parts.spec, ledger, job.scope))

"""Moves a collection's public name from one generation to another and back, and drops generations that are no longer wanted.

An alias is moved by one request, so there is no moment without an answer. Which generation was live before is written into the new one
first, so a move that was interrupted is finished by running it again, and what was moved can be moved back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from connector.commands.building import Parts
from connector.commands.examining import Terms, examine
from connector.commands.probecheck import check_probe
from connector.errors import ConfigError, PlanNeeded, Refused
from connector.faults import hit
from connector.job import Job
from connector.job.loading import load_collection
from connector.ledger import Ledger
from connector.milvus import changes
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.sink import MilvusSink
from connector.plan import Generation, Have, waiting
from connector.plan.stamp import PREVIOUS, last_runs


@dataclass(frozen=True, slots=True)
class Switch:
    """What became of an alias.

    Attributes:
        collection: The alias.
        before: The generation that was live.
        now: The one that is.
        checks: What was found out before.
    """

    collection: str
    before: str
    now: str
    checks: tuple[str, ...] = ()

    def __str__(self) -> str:
        first = f"{self.collection} -> {self.now}" + (f", before {self.before}" if self.before != self.now else ", as before")
        return "\n".join([first, *(f"    {check}" for check in self.checks)])

    def to_json(self) -> dict[str, Any]:
        """The switch as JSON values."""
        return {**asdict(self), "checks": list(self.checks)}


def promote_job(job: Job, *, allow_missing: bool = False, min_recall: float = 0.9) -> Switch:
    """Makes the generation live that is what the job's code says, after examining it; a second call does nothing.

    Args:
        job: Whose collection.
        allow_missing: Go on although documents of the live generation are missing.
        min_recall: Least recall@10 of the candidate's indexes.

    Raises:
        PlanNeeded: No generation is what the code says.
        Refused: The candidate is incomplete, lags or does not pass; nothing was changed.
        ConnectorError: An encoder cannot be loaded, so the golden probe cannot be compared; nothing was changed.
        Locked: A run of this job is under way.
    """
    job.for_all_tenants("promote")
    parts = Parts.of(job)
    known = job.state_path.exists()
    with Ledger(job.state_path, lock=known, read_only=not known) as ledger, connect(job.milvus) as connection:
        catalog = Catalog(connection)
        live, candidate = waiting(parts.want, catalog.have(parts.spec.name), job.where)
        if candidate.name == live.name:
            return Switch(parts.spec.name, live.name, live.name)
        catalog.load(candidate.name)
        terms = Terms(job.scope, job.sync == "mirror", allow_missing, min_recall)
        found = examine(connection, MilvusSink(connection, candidate.name, parts.spec), (live, candidate), ledger, terms)
        found.add(*check_probe(parts.bindings, job.encode, candidate.stamp.probe if candidate.stamp else None))
        if found.problems:
            hint = "run the job again until it ends with exit code 0; --allow-missing and --min-recall lift what they name"
            raise Refused("\n    ".join([f"{candidate.name} is not promoted, nothing was changed:", *found.problems]), hint=hint)
        catalog.write(candidate.name, {PREVIOUS: live.name})
        hit("switch.noted")
        _move(connection, parts.spec.name, candidate.name)
    return Switch(parts.spec.name, live.name, candidate.name, tuple(found.passed))


def rollback_job(job: Job) -> Switch:
    """Makes the generation live again that was live before; loads no model and needs none.

    Raises:
        PlanNeeded: There is no such collection.
        Refused: Nothing was live before, or it was dropped; nothing was changed.
    """
    job.for_all_tenants("rollback")
    name = load_collection(job.into).name
    with connect(job.milvus) as connection:
        catalog = Catalog(connection)
        live = _live(name, catalog.have(name))
        previous = live.properties.get(PREVIOUS, "")
        before = next((one for one in catalog.have(name).generations if one.name == previous), None)
        if not previous:
            raise Refused(f"there is nothing to roll back to: nothing was live before {live.name}; nothing was changed", hint=_HINT)
        if before is None:
            raise Refused(f"{previous}, which was live before {live.name}, was dropped; nothing was changed", hint=_HINT)
        catalog.load(before.name)
        _move(connection, name, before.name)
    runs = last_runs(before.properties).items()
    return Switch(name, live.name, before.name, tuple(f"namespace {namespace}: last filled by run {run}" for namespace, run in runs))


def prune_job(job: Job, names: Sequence[str] = (), *, yes: bool = False) -> tuple[str, ...]:
    """Drops generations: those older than the live one, or those that are named.

    Args:
        job: Whose collection.
        names: Physical names; the live one is refused.
        yes: Without it nothing is dropped.

    Returns:
        The names of those that were dropped.

    Raises:
        ConfigError: There is no generation of such a name.
        Refused: `yes` is missing, a named one is live, or an alias points to it; nothing was dropped.
    """
    job.for_all_tenants("prune")
    name = load_collection(job.into).name
    with connect(job.milvus) as connection:
        have = Catalog(connection).have(name)
        live = _live(name, have)
        there = {one.name: one for one in have.generations}
        for one in names:
            if one not in there:
                raise ConfigError(f"{one} is no generation of `{name}`", hint=f"there are: {', '.join(there)}")
            if one == live.name:
                raise Refused(f"{one} is live; nothing was dropped", hint="promote another one first, or drop the collection in Milvus")
        chosen = list(dict.fromkeys(names)) or [one.name for one in have.generations if one.number < live.number]
        if chosen and not yes:
            raise Refused(f"this would drop {', '.join(chosen)}, for good; nothing was dropped", hint="--yes does it")
        for one in chosen:
            changes.drop_unused(connection, one)
            hit("prune.dropped")
    return tuple(chosen)


_HINT = "an earlier state is reached by running earlier code: it fills a generation of its own"


def _live(name: str, have: Have) -> Generation:
    if have.live is None:
        raise PlanNeeded(f"there is no live generation of `{name}`", hint="connector run JOB makes the first one")
    return have.live


def _move(connection: Connection, alias: str, collection: str) -> None:
    changes.move_alias(connection, alias, collection)
    hit("switch.moved")

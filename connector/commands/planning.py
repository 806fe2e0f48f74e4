"""Plans what a job's collection needs, with its cost, and carries out exactly that.

Looking changes nothing. What is applied was computed from the state that it is applied to, or read from a saved plan that was made for this
very state. A step that replaces a generation or may lose data needs its own word of permission, before anything is done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from connector.commands.building import Parts
from connector.errors import ConfigError, PlanNeeded, Refused
from connector.job import Job
from connector.ledger.file import LedgerFile
from connector.milvus import features
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.sink import MilvusSink
from connector.plan import Have, candidates, diff, lost, moved, target
from connector.plan.actions import Action, Differs, Replace
from connector.plan.planned import Cost, Plan, code_of, costs_of, state_of, unchanged

_RUNS = 100
"""Latest runs among which those are sought that encoded anything; most find nothing new."""


def plan_job(job: Job, *, beside: bool = False) -> Plan:
    """What `apply_job` would do; changes nothing.

    Args:
        job: Whose collection.
        beside: Make a candidate even of what could be altered in place, so that no search has to wait.

    Raises:
        ConfigError: The name is taken by something that connector did not make, or the server cannot hold the collection.
        Refused: Another namespace owns the collection.
    """
    parts = Parts.of(job)
    with connect(job.milvus) as connection:
        _check_server(parts, connection)
        return _plan(connection, parts, Catalog(connection).have(parts.spec.name), beside=beside)


def apply_job(
    job: Job, *, allow_replace: bool = False, allow_data_loss: bool = False, beside: bool = False, saved: Plan | None = None
) -> Plan:
    """Brings the collection to what the code says; after an interruption the same call finishes it.

    Args:
        job: Whose collection.
        allow_replace: A new generation may be made beside the live one, which stays live.
        allow_data_loss: Steps that may delete rows are allowed.
        beside: As for `plan_job`; a saved plan says it itself.
        saved: A plan that was looked at before; nothing but its steps is done.

    Returns:
        What was done.

    Raises:
        Refused: A step was not allowed, or the saved plan is stale; nothing was changed.
    """
    job.for_all_tenants("apply")
    parts = Parts.of(job)
    with connect(job.milvus) as connection:
        _check_server(parts, connection)
        catalog = Catalog(connection)
        beside = beside if saved is None else any(isinstance(action, Replace) for action in saved.actions)
        now = _plan(connection, parts, catalog.have(parts.spec.name), beside=beside)
        if saved is not None:
            saved.check(now)
        _check_allowed(now.actions, allow_replace=allow_replace, allow_data_loss=allow_data_loss)
        catalog.apply(now.actions, parts.want)
    return now


def _check_server(parts: Parts, connection: Connection) -> None:
    if parts.spec.lineage:  # what is there already need not be made
        features.check(parts.spec, connection.server)


def _check_allowed(actions: Sequence[Action], *, allow_replace: bool, allow_data_loss: bool) -> None:
    for action in actions:
        if isinstance(action, Differs):
            hint = "correct the code (connector schema pull), or take the collection over: connector adopt"
            raise Refused(f"{action.describe()}\nnothing was changed", hint=hint)
        if isinstance(action, Replace) and not allow_replace:
            raise Refused(
                f"{action.describe()}\nnothing was changed", hint="--allow-replace makes the new generation; the live one stays live"
            )
        if action.risk == "loses data" and not allow_data_loss:
            raise Refused(f"this may lose data: {action.describe()}\nnothing was changed", hint="--allow-data-loss does it nevertheless")


def _plan(connection: Connection, parts: Parts, have: Have, *, beside: bool) -> Plan:
    if not parts.spec.lineage and have.live is None:
        return _foreign(connection, parts, have)
    want = parts.want
    actions, live = _steps(diff(want, have, beside=beside), parts), have.live
    costs: dict[int, Cost] = {}
    notes = _notes(parts, have, actions)
    if actions and live is not None and live.loaded:
        rows, stamped = MilvusSink(connection, live.name, parts.spec).count(), live.stamp.identity if live.stamp else {}
        costs = costs_of(actions, want, rows, _speed(parts.job), stamped)
        same = ", ".join(unchanged(want, stamped))
        if same and any(isinstance(action, Replace) for action in actions):
            notes.append(
                f"{same}: the encoder is the same, so connector copy takes the vectors, and a run those that its vector cache holds"
            )
    elif actions and live is not None:
        notes.append(f"{live.name} is not loaded, so its rows were not counted and no step says what it costs")
    return Plan(want.spec.name, actions, costs, tuple(notes), state_of(have), code_of(want))


def _steps(actions: tuple[Action, ...], parts: Parts) -> tuple[Action, ...]:
    """The steps; of a collection that was adopted as it is, no other generation is made."""
    if parts.spec.lineage:
        return actions
    replaced = [Differs(one.live, one.reasons) for one in actions if isinstance(one, Replace)]
    return tuple(replaced) or actions


def _foreign(connection: Connection, parts: Parts, have: Have) -> Plan:
    """How a collection that somebody else made differs from its declaration; there are no steps to it."""
    try:
        found = Catalog(connection).survey(parts.spec.name)
    except PlanNeeded as error:
        raise ConfigError(f"{parts.spec.where}: {error.message}", hint="lineage=False declares a collection that is there") from None
    differences = found.differences(parts.spec)
    actions = (Differs(found.collection, differences),) if differences else ()
    notes = [f"{found.collection} is somebody else's: it is read, and no run writes to it; to take it over: connector adopt"]
    notes += [f"not in the code: {field}: {what}" if field else f"not in the code: {what}" for field, what in found.notes]
    return Plan(parts.spec.name, actions, {}, tuple(notes), state_of(have), code_of(parts.want))


def _notes(parts: Parts, have: Have, actions: Sequence[Action]) -> list[str]:
    found, live, job = target(parts.want, have), have.live, parts.job.where
    notes = [*moved(have), *_lost(parts.job, parts.spec.name, have, actions)]
    if any(isinstance(action, Replace) for action in actions):
        notes.append(f"afterwards: connector run {job} (or connector copy {job}) fills it, then connector promote {job}")
        notes += [f"{one.name} was made for other code and waits, too; `connector prune` drops it by name" for one in candidates(have)]
    if found is not None and live is not None and found.name != live.name:
        notes.append(f"pending promote: {found.name} is what the code says, live is {live.name}: connector promote {job}")
    return notes


def _lost(job: Job, name: str, have: Have, actions: Sequence[Action]) -> list[str]:
    with LedgerFile(job.state_path, lock=False, read_only=True) as ledger:
        return lost(name, actions, have, ledger.last_collection(job.scope))


def _speed(job: Job) -> float | None:
    """Inputs a second that the latest runs in the ledger encoded, start-up not counted; None: it knows of none."""
    with LedgerFile(job.state_path, lock=False, read_only=True) as ledger:
        reports = [json.loads(run["report"]) for run in ledger.runs(_RUNS) if run["report"]]
    encoded = sum(one["encoded"] for one in reports)
    seconds = sum(one["seconds"] - one["startup_s"] for one in reports if one["encoded"])
    return encoded / seconds if encoded and seconds > 0 else None

"""Compares what the code wants with what Milvus has, and says what to do; pure, so that every case is a table in a test.

A collection is kept as numbered generations (`products__g1`, `products__g2`, ...) behind one alias (`products`). Each generation carries a
stamp: the specification and the encoder identities that it was made with. A generation is the right one if its stamp equals
the code; nothing is concluded from what a server happens to report, since no two versions report the same. What
was described live only tells which steps of an interrupted apply are still missing, and whether somebody changed a collection by hand.
What Milvus can alter in place is altered (`altering.py`); anything else makes a candidate: a generation beside the live one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from connector.errors import ConfigError, PlanNeeded, Refused
from connector.plan.actions import Action, CreateAlias, CreateCollection, CreateIndex, Drift, LoadCollection, Replace, render
from connector.plan.altering import alterations, reload, repairs
from connector.plan.generations import Generation, Have, Want, candidates, drift, generation_name, generation_number
from connector.plan.stamp import EPOCH, PREVIOUS, STAMP, Stamp, compare, fields_of, indexes_of
from connector.schema.spec import CollectionSpec

__all__ = [
    "EPOCH",
    "STAMP",
    "Action",
    "CreateAlias",
    "CreateCollection",
    "CreateIndex",
    "Drift",
    "Generation",
    "Have",
    "LoadCollection",
    "Replace",
    "Stamp",
    "Want",
    "candidates",
    "check_fields",
    "diff",
    "differences",
    "drift",
    "fields_of",
    "generation_name",
    "generation_number",
    "indexes_of",
    "lost",
    "moved",
    "render",
    "required",
    "standing",
    "steps",
    "target",
    "waiting",
]


def diff(want: Want, have: Have, *, beside: bool = False) -> tuple[Action, ...]:
    """The steps from what there is to what the code asks for; none means that nothing is to be done.

    Derived from the live state alone, so after an interrupted apply the same call gives the steps that are left.

    Args:
        want: The code.
        have: What there is.
        beside: Make a candidate even of what could be altered in place, so that no search has to wait.

    Raises:
        ConfigError: The name is taken by a collection that is none of ours.
        Refused: Another namespace owns the collection.
    """
    _check_name(want.spec.name, have)
    found = target(want, have)
    if found is not None:
        return tuple(_finish(want, have, found))
    live = have.live
    if live is None:
        name, made = _made(want, have)
        return (*made, CreateAlias(want.spec.name, name))
    _check_owner(want, live.stamp)
    for one in () if beside else (live, *candidates(have)):
        steps = alterations(one.name, one.stamp, want.spec.normalised(), want.identity, have.can) if one.stamp else ()
        if steps:
            return steps
    name, made = _made(want, have)
    return (Replace(live.name, name, _reasons(want, live)), *made)


def steps(want: Want, have: Have) -> tuple[Action, ...]:
    """Of `diff`, what a run does by itself: it makes what is missing, and alters nothing.

    Raises:
        PlanNeeded: Something exists, and is not what the code says.
    """
    actions = diff(want, have)
    if have.live is not None and target(want, have) is None:
        reasons = "\n".join(f"    {reason}" for reason in _reasons(want, have.live))
        raise PlanNeeded(
            f"{want.spec.where}: the live collection `{want.spec.name}` is not what the code says:\n{reasons}",
            hint="`connector plan` says what can be done about it, `connector apply` does it; or undo the change",
        )
    return tuple(action for action in actions if isinstance(action, CreateCollection | CreateIndex | LoadCollection | CreateAlias))


def target(want: Want, have: Have) -> Generation | None:
    """The generation that a run of this code writes to: the live one or a candidate whose stamp equals the code.

    Raises:
        Refused: Another namespace owns it.
    """
    newest = sorted(have.generations, key=lambda one: (one.name == have.alias_target, one.number), reverse=True)
    for one in newest:
        if one.stamp is not None and not differences(want, one.stamp):
            _check_owner(want, one.stamp)
            return one
    return None


def required(want: Want, have: Have, job: str) -> Generation:
    """As `target`, for whoever cannot go on without one.

    Raises:
        PlanNeeded: There is none.
        Refused: Another namespace owns it.
    """
    found = target(want, have)
    if found is not None:
        return found
    if not have.generations:
        raise PlanNeeded(f"there is no `{want.spec.name}`", hint=f"connector run {job} makes it")
    raise PlanNeeded(f"no generation of `{want.spec.name}` is what the code says", hint=f"connector plan {job}")


def check_fields(one: Generation) -> None:
    """Returns if rows of the stamped declaration can be written to a generation.

    Raises:
        PlanNeeded: Somebody added a field that has to be filled. A row without it is refused, or kills the server (Milvus 2.3.5).
    """
    known = fields_of(one.stamp.spec) if one.stamp is not None else one.fields
    for name, live in one.fields.items():
        if name not in known and not live.get("nullable"):
            said = f"drift: {one.name} has a field `{name}` that is not in its stamp and must be filled: no row can be written"
            raise PlanNeeded(said, hint="take it away again, or declare it (connector plan says what follows); nothing was written")


def differences(want: Want, stamp: Stamp) -> tuple[str, ...]:
    """How the code differs from what a generation was made with, one sentence each; empty means the same."""
    return compare(stamp, want.spec.normalised(), want.identity)


def waiting(want: Want, have: Have, job: str) -> tuple[Generation, Generation]:
    """The live generation, and the one that is what the code says, which may be the same.

    Raises:
        PlanNeeded: There is no such one.
        Refused: Its apply was not finished.
    """
    left = [action for action in diff(want, have) if not isinstance(action, Drift)]
    candidate, live = target(want, have), have.live
    if candidate is None or live is None:
        raise PlanNeeded(f"no generation of `{want.spec.name}` waits that is what the code says", hint=f"connector plan {job}")
    if candidate.name != live.name and left:
        raise Refused(f"{candidate.name} is not finished: {left[0].describe()}; nothing was changed", hint=f"connector apply {job}")
    return live, candidate


def standing(one: Generation, have: Have, job: str) -> list[str]:
    """What is to be said of the generation that a run writes to, a sentence each: that it is not live, how it drifted."""
    said = []
    live = have.live
    if live is not None and live.name != one.name:
        waits = f"pending promote: {one.name} is filled beside the live {live.name}; when it is complete: connector promote {job}"
        earlier = f"{one.name} was live before {live.name}, which was made by other code; it is kept in step, for a rollback"
        said.append(waits if one.number > live.number else earlier)
    return [*said, *moved(have), *(f"drift: {one.name}: {difference}; see connector plan {job}" for difference in drift(one))]


def moved(have: Have) -> list[str]:
    """That somebody let the alias point elsewhere: a promote notes in a generation which one was live before it."""
    live = have.live
    if live is None or live.properties.get(PREVIOUS) or not any(one.number < live.number and one.epoch for one in have.generations):
        return []
    return [f"drift: the alias leads to {live.name}, and no promote made it live: somebody moved it"]


def lost(name: str, actions: Sequence[Action], have: Have, last: str) -> list[str]:
    """What somebody took away, a sentence each; the steps that make it again do not tell that it was there.

    Args:
        name: The declared collection.
        actions: The steps.
        have: What there is.
        last: The physical collection that the last run of the job wrote to; "" if none is known.
    """
    filled = {one.name for one in have.generations if one.epoch}
    said = []
    if last not in {"", *(one.name for one in have.generations)} and generation_number(name, last) is not None:
        said.append(f"drift: {last}, which the last run wrote to, is not there any more")
    for action in actions:
        match action:
            case CreateIndex(collection, field) if collection in filled:
                said.append(f"drift: {collection}: {field}: index in its stamp only: somebody dropped it")
            case CreateAlias(alias, collection) if collection in filled:
                said.append(f"drift: the alias {alias} is not there any more: somebody dropped it")
            case _:
                pass
    return said


def _check_name(name: str, have: Have) -> None:
    hint = 'take it over (connector adopt), or give the declared collection another name: class Products(Collection, name="...")'
    if have.blocking is not None:
        raise ConfigError(f"`{have.blocking}` is a collection of its own, so no alias can have this name", hint=hint)
    if have.alias_target is not None and have.live is None and have.generations:
        was = have.generations[-1].name
        said = f"`{name}` leads to `{have.alias_target}`, which connector did not make: somebody moved the alias"
        raise ConfigError(said, hint=f"move it back in Milvus: alter_alias({was!r}, {name!r})")
    if have.alias_target is not None and have.live is None:
        raise ConfigError(f"`{name}` is an alias of `{have.alias_target}`, which connector did not make", hint=hint)


def _check_owner(want: Want, stamp: Stamp | None) -> None:
    """Two jobs with natural keys would overwrite and sweep each other's rows."""
    if stamp is not None and stamp.owner is not None and want.owner is not None and stamp.owner != want.owner:
        raise Refused(
            f"collection `{want.spec.name}` belongs to namespace `{stamp.owner}`, this job's is `{want.owner}`",
            hint=f"set `namespace: {stamp.owner}` if it is the same data, or declare another collection",
        )


def _made(want: Want, have: Have) -> tuple[str, tuple[Action, ...]]:
    """The name of the next generation, and the steps that make it."""
    name = generation_name(want.spec.name, 1 + max((one.number for one in have.generations), default=0))
    indexes = (CreateIndex(name, one) for one in _declared_indexes(want.spec))
    return name, (CreateCollection(name), *indexes, LoadCollection(name))


def _finish(want: Want, have: Have, found: Generation) -> Iterator[Action]:
    """The steps that an interrupted apply left out, and what somebody changed."""
    changed = drift(found)
    mended: tuple[Action, ...] = ()
    if changed and found.stamp is not None:
        yield Drift(found.name, changed)
        yield from (mended := repairs(found.name, found.stamp, found.indexes, found.properties))
    for name in _declared_indexes(want.spec):
        if name not in found.indexes:
            yield CreateIndex(found.name, name)
    if not found.loaded or reload(mended):
        yield LoadCollection(found.name)
    if have.alias_target is None:
        yield CreateAlias(want.spec.name, found.name)


def _reasons(want: Want, live: Generation) -> tuple[str, ...]:
    if live.stamp is None:
        return (f"{live.name} carries no stamp: it was not made by connector",)
    return differences(want, live.stamp)


def _declared_indexes(spec: CollectionSpec) -> list[str]:
    return [*(one.name for one in spec.vectors), *(one.name for one in spec.fields if one.index is not None)]

"""Compares what the code wants with what Milvus has, and says what to do; pure, so that every case is a table in a test.

A collection is kept as numbered generations (`products__g1`, `products__g2`, ...) behind one alias (`products`). Each generation carries a
stamp: the specification and the encoder identities that it was made with. A generation is the right one if its stamp equals
the code; nothing is concluded from what a server happens to report, since no two versions report the same. What
was described live only tells which steps of an interrupted apply are still missing, and whether somebody changed a collection by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.actions import Action, CreateAlias, CreateCollection, CreateIndex, Drift, LoadCollection, Replace, render
from connector.errors import ConfigError, PlanNeeded, Refused
from connector.schema.spec import CollectionSpec
from connector.stamp import EPOCH, STAMP, Stamp, compare, compare_live, fields_of, indexes_of

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
    "diff",
    "differences",
    "drift",
    "fields_of",
    "generation_name",
    "generation_number",
    "indexes_of",
    "render",
    "steps",
    "target",
]

_GENERATION = re.compile(r"(.+)__g([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Generation:
    """One physical collection as it is.

    Attributes:
        name: Such as `products__g2`.
        number: Such as 2.
        stamp: None if it carries none.
        epoch: Finished runs, as stamped.
        fields: Live fields by name, as `fields_of` writes them.
        indexes: Live indexes by field, as `indexes_of` writes them; parameters only where the server tells them.
        loaded: Whether it answers reads.
    """

    name: str
    number: int
    stamp: Stamp | None
    epoch: int = 0
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    indexes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loaded: bool = False


@dataclass(frozen=True, slots=True)
class Have:
    """What Milvus has under one name.

    Attributes:
        alias_target: The physical collection behind the alias; None: no alias.
        generations: By number.
        blocking: The name, if a real collection has it, so that no alias can.
    """

    alias_target: str | None = None
    generations: tuple[Generation, ...] = ()
    blocking: str | None = None

    @property
    def live(self) -> Generation | None:
        """The generation behind the alias."""
        return next((one for one in self.generations if one.name == self.alias_target), None)


@dataclass(frozen=True, slots=True)
class Want:
    """What the code asks for.

    Attributes:
        spec: The collection.
        identity: Encoder identity by vector field.
        owner: The namespace of the job if keys are natural, else None.
    """

    spec: CollectionSpec
    identity: Mapping[str, Mapping[str, Any]]
    owner: str | None = None


def generation_name(alias: str, number: int) -> str:
    """The physical name of a generation."""
    return f"{alias}__g{number}"


def generation_number(alias: str, name: str) -> int | None:
    """Which generation of `alias` a physical collection is; None: none of them."""
    match = _GENERATION.fullmatch(name)
    return int(match[2]) if match and match[1] == alias else None


def diff(want: Want, have: Have) -> tuple[Action, ...]:
    """The steps from what there is to what the code asks for; none means that nothing is to be done.

    Derived from the live state alone, so after an interrupted apply the same call gives the steps that are left.

    Raises:
        ConfigError: The name is taken by a collection that is none of ours.
        Refused: Another namespace owns the collection.
    """
    _check_name(want.spec.name, have)
    found = target(want, have)
    if found is not None:
        return tuple(_finish(want, have, found))
    if have.live is not None:
        _check_owner(want, have.live.stamp)
        return (Replace(_reasons(want, have.live)),)
    name = generation_name(want.spec.name, 1 + max((one.number for one in have.generations), default=0))
    indexes = (CreateIndex(name, one) for one in _declared_indexes(want.spec))
    return (CreateCollection(name), *indexes, LoadCollection(name), CreateAlias(want.spec.name, name))


def steps(want: Want, have: Have) -> tuple[Action, ...]:
    """As `diff`, for whoever is about to take them.

    Raises:
        PlanNeeded: The live collection would have to be replaced.
    """
    actions = diff(want, have)
    if any(isinstance(action, Replace) for action in actions):
        raise PlanNeeded(
            f"{want.spec.where}: the live collection `{want.spec.name}` is not what the code says:\n{render(actions)}",
            hint="undo the change, or declare it under another name and fill that",
        )
    return actions


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


def differences(want: Want, stamp: Stamp) -> tuple[str, ...]:
    """How the code differs from what a generation was made with, one sentence each; empty means the same."""
    return compare(stamp, want.spec.normalised(), want.identity)


def drift(one: Generation) -> tuple[str, ...]:
    """How a generation differs from its own stamp; what the server does not report is taken as equal."""
    return () if one.stamp is None else compare_live(one.stamp, one.fields, one.indexes)


def _check_name(name: str, have: Have) -> None:
    hint = 'give the declared collection another name: class Products(Collection, name="...")'
    if have.blocking is not None:
        raise ConfigError(f"`{have.blocking}` is a collection of its own, so no alias can have this name", hint=hint)
    if have.alias_target is not None and have.live is None:
        raise ConfigError(f"`{name}` is an alias of `{have.alias_target}`, which connector did not make", hint=hint)


def _check_owner(want: Want, stamp: Stamp | None) -> None:
    """Two jobs with natural keys would overwrite and sweep each other's rows."""
    if stamp is not None and stamp.owner is not None and want.owner is not None and stamp.owner != want.owner:
        raise Refused(
            f"collection `{want.spec.name}` belongs to namespace `{stamp.owner}`, this job's is `{want.owner}`",
            hint=f"set `namespace: {stamp.owner}` if it is the same data, or declare another collection",
        )


def _finish(want: Want, have: Have, found: Generation) -> Iterator[Action]:
    """The steps that an interrupted apply left out, and what somebody changed."""
    changed = drift(found)
    if changed:
        yield Drift(found.name, changed)
    for name in _declared_indexes(want.spec):
        if name not in found.indexes:
            yield CreateIndex(found.name, name)
    if not found.loaded:
        yield LoadCollection(found.name)
    if have.alias_target is None:
        yield CreateAlias(want.spec.name, found.name)


def _reasons(want: Want, live: Generation) -> tuple[str, ...]:
    if live.stamp is None:
        return (f"{live.name} carries no stamp: it was not made by connector",)
    return differences(want, live.stamp)


def _declared_indexes(spec: CollectionSpec) -> list[str]:
    return [*(one.name for one in spec.vectors), *(one.name for one in spec.fields if one.index is not None)]

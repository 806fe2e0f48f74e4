"""Says whether a generation can be altered in place into what the code declares, and by which steps; pure, as `plan.py`.

The stamped declaration is changed by everything that Milvus can alter. If the outcome is the code's declaration, those are the steps;
if anything is left over, the generation has to be replaced. The steps follow from the stamp and the code alone, never from how far an
earlier apply came, so until the stamp is written the same steps are found again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connector.plan.actions import (
    Action,
    AddField,
    AlterProperty,
    CreateIndex,
    DropIndex,
    LoadCollection,
    RebuildIndex,
    Restamp,
    WidenField,
)
from connector.plan.generations import ADD_FIELD, WIDEN
from connector.plan.stamp import MMAP, TTL, Stamp, compare, drift_of_index, drift_of_properties, indexes_of


def alterations(name: str, stamp: Stamp, spec: Mapping[str, Any], identity: Mapping[str, Any], can: frozenset[str]) -> tuple[Action, ...]:
    """The steps that alter a generation into what the code says; () if it cannot be done in place.

    Args:
        name: Of the generation.
        stamp: What it was made with.
        spec: `CollectionSpec.normalised()` of the code.
        identity: Encoder identity by vector field, of the code.
        can: Of `ADD_FIELD` and `WIDEN` what the server can.
    """
    new: dict[str, Any] = json.loads(json.dumps(spec))
    fields, steps = _fields(name, stamp.spec["fields"], new["fields"], can)
    reached = {**stamp.spec, "fields": fields, "indexes": new["indexes"], "properties": new["properties"]}
    if compare(replace(stamp, spec=reached), new, identity):
        return ()
    steps += [*_properties(name, stamp.spec["properties"], new["properties"]), *_indexes(name, stamp, new)]
    return (*steps, *([LoadCollection(name)] if reload(steps) else []), Restamp(name)) if steps else ()


def repairs(name: str, stamp: Stamp, indexes: Mapping[str, Mapping[str, Any]], properties: Mapping[str, str]) -> tuple[Action, ...]:
    """The steps that undo what somebody changed by hand, as far as Milvus can undo it; the caller loads the collection again.

    Args:
        name: Of the generation.
        stamp: What it should be.
        indexes: Live ones, as `stamp.indexes_of` writes them; parameters only where they are reported.
        properties: Live ones, without the connector's own.
    """
    steps: list[Action] = [alter_property(name, *one) for one in drift_of_properties(stamp, properties)]
    steps += [RebuildIndex(name, field, why) for field in indexes if (why := drift_of_index(stamp, field, indexes))]
    return tuple(steps)


def _fields(
    name: str, old: list[dict[str, Any]], new: list[dict[str, Any]], can: frozenset[str]
) -> tuple[list[dict[str, Any]], list[Action]]:
    """The fields that the generation can be brought to, and how; a field that it cannot be brought to stays as it is."""
    steps: list[Action] = []
    there = {one["name"]: one for one in old}
    for one in new:
        field, before = one["name"], there.get(one["name"])
        if before is None:
            if ADD_FIELD in can and one.get("nullable") and not one.get("partition_key"):
                there[field] = one
                steps.append(AddField(name, field))
        elif WIDEN in can and {**before, "max_length": one.get("max_length")} == one and _longer(before, one):
            there[field] = one
            steps.append(WidenField(name, field, before["max_length"], one["max_length"]))
    return list(there.values()), steps


def _longer(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return after["type"] == "VARCHAR" and (before.get("max_length") or 0) < (after.get("max_length") or 0)


def _properties(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Action]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield alter_property(name, key, old.get(key), new.get(key))


def alter_property(name: str, key: str, before: str | None, after: str | None) -> AlterProperty:
    """The step with its risk: a life time that is set, or made shorter, deletes rows."""
    if key == TTL and _seconds(after) and not 0 < _seconds(before) <= _seconds(after):
        return AlterProperty(name, key, before, after, "loses data")
    return AlterProperty(name, key, before, after, "needs reload" if key == MMAP else "in place")


def _seconds(value: str | None) -> int:
    return int(value) if value and value.isdecimal() else 0


def _indexes(name: str, stamp: Stamp, new: Mapping[str, Any]) -> Iterator[Action]:
    old, wanted = stamp.spec["indexes"], new["indexes"]
    for field in [*wanted, *(field for field in old if field not in wanted)]:
        if field not in wanted:
            yield DropIndex(name, field)
        elif field not in old:
            yield CreateIndex(name, field)
        elif old[field] != wanted[field]:
            yield RebuildIndex(name, field, _changes(field, stamp, new))


def _changes(field: str, stamp: Stamp, new: Mapping[str, Any]) -> tuple[str, ...]:
    old, wanted = indexes_of(stamp.spec)[field], indexes_of(new)[field]
    return tuple(
        f"{field}: index {key} {old.get(key) or 'none'} live, {wanted.get(key) or 'none'} in code"
        for key in sorted({*old, *wanted})
        if old.get(key) != wanted.get(key)
    )


def reload(steps: Sequence[Action]) -> bool:
    """Whether a collection is released by one of these steps."""
    return any(step.risk == "needs reload" for step in steps)

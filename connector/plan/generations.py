"""The nouns of a plan: one generation of a collection as it is, all that Milvus has under a name, and what the code asks for.

`milvus.catalog` describes the first two, `plan.py` compares them with the third.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.plan.stamp import Stamp, compare_live
from connector.schema.spec import CollectionSpec

ADD_FIELD = "add field"
WIDEN = "longer varchar"
"""What some servers can alter in place; indexes and properties all can."""

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
        properties: Live properties but for stamp and epoch.
    """

    name: str
    number: int
    stamp: Stamp | None
    epoch: int = 0
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    indexes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loaded: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Have:
    """What Milvus has under one name.

    Attributes:
        alias_target: The physical collection behind the alias; None: no alias.
        generations: By number.
        blocking: The name, if a real collection has it, so that no alias can.
        can: What this server can alter in place beyond indexes and properties: `ADD_FIELD`, `WIDEN`.
    """

    alias_target: str | None = None
    generations: tuple[Generation, ...] = ()
    blocking: str | None = None
    can: frozenset[str] = frozenset()

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


def drift(one: Generation) -> tuple[str, ...]:
    """How a generation differs from its own stamp; what the server does not report is taken as equal."""
    return () if one.stamp is None else compare_live(one.stamp, one.fields, one.indexes, one.properties)


def candidates(have: Have) -> tuple[Generation, ...]:
    """The generations that were made after the live one, newest first; older ones were live before."""
    live = have.live.number if have.live is not None else 0
    return tuple(sorted((one for one in have.generations if one.number > live), key=lambda one: -one.number))

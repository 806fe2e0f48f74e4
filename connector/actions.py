"""The steps of a plan: what can be done to a collection, as data that a user reads before anything is done.

`plan.diff` makes them, `milvus.catalog` carries them out, `render` shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Make a new generation, with its stamp."""

    name: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ create collection {self.name}"


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """Build the index that the code declares on a field."""

    collection: str
    field: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ create index on {self.collection}.{self.field}"


@dataclass(frozen=True, slots=True)
class LoadCollection:
    """Make a collection answer reads."""

    collection: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ load {self.collection}"


@dataclass(frozen=True, slots=True)
class CreateAlias:
    """Let the public name point to a generation."""

    alias: str
    collection: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ create alias {self.alias} -> {self.collection}"


@dataclass(frozen=True, slots=True)
class Replace:
    """The live generation cannot be altered into what the code says: a new generation is needed."""

    reasons: tuple[str, ...]

    def describe(self) -> str:
        """One line for a plan, and one for each reason."""
        return "\n".join(("! replace: the live collection cannot be altered into this", *(f"    {reason}" for reason in self.reasons)))


@dataclass(frozen=True, slots=True)
class Drift:
    """Somebody changed a collection behind its stamp; nothing is done about it but to say so."""

    collection: str
    differences: tuple[str, ...]

    def describe(self) -> str:
        """One line for a plan, and one for each difference."""
        return "\n".join((f"~ drift: {self.collection} is not what its stamp says", *(f"    {one}" for one in self.differences)))


Action: TypeAlias = CreateCollection | CreateIndex | LoadCollection | CreateAlias | Replace | Drift


def render(actions: Sequence[Action]) -> str:
    """A plan as text, one step a line."""
    return "\n".join(action.describe() for action in actions) or "no changes: the live collection is what the code says"

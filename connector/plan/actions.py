"""The steps of a plan: what can be done to a collection, as data that a user reads before anything is done.

`plan.diff` makes them, `milvus.catalog` carries them out, `render` shows them. Each says what it risks:

    in place       nothing is in the way of searches
    needs reload   the collection is released and loaded again: searches wait or fail meanwhile
    replacement    a new generation is made beside the live one, which stays as it is
    loses data     rows may be gone for good
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from connector.errors import ConfigError

Risk: TypeAlias = Literal["in place", "needs reload", "replacement", "loses data"]


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Make a new generation, with its stamp."""

    risk: ClassVar[Risk] = "in place"
    name: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ create collection {self.name}"


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """Build the index that the code declares on a field."""

    risk: ClassVar[Risk] = "in place"
    collection: str
    field: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ create index on {self.collection}.{self.field}"


@dataclass(frozen=True, slots=True)
class RebuildIndex:
    """Build the index of a field again, otherwise; Milvus drops an index only of a released collection."""

    risk: ClassVar[Risk] = "needs reload"
    collection: str
    field: str
    reasons: tuple[str, ...]

    def describe(self) -> str:
        """One line for a plan, and one for each reason."""
        return "\n".join((f"~ rebuild index on {self.collection}.{self.field}", *(f"    {reason}" for reason in self.reasons)))


@dataclass(frozen=True, slots=True)
class DropIndex:
    """Take away an index that the code no longer declares."""

    risk: ClassVar[Risk] = "needs reload"
    collection: str
    field: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"- drop index on {self.collection}.{self.field}"


@dataclass(frozen=True, slots=True)
class AlterProperty:
    """Set a property of a collection; None: it has none, or shall have none."""

    collection: str
    key: str
    before: str | None
    after: str | None
    risk: Risk = "in place"

    def describe(self) -> str:
        """One line for a plan."""
        return f"~ set {self.key} of {self.collection}: {self.before or 'none'} -> {self.after or 'none'}"


@dataclass(frozen=True, slots=True)
class AddField:
    """Add a nullable field; the rows that are there have None in it."""

    risk: ClassVar[Risk] = "in place"
    collection: str
    field: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ add field {self.collection}.{self.field}"


@dataclass(frozen=True, slots=True)
class WidenField:
    """Let a VARCHAR hold more bytes."""

    risk: ClassVar[Risk] = "in place"
    collection: str
    field: str
    before: int
    after: int

    def describe(self) -> str:
        """One line for a plan."""
        return f"~ lengthen {self.collection}.{self.field}: {self.before} -> {self.after} bytes"


@dataclass(frozen=True, slots=True)
class Restamp:
    """Write into the stamp what the collection has become; always after the changes, so that an interrupted apply does them again."""

    risk: ClassVar[Risk] = "in place"
    collection: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"~ stamp {self.collection} with the code's declaration"


@dataclass(frozen=True, slots=True)
class LoadCollection:
    """Make a collection answer reads."""

    risk: ClassVar[Risk] = "in place"
    collection: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ load {self.collection}"


@dataclass(frozen=True, slots=True)
class CreateAlias:
    """Let the public name point to a generation."""

    risk: ClassVar[Risk] = "in place"
    alias: str
    collection: str

    def describe(self) -> str:
        """One line for a plan."""
        return f"+ create alias {self.alias} -> {self.collection}"


@dataclass(frozen=True, slots=True)
class Replace:
    """The live generation is not altered into what the code says: a candidate is made beside it, by the steps that follow."""

    risk: ClassVar[Risk] = "replacement"
    live: str
    candidate: str
    reasons: tuple[str, ...]

    def describe(self) -> str:
        """One line for a plan, and one for each reason."""
        first = f"! replace: {self.live} is not altered into this; {self.candidate} is made beside it"
        return "\n".join((first, *(f"    {reason}" for reason in self.reasons)))


@dataclass(frozen=True, slots=True)
class Drift:
    """Somebody changed a collection behind its stamp; what can be mended follows as steps of its own, the rest is only said."""

    risk: ClassVar[Risk] = "in place"
    collection: str
    differences: tuple[str, ...]

    def describe(self) -> str:
        """One line for a plan, and one for each difference."""
        return "\n".join((f"~ drift: {self.collection} is not what its stamp says", *(f"    {one}" for one in self.differences)))


@dataclass(frozen=True, slots=True)
class Differs:
    """A collection that somebody else fills is not what its declaration says; nothing is done about it."""

    risk: ClassVar[Risk] = "in place"
    collection: str
    differences: tuple[str, ...]

    def describe(self) -> str:
        """One line for a plan, and one for each difference."""
        first = f"! differs: {self.collection} is not what the code says, and is not ours to alter (lineage=False)"
        return "\n".join((first, *(f"    {one}" for one in self.differences)))


Action: TypeAlias = (
    CreateCollection
    | CreateIndex
    | RebuildIndex
    | DropIndex
    | AlterProperty
    | AddField
    | WidenField
    | Restamp
    | LoadCollection
    | CreateAlias
    | Replace
    | Drift
    | Differs
)

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in Action.__args__}


def render(actions: Sequence[Action]) -> str:
    """A plan as text, one step a line."""
    return "\n".join(map(line, actions)) or "no changes: the live collection is what the code says"


def line(action: Action, further: str = "") -> str:
    """One step as text: its description, with its risk (unless there is none) and `further` at the end of the first line."""
    first, *rest = action.describe().split("\n")
    remarks = ", ".join(filter(None, ("" if action.risk == "in place" else action.risk, further)))
    return "\n".join((f"{first}   [{remarks}]" if remarks else first, *rest))


def to_json(action: Action) -> dict[str, Any]:
    """An action as JSON values."""
    return {"action": type(action).__name__, "description": action.describe(), "risk": action.risk, "arguments": asdict(action)}


def from_json(document: dict[str, Any]) -> Action:
    """The action that `to_json` wrote.

    Raises:
        ConfigError: It is none.
    """
    try:
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in document["arguments"].items()}
        action: Action = _KINDS[document["action"]](**given)
    except (KeyError, TypeError, AttributeError):
        raise ConfigError("this is no step of a plan", hint="write the file with `connector plan JOB --out plan.json`") from None
    return action

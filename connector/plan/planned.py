"""A plan as people and programs see it: the steps with their costs, written to a file and read back; pure.

A saved plan holds fingerprints of the live state and of the code that it was made for. It may be carried out if both are the same still, or
if all that is left to do now stands in it, in the same order: then an apply of this very plan was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from connector.errors import ConfigError, Refused
from connector.plan.actions import Action, CreateIndex, RebuildIndex, Replace, from_json, line, to_json
from connector.plan.generations import Have, Want
from connector.plan.stamp import OWN, PREVIOUS
from connector.record import fingerprint

FORMAT = 1
"""Version of a plan's file."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step costs.

    Attributes:
        rows: Rows that it goes over.
        encode: Inputs that go through a model, because their encoder is another one.
        seconds: For encoding, at the speed of the latest runs; None: no run has measured it.
        bytes: Disk for vectors, indexes not counted.
    """

    rows: int
    encode: int = 0
    seconds: float | None = None
    bytes: int = 0

    def __str__(self) -> str:
        parts = [f"{self.rows:,} rows", f"{self.encode:,} inputs to encode" if self.encode else "nothing to encode"]
        parts += [f"about {_span(self.seconds)}"] if self.seconds is not None else []
        parts += [f"{self.bytes / 1e6:,.1f} MB of vectors"] if self.bytes else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Attributes:
        collection: The declared collection.
        actions: The steps, in order.
        costs: By place in `actions`, where a step has any.
        notes: What else is to be known.
        state: Fingerprint of the live state.
        code: Fingerprint of the declaration.
    """

    collection: str
    actions: tuple[Action, ...]
    costs: Mapping[int, Cost]
    notes: tuple[str, ...]
    state: str
    code: str

    def __str__(self) -> str:
        lines = [line(action, str(self.costs.get(place, ""))) for place, action in enumerate(self.actions)]
        return "\n".join([*(lines or ["no changes: the live collection is what the code says"]), *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        costs = [asdict(self.costs[place]) if place in self.costs else None for place in range(len(self.actions))]
        shown = [{**to_json(action), "cost": cost} for action, cost in zip(self.actions, costs, strict=True)]
        return {
            "format": FORMAT,
            "collection": self.collection,
            "changes": shown,
            "notes": list(self.notes),
            "state": self.state,
            "code": self.code,
        }

    def save(self, path: Path) -> None:
        """Writes the plan to a file.

        Raises:
            ConfigError: It cannot be written.
        """
        try:
            path.write_text(json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}", hint="give a file in a folder that exists") from None

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Reads a saved plan.

        Raises:
            ConfigError: It cannot be read, or is no plan of this version.
        """
        hint = "write the file with `connector plan JOB --out plan.json`"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ConfigError(f"{path}: a plan of format {document['format']}, this reads {FORMAT}", hint=hint)
            actions = tuple(from_json(one) for one in document["changes"])
            return cls(document["collection"], actions, {}, (), document["state"], document["code"])
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint=hint) from None
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path}: this is no plan", hint=hint) from None

    def check(self, now: Plan) -> None:
        """Returns if this saved plan may be carried out where `now` is what there is to do.

        Raises:
            Refused: The live collection or the code changed since it was made.
        """
        hint = "make a new plan and look at it: connector plan JOB"
        if (self.collection, self.code) != (now.collection, now.code):
            raise Refused(f"the plan for `{self.collection}` was made for other code; nothing was changed", hint=hint)
        left = iter(self.actions)
        if self.state != now.state and not all(action in left for action in now.actions):  # each one after the other
            raise Refused(f"the live collection `{self.collection}` changed since this plan was made; nothing was changed", hint=hint)


def state_of(have: Have) -> str:
    """Fingerprint of what Milvus has, without what every run changes."""
    return fingerprint(
        {
            "alias": have.alias_target,
            "blocking": have.blocking,
            "generations": [
                {
                    "name": one.name,
                    "stamp": replace(one.stamp, probe=None).to_json() if one.stamp else None,
                    "fields": one.fields,
                    "indexes": one.indexes,
                    "properties": {key: value for key, value in one.properties.items() if key == PREVIOUS or not key.startswith(OWN)},
                }
                for one in have.generations
            ],
        }
    )


def code_of(want: Want) -> str:
    """Fingerprint of what the code asks for."""
    return fingerprint({"spec": want.spec.normalised(), "identity": want.identity, "owner": want.owner})


def costs_of(actions: Sequence[Action], want: Want, rows: int, speed: float | None, stamped: Mapping[str, Any]) -> dict[int, Cost]:
    """What the steps of a plan cost, by their place in it.

    Args:
        actions: The steps.
        want: The code.
        rows: Of the live generation.
        speed: Inputs a second that the latest runs encoded.
        stamped: Encoder identities of the live generation, by field.
    """
    encode = rows * sum(name not in unchanged(want, stamped) for name in want.identity)
    size = rows * sum(one.row_bytes for one in want.spec.vectors)
    whole = Cost(rows, encode, encode / speed if encode and speed else None, size)
    costs: dict[int, Cost] = {}
    for place, action in enumerate(actions):
        if isinstance(action, Replace):
            costs[place] = whole
        elif isinstance(action, RebuildIndex | CreateIndex) and not any(isinstance(one, Replace) for one in actions):
            costs[place] = Cost(rows)
    return costs


def unchanged(want: Want, stamped: Mapping[str, Any]) -> tuple[str, ...]:
    """The encoded fields whose encoder is the one that a generation was filled with."""
    return tuple(name for name, one in want.identity.items() if stamped.get(name) == json.loads(json.dumps(one)))


def _span(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

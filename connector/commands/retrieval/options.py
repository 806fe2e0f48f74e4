"""What a search asks for beside its query, and which vector fields that means; refuses what cannot be meant before anything is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.encoding.queries import Key, Query, modality_of
from connector.errors import ConfigError, nearest
from connector.schema.spec import CollectionSpec, Consistency, VectorFieldSpec

if TYPE_CHECKING:
    from connector.commands.building import Parts

RANKS = ("rrf", "weighted")
"""How the answers of several fields become one."""


@dataclass(frozen=True, slots=True)
class Search:
    """How to search.

    Attributes:
        fields: Vector fields; (): the only one that can be meant, or with a rank all that take such a query.
        limit: Most hits.
        offset: Hits to leave out before.
        filter: A Milvus expression over scalar fields, with `{name}` in the place of values; "" for none.
        params: The values.
        rank: Of several fields: "rrf", or "weighted"; None: as `weights` say.
        weights: By field, or one a field in their order.
        output: Fields of each hit; None: the columns.
        group_by: Only the nearest row for each value of this column.
        radius: Leave out what is farther: a least score, or for L2, HAMMING and JACCARD a largest distance.
        consistency: How fresh the answer must be; "Strong" sees every write before it.
    """

    fields: tuple[str, ...] = ()
    limit: int = 10
    offset: int = 0
    filter: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    rank: str | None = None
    weights: Mapping[str, float] | Sequence[float] | None = None
    output: tuple[str, ...] | None = None
    group_by: str | None = None
    radius: float | None = None
    consistency: Consistency = "Strong"

    def chosen(self, parts: Parts, query: Query) -> tuple[VectorFieldSpec, ...]:
        """The vector fields that are meant, in the order in which they were named or declared.

        Raises:
            ConfigError: One does not exist, it is not clear which, or what was asked of them does not go together.
        """
        found = _fields(parts, self, query)
        if self.rank not in {None, *RANKS}:
            raise ConfigError(f"no rank `{self.rank}`", hint=nearest(str(self.rank), RANKS))
        if self.rank == "weighted" and self.weights is None:
            raise ConfigError("rank weighted needs weights", hint="--weights 0.7,0.3, or rank rrf, which needs none")
        if self.rank == "rrf" and self.weights is not None:
            raise ConfigError("rank rrf takes no weights", hint="rank weighted does")
        if self.radius is not None and len(found) > 1:
            raise ConfigError("a radius is a distance in one field, and several are searched", hint="leave it out, or name one field")
        if self.limit < 1 or self.offset < 0:
            raise ConfigError(f"limit is {self.limit}, offset {self.offset}", hint="a limit is 1 or more, an offset 0 or more")
        return found

    def weights_of(self, fields: Sequence[VectorFieldSpec]) -> list[float] | None:
        """The weight of each field; None: ranks count.

        Raises:
            ConfigError: They are not one a field, or no finite numbers from zero on with one above it.
        """
        if self.weights is None:
            return None
        names = [one.name for one in fields]
        given = self.weights
        wrong = set(given) != set(names) if isinstance(given, Mapping) else len(given) != len(names)
        if wrong:
            said = f"{', '.join(given)}" if isinstance(given, Mapping) else f"{len(given)} numbers"
            raise ConfigError(f"weights for {said}, but the fields are {', '.join(names)}", hint="give one weight a field")
        weights = [given[name] for name in names] if isinstance(given, Mapping) else list(given)
        if not all(isinstance(one, int | float) and math.isfinite(one) and one >= 0 for one in weights) or not any(weights):
            raise ConfigError(f"weights {weights}", hint="give finite numbers from zero on, one of them above it")
        return weights

    def outputs(self, spec: CollectionSpec, columns: Sequence[str]) -> tuple[str, ...]:
        """The fields of a hit.

        Args:
            spec: What the collection has.
            columns: What is given when nothing was asked for.

        Raises:
            ConfigError: It has no such field, or the server does not give it out.
        """
        readable = [*(one.name for one in spec.fields), *(one.name for one in spec.sent)]
        for name in (*(self.output or ()), *([self.group_by] if self.group_by else [])):
            if name not in readable:
                raise ConfigError(f"{spec.name} has no field `{name}` to give out", hint=nearest(name, readable))
        return tuple(columns) if self.output is None else self.output


def _fields(parts: Parts, search: Search, query: Query) -> tuple[VectorFieldSpec, ...]:
    fields = {one.name: one for one in parts.spec.vectors}
    named = search.fields or (tuple(search.weights) if isinstance(search.weights, Mapping) else ())
    for place, name in enumerate(named):
        if name not in fields:
            raise ConfigError(f"{parts.spec.name}: no vector field `{name}`", hint=nearest(name, fields))
        if name in named[:place]:
            raise ConfigError(f"{parts.spec.name}: `{name}` is named twice", hint="name each vector field once")
    if named:
        return tuple(fields[name] for name in named)
    if len(fields) == 1:
        return tuple(fields.values())
    able = _able(parts, query)
    if len(able) == 1 or (able and (search.rank or search.weights)):
        return able
    hint = f"{nearest('', fields)}; --rank rrf searches all that take such a query" if able else nearest("", fields)
    raise ConfigError(f"{parts.spec.name}: which vector field?", hint=hint)


def _able(parts: Parts, query: Query) -> tuple[VectorFieldSpec, ...]:
    """The fields that take such a query."""
    if isinstance(query, Key):
        return parts.spec.vectors
    modality = modality_of(query, frozenset({"text", ""}))
    encoded = {one.field.name for one in parts.bindings if modality in one.encoder.inputs and not one.ragged}
    return tuple(one for one in parts.spec.vectors if one.name in encoded or (one.computed and modality == "text"))

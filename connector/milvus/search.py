"""Searches one physical collection by vector.

Never through an alias: while an alias moves, a search can mix the metadata of two collections. The caller resolves the alias once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

import numpy as np

from connector.errors import BadRows, ConfigError, nearest
from connector.milvus.client import Connection
from connector.milvus.features import groups
from connector.milvus.reading import Reader, plain, vector_of
from connector.reconcile.stored import stored
from connector.record import Key, Row
from connector.schema.spec import CollectionSpec, Consistency, VectorFieldSpec


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that was found.

    Attributes:
        id: Primary key.
        distance: Score in the field's metric; for COSINE, IP and BM25 larger is nearer, for L2 smaller. Of several fields: the fused score.
        fields: The output fields.
        by_field: Of several vector fields, the score in each that found the row.
    """

    id: Key
    distance: float
    fields: Row
    by_field: Mapping[str, float] = attribute(default_factory=dict)


def search(  # noqa: PLR0913 - a search has this many knobs, all but four by keyword
    connection: Connection,
    collection: str,
    spec: CollectionSpec,
    vectors: Sequence[Any],
    *,
    field: str,
    limit: int = 10,
    filter: str = "",  # noqa: A002 - Milvus's own name
    output_fields: Sequence[str] = (),
    params: Mapping[str, Any] | None = None,
    group_by: str | None = None,
    consistency: Consistency = "Strong",
) -> list[list[Hit]]:
    """The rows nearest to each vector.

    Args:
        connection: Open.
        collection: Physical name.
        spec: What the collection holds.
        vectors: An (n, dim) array, or n vectors; sparse ones as dicts; texts where the server computes the vectors.
        field: The vector field.
        limit: Most hits a vector.
        filter: A Milvus filter; values that are data are quoted with `literals.quote`.
        output_fields: Fields of each hit.
        params: Search parameters of the index, such as `ef` or `nprobe`.
        group_by: Only the nearest row for each value of this field.
        consistency: "Strong" sees every write before it.

    Returns:
        One list a vector, nearest first.

    Raises:
        ConfigError: There is no such field, Milvus does not understand the filter, or this server does not group.
    """
    fields = {one.name: one for one in spec.vectors}
    if field not in fields:
        raise ConfigError(f"{spec.name} has no vector field `{field}`", hint=nearest(field, fields))
    if group_by is not None and not groups(connection.server):
        raise ConfigError(
            f"{connection.server.text} does not group hits", hint="leave group_by out, or use Milvus 2.4 and newer, or Milvus Lite"
        )
    options = {
        "anns_field": field,
        "limit": limit,
        "filter": filter,
        "output_fields": list(output_fields),
        "search_params": {"metric_type": fields[field].metric, "params": dict(params or {})},
        "consistency_level": consistency,
        **({"group_by_field": group_by} if group_by is not None else {}),
    }
    data = [_asked(fields[field], one) for one in vectors]
    try:
        found = Reader(connection, collection, spec).loaded("search", connection.client.search, collection, data, **options)
    except BadRows as error:
        raise ConfigError(error.message, hint="correct the filter, the limit or the search parameters") from error
    turned = fields[field].computed and connection.server.lite  # Lite gives BM25 scores below zero
    return [[_hit(one, spec, output_fields, sign=-1.0 if turned else 1.0) for one in hits] for hits in found]


def _asked(field: VectorFieldSpec, one: Any) -> Any:
    """One vector as pymilvus takes it: an array of the stored type, or bytes where numpy has no such type."""
    if field.dim is None:
        return one
    vector = stored(field, np.asarray(one))
    return vector.tobytes() if field.dtype in {"binary", "bfloat16"} else vector


def _hit(one: Mapping[str, Any], spec: CollectionSpec, names: Sequence[str], *, sign: float) -> Hit:
    entity = one.get("entity") or {}
    vectors = {field.name: field for field in spec.vectors}
    values = {name: vector_of(vectors[name], entity[name]) if name in vectors else plain(entity[name]) for name in names if name in entity}
    return Hit(one.get(spec.primary.name, one.get("id")), sign * float(one["distance"]), values)

"""Searches one physical collection by vector.

Never through an alias: while an alias moves, a search can mix the metadata of two collections. The caller resolves the alias once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from connector.errors import BadRows, ConfigError, nearest
from connector.milvus.client import Connection
from connector.milvus.reading import Reader, plain, vector_of
from connector.reconcile.stored import stored
from connector.record import Key, Row
from connector.schema.spec import CollectionSpec, VectorFieldSpec


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that was found.

    Attributes:
        id: Primary key.
        distance: Score in the field's metric; for COSINE, IP and BM25 larger is nearer, for L2 smaller.
        fields: The output fields.
    """

    id: Key
    distance: float
    fields: Row


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
) -> list[list[Hit]]:
    """The rows nearest to each vector, strongly consistent.

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

    Returns:
        One list a vector, nearest first.

    Raises:
        ConfigError: There is no such field, or Milvus does not understand the filter.
    """
    fields = {one.name: one for one in spec.vectors}
    if field not in fields:
        raise ConfigError(f"{spec.name} has no vector field `{field}`", hint=nearest(field, fields))
    options = {
        "anns_field": field,
        "limit": limit,
        "filter": filter,
        "output_fields": list(output_fields),
        "search_params": {"metric_type": fields[field].metric, "params": dict(params or {})},
        "consistency_level": "Strong",
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

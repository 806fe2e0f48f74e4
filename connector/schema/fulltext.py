"""Vectors that the server computes from a text column (BM25): what of the text they need, and what can be wrong about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from connector.schema.spec import FieldSpec, VectorFieldSpec


def analyzers(vectors: Sequence[VectorFieldSpec]) -> dict[str, dict[str, Any]]:
    """How the server cuts each text column that it computes a vector from into words; {} for its standard way."""
    return {str(vector.source): vector.analyzer or {} for vector in vectors if vector.computed}


def mistakes(scalars: Sequence[FieldSpec], vectors: Sequence[VectorFieldSpec]) -> Iterator[tuple[str, str]]:
    """Yields (what is wrong, hint), each beginning with a dot and the vector field."""
    texts = {field.name: field for field in scalars}
    chosen = analyzers(vectors)
    for vector in vectors:
        if not vector.computed:
            continue
        source = texts.get(str(vector.source))
        if source is None or source.type != "VARCHAR" or source.nullable:
            found = "no column" if source is None else f"{source.type}{' or None' if source.nullable else ''}"
            problem = f".{vector.name}: the server computes BM25 from a `str` column, `{vector.source}` is {found}"
            yield problem, f'declare {vector.source}: str = Field(max_length=...), default="" if it may be missing'
        elif (vector.analyzer or {}) != chosen[source.name]:
            yield f".{vector.name}: `{source.name}` has another analyzer already", "a column has one analyzer: give both the same"

"""What a server can hold is known before anything is created."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import SchemaError
from connector.milvus.client import Server, parse_version
from connector.milvus.features import FEATURES, check, needs
from connector.schema import (
    AUTOINDEX,
    BITMAP,
    BM25,
    INVERTED,
    STL_SORT,
    TRIE,
    Collection,
    CollectionSpec,
    Field,
    Geometry,
    Timestamp,
    Vector,
    VectorField,
    spec_of,
)

LITE = parse_version("milvus_lite-3.2.2")
OLD = parse_version("v2.3.5-lite")
NEW = parse_version("v3.1.0")


def declare(name: str, hint: Any, value: Any) -> CollectionSpec:
    """A collection with a key, a plain vector unless `name` is one, and one column more."""
    body = {
        "__annotations__": {"id": str, "vector": Vector, name: hint},
        "id": Field(primary_key=True, generated=True),
        "vector": VectorField(dim=8, source="v"),
        name: value,
        "__module__": __name__,
    }
    return spec_of(type("Declared", (Collection,), body))


DENSE = VectorField(dim=8, source="v")
CASES: list[tuple[str, Any, Any, bool, bool]] = [  # column, type, declaration, Lite holds it, Milvus 2.3.5 holds it
    ("second", Vector, DENSE, True, False),
    ("vector", Vector, DENSE, True, True),
    ("vector", Vector, VectorField(dim=8, dtype="float16", source="v"), False, False),
    ("vector", Vector, VectorField(dim=8, dtype="bfloat16", source="v"), False, False),
    ("vector", Vector, VectorField(dim=8, dtype="int8", source="v"), False, False),
    ("vector", Vector, VectorField(dim=8, dtype="binary", source="v"), False, True),
    ("vector", Vector, VectorField(dtype="sparse", source="v"), True, False),
    ("vector", Vector, VectorField(dtype="sparse", source="v", index=AUTOINDEX()), False, False),
    ("words", Vector, BM25("id"), True, False),
    ("words", Vector, BM25("id", analyzer={"type": "standard"}), True, False),
    ("words", Vector, BM25("id", analyzer={"tokenizer": "standard", "filter": [{"type": "stop", "stop_words": ["the"]}]}), True, False),
    ("words", Vector, BM25("id", analyzer={"tokenizer": "standard", "filter": ["lowercase"]}), False, False),
    ("words", Vector, BM25("id", analyzer={"type": "english"}), False, False),
    ("a", str | None, Field(), True, False),
    ("a", str, Field(default="x"), True, True),
    ("a", str, Field(partition_key=True), True, True),
    ("a", dict, Field(), True, True),
    ("a", list[int], Field(), True, True),
    ("a", Timestamp, Field(), True, False),
    ("a", Geometry, Field(), True, False),
    ("a", str, Field(index=TRIE()), False, True),
    ("a", int, Field(index=STL_SORT()), False, True),
    ("a", str, Field(index=INVERTED()), True, False),
    ("a", list[int], Field(index=INVERTED()), False, False),
    ("a", str, Field(index=BITMAP()), False, False),
]


@pytest.mark.parametrize(("name", "hint", "value", "lite", "old"), CASES)
def test_the_table_of_features(name: str, hint: Any, value: Any, *, lite: bool, old: bool) -> None:
    """Rule: what a server cannot hold is refused before creation, since trying can kill it; newer servers hold all."""
    spec = declare(name, hint, value)
    for server, able in ((LITE, lite), (OLD, old), (NEW, True)):
        if able:
            check(spec, server)
            continue
        with pytest.raises(SchemaError) as caught:
            check(spec, server)
        assert f".{name}: {server.text} does not have " in caught.value.message


def test_every_feature_of_the_table_can_be_asked_for() -> None:
    """Rule: a row of the table that no declaration needs is dead, and a need without a row is a crash."""
    asked = {feature for case in CASES for _, feature in needs(declare(*case[:3]))}
    dynamic = declare("a", str, Field()).model_copy(update={"dynamic": True})
    nullable = declare("a", str, Field())
    nullable = nullable.model_copy(update={"vectors": (nullable.vectors[0].model_copy(update={"nullable": True}),)})
    asked |= {feature for spec in (dynamic, nullable) for _, feature in needs(spec)}
    assert asked == set(FEATURES)


@pytest.mark.parametrize("server", [LITE, OLD, parse_version("v2.6.15")], ids=lambda server: server.text)
def test_a_nullable_vector_is_refused_where_it_would_be_lost(server: Server) -> None:
    """Rule: Milvus Lite would store zeros for a missing vector, and a server before 3.0 refuse or forget it."""
    spec = declare("a", str, Field())
    spec = spec.model_copy(update={"vectors": (spec.vectors[0].model_copy(update={"nullable": True}),)})
    with pytest.raises(SchemaError, match=r"nullable vectors; Milvus 3\.0\.0 and newer do") as caught:
        check(spec, server)
    assert "| None" in caught.value.hint
    check(spec, NEW)


def test_a_collection_needs_a_vector() -> None:
    """Rule: without a vector Milvus Lite refuses and an old server can never load the collection."""
    spec = declare("a", str, Field()).model_copy(update={"vectors": ()})
    with pytest.raises(SchemaError, match="no vector field"):
        check(spec, NEW)


def test_too_many_fields_are_refused() -> None:
    """Rule: servers hold 64 fields, and lineage takes three."""
    spec = declare("a", str, Field())
    many = tuple(spec.fields[1].model_copy(update={"name": f"f{i}"}) for i in range(60))
    with pytest.raises(SchemaError, match="64 fields"):
        check(spec.model_copy(update={"fields": (*spec.fields, *many)}), NEW)


def test_a_server_without_upsert_is_refused() -> None:
    """Rule: everything rests on upsert, which servers before 2.3 do not have."""
    with pytest.raises(SchemaError, match="too old"):
        check(declare("a", str, Field()), Server("server", (2, 2, 16), "Milvus 2.2.16"))

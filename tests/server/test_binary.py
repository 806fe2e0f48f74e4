"""Vectors of bits, which Milvus Lite does not have, from an encoder to hits."""

from __future__ import annotations

from typing import Any

import connector
from connector.milvus.settings import MilvusSettings
from connector.schema import BIN_FLAT, Collection, Field, Vector, VectorField


class Bits(Collection):
    """Eight signs a row."""

    id: str = Field(primary_key=True, max_length=8)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", dtype="binary", index=BIN_FLAT())


def test_signs_are_stored_and_searched(database: MilvusSettings) -> None:
    """Encoded words are kept as bits and found at Hamming distance 0 by the same words."""
    assert database.token is not None
    place: dict[str, Any] = {"uri": database.uri, "token": database.token.get_secret_value(), "database": database.database}
    rows = [{"id": f"k{number}", "title": f"thing {number}"} for number in range(50)]
    assert connector.run(rows, into=Bits, milvus=place).counts.written == 50
    hits = connector.search(Bits, "thing 7", milvus=place, limit=50)
    assert {hit.id: hit.distance for hit in hits}["k7"] == 0
    assert {hit.distance for hit in hits} <= set(range(9))
    assert max(hit.distance for hit in hits) > 2

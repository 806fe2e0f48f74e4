"""`quick` as it is in Milvus; somebody else fills it."""

from __future__ import annotations

from connector.schema import AUTOINDEX, Collection, Field, Vector, VectorField

# Milvus Lite tells neither the parameters of indexes nor consistency and shards: what stands here are the defaults.
# Who made the vectors is not told. If you know it: encoder="kind:model", source="the column that was encoded".


class Quick(Collection, name="quick", lineage=False, dynamic=True):
    """`quick` as it is in Milvus."""

    id: int = Field(primary_key=True, auto_id=True)
    vector: Vector = VectorField(dim=8, metric="COSINE", index=AUTOINDEX())

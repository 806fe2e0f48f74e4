"""`special` as it is in Milvus; somebody else fills it."""

from __future__ import annotations

from connector.schema import BM25, OTHER, SPARSE_INVERTED_INDEX, Collection, Field, Vector, VectorField

# Milvus Lite tells neither the parameters of indexes nor consistency and shards: what stands here are the defaults.
# Who made the vectors is not told. If you know it: encoder="kind:model", source="the column that was encoded".


class Special(Collection, name="special", lineage=False):
    """`special` as it is in Milvus."""

    id: str = Field(primary_key=True, max_length=20)
    # Not said here: enable_match = true.
    text: str = Field(max_length=100)
    note: str | None = Field(max_length=100)
    words: Vector = BM25("text", index=SPARSE_INVERTED_INDEX())
    v: Vector = VectorField(dim=3, metric="IP", index=OTHER(name="HNSW_SQ"))

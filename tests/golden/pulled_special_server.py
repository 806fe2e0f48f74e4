"""`special` as it is in Milvus; somebody else fills it."""

from __future__ import annotations

from connector.schema import BIN_IVF_FLAT, Collection, Field, Vector, VectorField

# Who made the vectors is not told. If you know it: encoder="kind:model", source="the column that was encoded".
# Not said here: the partitions autumn, spring; rows are read from all of them.


class Special(Collection, name="special", lineage=False, consistency="Bounded"):
    """`special` as it is in Milvus."""

    id: str = Field(primary_key=True, max_length=20)
    bits: Vector = VectorField(dim=16, dtype="binary", metric="JACCARD", index=BIN_IVF_FLAT(nlist=16))

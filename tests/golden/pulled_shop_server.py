"""`shop` as it is in Milvus; somebody else fills it."""

from __future__ import annotations

from typing import Any

from connector.schema import IVF_FLAT, STL_SORT, TRIE, Collection, Field, Float32, Int8, Vector, VectorField

# Aliases: store.
# Who made the vectors is not told. If you know it: encoder="kind:model", source="the column that was encoded".
# Not said here: class: the field itself: no class can have a column of this name.


class Shop(
    Collection,
    name="shop",
    lineage=False,
    dynamic=True,
    shards=2,
    partitions=64,
    consistency="Bounded",
    properties={"collection.ttl.seconds": "360000", "mmap.enabled": "true"},
):
    """What "the shop" sells."""

    pk: int = Field(primary_key=True, auto_id=True, description="the key")
    tenant: str = Field(partition_key=True, max_length=32)
    title: str = Field(max_length=100, default='é "quoted" \\', index=TRIE())
    # Not said here: an index that the server has not named.
    price: Float32 = Field(default=0.1)
    stock: int = Field(index=STL_SORT())
    level: Int8
    sold: bool
    tags: list[str] = Field(max_length=20, max_capacity=5)
    sizes: list[float] = Field(max_capacity=7)
    data: dict[str, Any]
    v: Vector = VectorField(dim=4, metric="L2", index=IVF_FLAT(nlist=64))

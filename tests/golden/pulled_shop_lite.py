"""`shop` as it is in Milvus; somebody else fills it."""

from __future__ import annotations

from typing import Any

from connector.schema import INVERTED, IVF_FLAT, Collection, Field, Float32, Int8, Vector, VectorField

# Aliases: store.
# Milvus Lite tells neither the parameters of indexes nor consistency and shards: what stands here are the defaults.
# Who made the vectors is not told. If you know it: encoder="kind:model", source="the column that was encoded".
# Not said here: class: the field itself: no class can have a column of this name.


class Shop(
    Collection,
    name="shop",
    lineage=False,
    dynamic=True,
    properties={"collection.ttl.seconds": "360000", "mmap.enabled": "true"},
):
    """`shop` as it is in Milvus."""

    pk: int = Field(primary_key=True, auto_id=True)
    tenant: str = Field(partition_key=True, max_length=32)
    title: str = Field(max_length=100, default='é "quoted" \\', index=INVERTED())
    price: Float32 = Field(default=0.1)
    stock: int
    level: Int8
    sold: bool
    # Milvus Lite does not tell max_length of the elements.
    tags: list[str] = Field(max_capacity=5)
    sizes: list[float] = Field(max_capacity=7)
    data: dict[str, Any]
    v: Vector = VectorField(dim=4, metric="L2", index=IVF_FLAT(nlist=128))

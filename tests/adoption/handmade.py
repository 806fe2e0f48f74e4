"""Collections as people make them by hand, with plain pymilvus, on Milvus Lite and on Milvus 2.3.5."""

from __future__ import annotations

from typing import Any

from pymilvus import DataType, Function, FunctionType


def is_lite(client: Any) -> bool:
    """Whether this is Milvus Lite."""
    return str(client.get_server_version()).startswith("milvus_lite")


def quick(client: Any) -> None:
    """The three lines of every tutorial."""
    client.create_collection("quick", dimension=8, auto_id=True)


def shop(client: Any) -> None:
    """Something of everything that both hold, with an alias, and rows in no partition of ours."""
    lite = is_lite(client)
    schema = client.create_schema(auto_id=True, enable_dynamic_field=True, description='What "the shop" sells.')
    schema.add_field("pk", DataType.INT64, is_primary=True, description="the key")
    schema.add_field("tenant", DataType.VARCHAR, max_length=32, is_partition_key=True)
    schema.add_field("title", DataType.VARCHAR, max_length=100, default_value='é "quoted" \\')
    schema.add_field("price", DataType.FLOAT, default_value=0.1)
    schema.add_field("stock", DataType.INT64)
    schema.add_field("level", DataType.INT8)
    schema.add_field("sold", DataType.BOOL)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=20, max_capacity=5)
    schema.add_field("sizes", DataType.ARRAY, element_type=DataType.DOUBLE, max_capacity=7)
    schema.add_field("data", DataType.JSON)
    schema.add_field("class", DataType.INT64)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    options = {"num_shards": 2, "consistency_level": "Bounded", "properties": {"collection.ttl.seconds": 360000, "mmap.enabled": "true"}}
    client.create_collection("shop", schema=schema, **options)
    indexes = client.prepare_index_params()
    indexes.add_index("v", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 64}, index_name="by_hand")
    indexes.add_index("title", index_type="INVERTED" if lite else "Trie")
    if not lite:
        indexes.add_index("stock", index_type="STL_SORT")
        indexes.add_index("price", index_type="")
    client.create_index("shop", indexes)
    client.create_alias("shop", "store")


def special(client: Any) -> None:
    """What only one of the two holds: texts that are looked up, and null; or bits, and partitions by name."""
    lite, schema = is_lite(client), client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=20)
    indexes = client.prepare_index_params()
    if lite:
        schema.add_field("text", DataType.VARCHAR, max_length=100, enable_analyzer=True, enable_match=True)
        schema.add_field("note", DataType.VARCHAR, max_length=100, nullable=True)
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=3)
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["words"]))
        indexes.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params={"bm25_k1": 1.5})
        indexes.add_index("v", index_type="HNSW_SQ", metric_type="IP", params={"M": 8, "efConstruction": 50, "sq_type": "SQ8"})
    else:
        schema.add_field("bits", DataType.BINARY_VECTOR, dim=16)
        indexes.add_index("bits", index_type="BIN_IVF_FLAT", metric_type="JACCARD", params={"nlist": 16})
    client.create_collection("special", schema=schema, index_params=indexes)
    if not lite:
        client.create_partition("special", "spring")
        client.create_partition("special", "autumn")


def texts(client: Any, rows: list[dict[str, Any]], name: str = "texts", *, dim: int = 8, auto_id: bool = False) -> None:
    """Texts with their vectors, as a script of somebody's would have inserted them; further keys go to the dynamic field."""
    schema = client.create_schema(auto_id=auto_id, enable_dynamic_field=True)
    kind: Any = {"datatype": DataType.INT64} if auto_id else {"datatype": DataType.VARCHAR, "max_length": 40}
    schema.add_field("sku", is_primary=True, **kind)
    schema.add_field("title", DataType.VARCHAR, max_length=200)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=indexes)
    if rows:
        client.insert(name, rows)

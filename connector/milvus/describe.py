"""A collection in pymilvus's words: a specification turned into a schema to create, and what a server describes turned back.

No two versions describe alike: Milvus Lite reports build parameters only where it was sent them as one (`changes.index_params`) and drops
an array's element length, servers report numbers as text and a scalar's missing metric as "". Everything is brought into the form of
`stamp.fields_of` and `stamp.indexes_of`; None means not reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.schema.fulltext import analyzers
from connector.schema.spec import CollectionSpec, FieldSpec

VECTOR_TYPES = {
    "float32": "FLOAT_VECTOR",
    "float16": "FLOAT16_VECTOR",
    "bfloat16": "BFLOAT16_VECTOR",
    "int8": "INT8_VECTOR",
    "binary": "BINARY_VECTOR",
    "sparse": "SPARSE_FLOAT_VECTOR",
}
"""Milvus's name of a vector type, by ours."""

KINDS = {name: kind for kind, name in VECTOR_TYPES.items()}
"""Our name of a vector type, by Milvus's."""

_NAMES = {"field_name", "index_name", "index_type", "metric_type"}
_PROGRESS = {"total_rows", "indexed_rows", "pending_index_rows", "state", "index_state_fail_reason"}
_DEFAULTS: dict[str, tuple[str, type]] = {
    "BOOL": ("bool_data", bool),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_data", int)),
    "INT64": ("long_data", int),
    "FLOAT": ("float_data", float),
    "DOUBLE": ("double_data", float),
    **dict.fromkeys(("VARCHAR", "TIMESTAMPTZ", "GEOMETRY"), ("string_data", str)),
}
_NO_METRIC = {"", "NONE"}


def stored_default(field: FieldSpec) -> bool:
    """Whether Milvus itself keeps the field's default; it cannot for JSON and ARRAY, where only our rows carry it."""
    return field.default is not None and field.type not in {"JSON", "ARRAY"}


def schema_of(spec: CollectionSpec, *, routed: bool = True) -> Any:
    """The `pymilvus.CollectionSchema` of a specification; not `routed`: its partition key is a plain column."""
    from pymilvus import DataType, Function, FunctionType, MilvusClient

    analyzed = analyzers(spec.vectors)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=spec.dynamic, description=spec.description)
    for field in spec.fields:
        text: dict[str, Any] = {"enable_analyzer": True} if field.name in analyzed else {}
        if analyzed.get(field.name):
            text["analyzer_params"] = analyzed[field.name]
        options = _options(field if routed else field.model_copy(update={"partition_key": False}))
        schema.add_field(field.name, DataType[field.type], **options, **text)
    for vector in spec.vectors:
        options = {} if vector.dim is None else {"dim": vector.dim}
        if vector.nullable:
            options["nullable"] = True
        if vector.description:
            options["description"] = vector.description
        schema.add_field(vector.name, DataType[VECTOR_TYPES[vector.dtype]], **options)
        if vector.computed:
            schema.add_function(Function(vector.name, FunctionType.BM25, [vector.source], [vector.name]))
    return schema


def field_options(field: FieldSpec) -> dict[str, Any]:
    """Keyword arguments of `MilvusClient.add_collection_field` for a scalar field."""
    from pymilvus import DataType

    return {"data_type": DataType[field.type], **_options(field)}


def _options(field: FieldSpec) -> dict[str, Any]:
    from pymilvus import DataType

    options: dict[str, Any] = {}
    if field.primary_key:
        options["is_primary"] = True
    if field.partition_key:
        options["is_partition_key"] = True
    if field.nullable:
        options["nullable"] = True
    if field.description:
        options["description"] = field.description
    if stored_default(field):
        options["default_value"] = _default(field)
    if field.max_length is not None:
        options["max_length"] = field.max_length
    if field.element is not None:
        options |= {"element_type": DataType[field.element], "max_capacity": field.max_capacity}
    return options


def _default(field: FieldSpec) -> Any:
    """The default as the server wants it; pymilvus would send any int as 64 bits, which a 16-bit field refuses."""
    from pymilvus.grpc_gen import schema_pb2

    slot, kind = _DEFAULTS[field.type]
    return schema_pb2.ValueField(**{slot: kind(field.default)})


def index_of(spec: CollectionSpec, name: str) -> dict[str, Any]:
    """Keyword arguments of `IndexParams.add_index` for one field of a specification."""
    for vector in spec.vectors:
        if vector.name == name:
            return {"index_type": vector.index.type, "metric_type": vector.metric, "params": vector.index.params}
    field = next(field for field in spec.fields if field.name == name)
    return {"index_type": field.index.type if field.index else "", "params": field.index.params if field.index else {}}


def live_fields(description: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`describe_collection`'s answer in the form of `stamp.fields_of`."""
    return {field["name"]: _live_field(field) for field in description["fields"]}


def _live_field(field: Mapping[str, Any]) -> dict[str, Any]:
    from pymilvus import DataType

    kind = DataType(field["type"]).name
    params = field.get("params") or {}
    if kind in KINDS:
        return {"type": KINDS[kind], "dim": _number(params.get("dim")), "nullable": bool(field.get("nullable"))}
    element = field.get("element_type")
    return {
        "type": kind,
        "primary_key": bool(field.get("is_primary")),
        "partition_key": bool(field.get("is_partition_key")),
        "nullable": bool(field.get("nullable")),
        "max_length": _number(params.get("max_length")),
        "element": DataType(element).name if element else None,
        "max_capacity": _number(params.get("max_capacity")),
    }


def live_index(description: Mapping[str, Any]) -> dict[str, Any]:
    """`describe_index`'s answer in the form of `stamp.indexes_of`, without what changes while an index is built."""
    metric, together = description.get("metric_type"), description.get("params")
    told = {**description, **together} if isinstance(together, Mapping) else description  # Milvus Lite tells them as one
    params = {key: str(value) for key, value in told.items() if key not in _NAMES | _PROGRESS | {"params"}}
    return {"type": description.get("index_type") or "", "metric": None if metric in _NO_METRIC else metric, **params}


def _number(value: Any) -> int | None:
    return None if value is None else int(value)

"""A collection as plain frozen data: what the rest of the system reads, compares and stamps.

`declare.py` makes these from classes; nothing here knows how a collection was written down.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from connector.schema.indexes import ScalarIndex, VectorIndex, VectorKind

ScalarType: TypeAlias = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR", "JSON", "ARRAY", "TIMESTAMPTZ", "GEOMETRY"
]
Consistency: TypeAlias = Literal["Strong", "Bounded", "Session", "Eventually"]

LINEAGE = ("connector_namespace", "connector_key", "connector_content")
"""Fields that every row carries, so that a lost ledger can be rebuilt from the collection (see `rows.py`)."""

MAX_VARCHAR = 65_535
"""Most bytes of a VARCHAR, by Milvus's limits page."""


class FieldSpec(BaseModel):
    """One scalar column.

    Attributes:
        name: As in Milvus.
        type: The Milvus type.
        primary_key: This is the key.
        auto_id: Milvus makes the key up; only where a collection is read (`CollectionSpec.lineage`).
        generated: The key is derived from the document (`record.generated_key`).
        partition_key: Rows are routed by this value.
        nullable: None is a value.
        default: Filled in where a row has none; None: no default.
        max_length: VARCHAR, or VARCHAR elements: most UTF-8 **bytes**.
        element: ARRAY: type of its elements.
        max_capacity: ARRAY: most elements.
        index: Scalar index, if any.
        description: For people; not part of what is compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: ScalarType
    primary_key: bool = False
    generated: bool = False
    auto_id: bool = False
    partition_key: bool = False
    nullable: bool = False
    default: Any = None
    max_length: int | None = None
    element: ScalarType | None = None
    max_capacity: int | None = None
    index: SerializeAsAny[ScalarIndex] | None = None
    description: str = ""


class VectorFieldSpec(BaseModel):
    """One vector column and what fills it.

    Attributes:
        name: As in Milvus.
        dtype: Type of the stored numbers; `sparse` for a sparse vector.
        dim: Numbers a vector; bits for `binary`; None for `sparse`.
        metric: Metric type.
        index: Vector index.
        encoder: `kind:model[@revision]`; None: vectors come ready-made from the source column.
        source: The row's field that is encoded, or that holds the vector; None: named as what the encoder reads ("text", "image").
        modality: What an encoder of several kinds of input finds in `source`: text, image or audio; None: as the names say.
        layer: See `interfaces.Head`; None: the model's own.
        pooling: Likewise.
        normalize: Likewise.
        truncate_dim: Likewise.
        options: Further keyword arguments of the encoder, such as prompts.
        nullable: A row without a source has no vector; otherwise it is rejected.
        analyzer: How the server cuts `source` into words, if it computes the vector (BM25); {}: its standard way.
        description: For people; not part of what is compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: VectorKind = "float32"
    dim: int | None
    metric: str
    index: SerializeAsAny[VectorIndex]
    encoder: str | None = None
    source: str | None = None
    modality: str | None = None
    layer: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    truncate_dim: int | None = None
    options: dict[str, Any] = {}
    nullable: bool = False
    analyzer: dict[str, Any] | None = None
    description: str = ""

    @property
    def computed(self) -> bool:
        """Whether the server makes the vector itself, from the text in `source`: it is never sent and cannot be read."""
        return self.metric == "BM25"

    def within(self, distance: float, radius: float) -> bool:
        """Whether a score or distance in this metric is as near as another one, or nearer."""
        return distance <= radius if self.metric in {"L2", "HAMMING", "JACCARD"} else distance >= radius

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector that is sent; an estimate for `sparse`."""
        if self.dim is None:
            return 0 if self.computed else 1024
        return {"float32": 4 * self.dim, "int8": self.dim, "binary": self.dim // 8}.get(self.dtype, 2 * self.dim)


class CollectionSpec(BaseModel):
    """A whole collection.

    Attributes:
        name: Of the alias; the physical collection is `name__g1` and so on.
        description: From the class docstring.
        fields: Scalar columns in declared order, lineage fields last.
        vectors: Vector columns in declared order.
        dynamic: Whether Milvus takes undeclared fields.
        shards: Number of shards.
        partitions: Number of physical partitions of a partition key; None: the server's default.
        consistency: Consistency level of the collection.
        properties: Further collection properties (TTL, mmap), as Milvus names them.
        lineage: Whether rows carry lineage. Without it the collection is somebody else's: it is read and copied, never written by a run.
        where: File and class, for messages; not part of the specification.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    fields: tuple[FieldSpec, ...]
    vectors: tuple[VectorFieldSpec, ...]
    dynamic: bool = False
    shards: int = 1
    partitions: int | None = None
    consistency: Consistency = "Strong"
    properties: dict[str, str] = {}
    lineage: bool = True
    where: str = ""

    @property
    def primary(self) -> FieldSpec:
        """The primary key."""
        return next(field for field in self.fields if field.primary_key)

    @property
    def members(self) -> tuple[FieldSpec | VectorFieldSpec, ...]:
        """Every field."""
        return (*self.fields, *self.vectors)

    @property
    def columns(self) -> tuple[FieldSpec, ...]:
        """Scalar columns that a row must bring: all but a generated key and lineage."""
        return tuple(field for field in self.fields if not field.generated and field.name not in LINEAGE)

    @property
    def sent(self) -> tuple[VectorFieldSpec, ...]:
        """Vector columns that a row must bring: all but those that the server computes."""
        return tuple(vector for vector in self.vectors if not vector.computed)

    @property
    def ready(self) -> tuple[VectorFieldSpec, ...]:
        """Vector columns without an encoder, whose vectors rows bring ready-made."""
        return tuple(vector for vector in self.sent if vector.encoder is None)

    def normalised(self) -> dict[str, Any]:
        """What the stamp holds and `plan` compares: JSON values, without descriptions, paths and encoder sources.

        The encoder reference and its head are left out, because the encoder *identity* stands beside the
        specification in the stamp: the same model from another path is the same collection.
        """
        scalars = [field.model_dump(exclude={"index", "description"}, exclude_defaults=True) for field in self.fields]
        vectors: list[dict[str, Any]] = [
            {"name": v.name, "dtype": v.dtype, "dim": v.dim, "metric": v.metric, "nullable": v.nullable}
            | ({"source": v.source, "analyzer": v.analyzer} if v.computed else {})
            for v in self.vectors
        ]
        indexes = {f.name: {"type": f.index.type, **f.index.params} for f in self.members if f.index is not None and f.index.type}
        return {
            "name": self.name,
            "fields": scalars,
            "vectors": vectors,
            "indexes": indexes,
            "dynamic": self.dynamic,
            "shards": self.shards,
            "partitions": self.partitions,
            "consistency": self.consistency,
            "properties": self.properties,
            **({} if self.lineage else {"lineage": False}),
        }

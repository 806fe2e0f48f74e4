"""What a schema file is written with: a base class, two functions and the column types.

`Collection` is no pydantic model itself: a model reserves names such as `json`, `copy` and `schema`, and a user's column may be called
just that. The class body is only read, by `reader.py`; the checked data is in `spec.py`.

Python types become Milvus types by this table; anything else is refused:

    bool BOOL · int INT64 · float DOUBLE · str VARCHAR · dict JSON · list[T] ARRAY of T
    T | None, Vector | None: nullable · Int8, Int16, Int32, Float32, Timestamp, Geometry: the Milvus type of that name
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from connector.errors import SchemaError
from connector.schema.indexes import SPARSE_INVERTED_INDEX
from connector.schema.reader import ABSENT, Declared, Reader, Vector
from connector.schema.spec import CollectionSpec

if TYPE_CHECKING:
    from connector.schema.indexes import ScalarIndex, VectorIndex, VectorKind
    from connector.schema.spec import Consistency

__all__ = [
    "BM25",
    "Collection",
    "Field",
    "Float32",
    "Geometry",
    "Int8",
    "Int16",
    "Int32",
    "Timestamp",
    "Vector",
    "VectorField",
    "spec_of",
]

Int8: TypeAlias = Annotated[int, "INT8"]
Int16: TypeAlias = Annotated[int, "INT16"]
Int32: TypeAlias = Annotated[int, "INT32"]
Float32: TypeAlias = Annotated[float, "FLOAT"]
Timestamp: TypeAlias = Annotated[str, "TIMESTAMPTZ"]
Geometry: TypeAlias = Annotated[str, "GEOMETRY"]


def Field(  # noqa: N802, PLR0913 - reads as a declaration, as in pydantic
    *,
    primary_key: bool = False,
    generated: bool = False,
    auto_id: bool = False,
    partition_key: bool = False,
    default: Any = ABSENT,
    max_length: int | None = None,
    max_capacity: int | None = None,
    index: ScalarIndex | None = None,
    description: str = "",
) -> Any:
    """Declares a scalar column; see `spec.FieldSpec` for the meaning of each argument.

    `max_length` counts UTF-8 bytes and is 65,535 when left out, 32 for a generated key. `generated=True` derives the key from
    namespace, document key and ordinal. `auto_id=True` says that Milvus made the keys, and needs `lineage=False`.
    """
    given = {
        "primary_key": primary_key,
        "generated": generated,
        "auto_id": auto_id,
        "partition_key": partition_key,
        "max_length": max_length,
        "max_capacity": max_capacity,
        "index": index,
        "description": description,
    }
    return Declared(vector=False, given=given if default is ABSENT else {**given, "default": default})


def VectorField(  # noqa: N802, PLR0913 - reads as a declaration, as in pydantic; each argument is one fact
    *,
    dim: int | None = None,
    encoder: str | None = None,
    source: str | None = None,
    modality: str | None = None,
    metric: str | None = None,
    index: VectorIndex | None = None,
    dtype: VectorKind = "float32",
    layer: str | None = None,
    pooling: str | None = None,
    normalize: bool | None = None,
    truncate_dim: int | None = None,
    description: str = "",
    **options: Any,
) -> Any:
    """Declares a vector column; see `spec.VectorFieldSpec`. Further keyword arguments go to the encoder (prompts, for one)."""
    given = {
        "dim": dim,
        "encoder": encoder,
        "source": source,
        "modality": modality,
        "metric": metric,
        "index": index,
        "dtype": dtype,
        "layer": layer,
        "pooling": pooling,
        "normalize": normalize,
        "truncate_dim": truncate_dim,
        "description": description,
        "options": options,
    }
    return Declared(vector=True, given=given)


def BM25(  # noqa: N802 - as VectorField
    source: str,
    *,
    analyzer: dict[str, Any] | None = None,
    k1: float = 1.2,
    b: float = 0.75,
    index: VectorIndex | None = None,
    description: str = "",
) -> Any:
    """Declares a vector column that the server computes from a text column, to be searched by the words in it.

    Args:
        source: The text column, a `str` that is never None.
        analyzer: How the server cuts the text into words, in Milvus's terms, such as `{"type": "english"}`; default: its standard way.
        k1: How much a repeated word counts on.
        b: How much a long text counts less.
        index: Instead of `SPARSE_INVERTED_INDEX` with these two numbers.
        description: For people.
    """
    given = {
        "dim": None,
        "dtype": "sparse",
        "metric": "BM25",
        "index": index or SPARSE_INVERTED_INDEX(bm25_k1=k1, bm25_b=b),
        "source": source,
        "analyzer": analyzer or {},
        "description": description,
    }
    return Declared(vector=True, given=given)


class Collection:
    """Base of every declared collection: annotate columns, give options as class keywords.

    `class Docs(Collection, name="docs", dynamic=False, shards=1, consistency="Strong")`. `lineage=False` declares a collection that
    somebody else fills: it is searched, compared and copied, and no run writes to it. The name is the class name in lower
    case when left out. A class with `abstract=True` is a mixin: its columns belong to the classes that inherit from it and come first.
    `spec_of(Docs)` gives the specification.
    """

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        abstract: bool = False,
        dynamic: bool | None = None,
        shards: int | None = None,
        partitions: int | None = None,
        consistency: Consistency | None = None,
        properties: dict[str, str] | None = None,
        lineage: bool | None = None,
    ) -> None:
        """Reads the class body."""
        super().__init_subclass__()
        given = {
            "dynamic": dynamic,
            "shards": shards,
            "partitions": partitions,
            "consistency": consistency,
            "properties": properties,
            "lineage": lineage,
        }
        if abstract:
            cls.__connector_given__ = given  # type: ignore[attr-defined]  # dunder: never in a column's way
            return
        options = {**_given(cls, given), "name": cls.__name__.lower() if name is None else name}
        cls.__connector_spec__ = Reader(cls).read(options)  # type: ignore[attr-defined]  # as above


_UNSAID: dict[str, Any] = {
    "dynamic": False,
    "shards": 1,
    "partitions": None,
    "consistency": "Strong",
    "properties": {},
    "lineage": True,
}


def _given(cls: type, own: dict[str, Any]) -> dict[str, Any]:
    """The class keywords in force: a class's own before those of its mixins; properties add up."""
    mixins = [vars(base).get("__connector_given__", {}) for base in reversed(cls.__mro__)]
    options = dict(_UNSAID)
    for given in (*mixins, own):
        said = {name: value for name, value in given.items() if value is not None}
        options |= {**said, "properties": {**options["properties"], **said.get("properties", {})}}
    return options


def spec_of(collection: type[Collection] | CollectionSpec) -> CollectionSpec:
    """The specification of a declared collection.

    Raises:
        SchemaError: It is a mixin, or no collection at all.
    """
    if isinstance(collection, CollectionSpec):
        return collection
    spec = collection.__dict__.get("__connector_spec__") if isinstance(collection, type) else None
    if not isinstance(spec, CollectionSpec):
        raise SchemaError(f"{collection!r} is no collection", hint="pass a class that inherits from connector.schema.Collection")
    return spec

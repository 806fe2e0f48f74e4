"""Collections as code: what a class comes to, and what is said when it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import pytest

from connector.errors import SchemaError
from connector.schema import (
    BITMAP,
    DISKANN,
    HNSW,
    INVERTED,
    IVF_PQ,
    SPARSE_INVERTED_INDEX,
    STL_SORT,
    TRIE,
    Collection,
    CollectionSpec,
    Field,
    FieldSpec,
    Float32,
    Geometry,
    Int8,
    Int16,
    Int32,
    Timestamp,
    Vector,
    VectorField,
    VectorFieldSpec,
    spec_of,
)


class Products(Collection, dynamic=True, shards=2, consistency="Bounded", properties={"collection.ttl.seconds": "60"}, partitions=16):
    """Searched by picture or by words.

    This second paragraph is for readers of the file.
    """

    sku: str = Field(primary_key=True, max_length=64)
    tenant: str = Field(partition_key=True, max_length=32)
    title: str = Field(max_length=512, index=TRIE())
    price: float = 0.0
    stock: int | None = Field(default=3, index=STL_SORT())
    image: Vector = VectorField(dim=512, encoder="fake:clip", source="image_path", metric="IP", index=HNSW(M=8, ef_construction=100))


class Everything(Collection):
    """One column a type; the names are those that other frameworks reserve."""

    id: int = Field(primary_key=True)
    json: dict[str, Any]
    schema: str
    copy: bool
    mro: Int8 = Field(index=BITMAP())
    model_x: Int16
    model_config: Int32
    json_schema: int
    validate: Float32
    fields: float
    name: list[str] = Field(max_length=9, max_capacity=3)
    type: list[int]
    where: list[float] | None
    abstract: list[bool]
    items: Timestamp | None
    keys: Geometry | None = None
    self: list[Int8]
    cls: dict[str, Any] | None
    vector: Vector = VectorField(dim=4, source="v")


class Tracked(Collection, abstract=True):
    """A mixin: no primary key, no vector, and no error."""

    site: str = Field(max_length=10, index=BITMAP())
    seen: int = 0


class Plain:
    """A mixin that is no collection at all."""

    lang: str = "en"


class Pages(Tracked, Plain, name="web_pages"):
    """A class with mixins."""

    limit: ClassVar[int] = 5
    id: str = Field(primary_key=True, generated=True)
    seen: int = 7
    vector: Vector = VectorField(
        dim=4, encoder="fake:x", prompts={"query": "q: "}, layer="l", pooling="mean", normalize=True, truncate_dim=4
    )

    def helper(self) -> None:
        """Methods are no columns."""


def columns(cls: type[Collection]) -> dict[str, FieldSpec]:
    """Scalar columns by name."""
    return {field.name: field for field in spec_of(cls).fields}


def test_a_typical_collection() -> None:
    """Every keyword of the class and of its fields arrives in the specification."""
    spec = spec_of(Products)
    assert (spec.name, spec.description) == ("products", "Searched by picture or by words.")
    assert (spec.dynamic, spec.shards, spec.consistency, spec.partitions) == (True, 2, "Bounded", 16)
    assert spec.properties == {"collection.ttl.seconds": "60"}
    assert spec.where == f"{__file__}: Products"
    assert spec.primary.name == "sku"
    assert [field.name for field in spec.columns] == ["sku", "tenant", "title", "price", "stock"]
    fields = columns(Products)
    assert fields["tenant"].partition_key
    assert fields["title"].index == TRIE()
    assert fields["price"].default == 0.0
    assert (fields["stock"].nullable, fields["stock"].default, fields["stock"].type) == (True, 3, "INT64")
    index = HNSW(M=8, ef_construction=100)
    assert spec.vectors == (VectorFieldSpec(name="image", dim=512, encoder="fake:clip", source="image_path", metric="IP", index=index),)


def test_types() -> None:
    """Python types become Milvus types by the table in the docstring, and no name is in the way of a column."""
    assert {field.name: (field.type, field.element, field.nullable) for field in spec_of(Everything).columns} == {
        "id": ("INT64", None, False),
        "json": ("JSON", None, False),
        "schema": ("VARCHAR", None, False),
        "copy": ("BOOL", None, False),
        "mro": ("INT8", None, False),
        "model_x": ("INT16", None, False),
        "model_config": ("INT32", None, False),
        "json_schema": ("INT64", None, False),
        "validate": ("FLOAT", None, False),
        "fields": ("DOUBLE", None, False),
        "name": ("ARRAY", "VARCHAR", False),
        "type": ("ARRAY", "INT64", False),
        "where": ("ARRAY", "DOUBLE", True),
        "abstract": ("ARRAY", "BOOL", False),
        "items": ("TIMESTAMPTZ", None, True),
        "keys": ("GEOMETRY", None, True),
        "self": ("ARRAY", "INT8", False),
        "cls": ("JSON", None, True),
    }


def test_lengths_and_capacities() -> None:
    """What is left out is the most that Milvus takes; `max_length` of a list is that of its elements."""
    fields = columns(Everything)
    assert fields["schema"].max_length == 65_535
    assert (fields["name"].max_length, fields["name"].max_capacity) == (9, 3)
    assert (fields["type"].max_length, fields["type"].max_capacity) == (None, 4096)
    assert columns(Pages)["id"].max_length == 32


def test_mixins() -> None:
    """Columns of bases come first, a class may say a column again, class variables and methods are none."""
    spec = spec_of(Pages)
    assert spec.name == "web_pages"
    assert [field.name for field in spec.columns] == ["lang", "site", "seen"]
    fields = columns(Pages)
    assert (fields["lang"].default, fields["seen"].default, fields["site"].index) == ("en", 7, BITMAP())
    assert spec.primary.generated


def test_head_and_options_of_a_vector_field() -> None:
    """What the encoder is asked for stands in the specification; unknown keywords are the encoder's own."""
    vector = spec_of(Pages).vectors[0]
    assert (vector.layer, vector.pooling, vector.normalize, vector.truncate_dim) == ("l", "mean", True, 4)
    assert vector.options == {"prompts": {"query": "q: "}}
    assert (vector.metric, vector.index.type, vector.source) == ("COSINE", "AUTOINDEX", None)


def test_lineage_comes_last() -> None:
    """Every row can be traced to its document."""
    assert [field.name for field in spec_of(Products).fields[-3:]] == ["connector_namespace", "connector_key", "connector_content"]


def test_defaults_are_stored_as_the_field_stores_them() -> None:
    """The specification is JSON, so that it can be stamped and compared."""

    class Dated(Collection):
        id: int = Field(primary_key=True)
        at: Timestamp = Field(default=datetime(2024, 1, 2, tzinfo=UTC))
        price: float = 1
        vector: Vector = VectorField(dim=2, source="v")

    assert columns(Dated)["at"].default == "2024-01-02T00:00:00+00:00"
    assert isinstance(columns(Dated)["price"].default, float)


@pytest.mark.parametrize(
    ("dtype", "dim", "metric", "index"),
    [
        ("float32", 8, "COSINE", "AUTOINDEX"),
        ("float16", 8, "COSINE", "AUTOINDEX"),
        ("bfloat16", 8, "COSINE", "AUTOINDEX"),
        ("int8", 8, "COSINE", "AUTOINDEX"),
        ("binary", 8, "HAMMING", "BIN_FLAT"),
        ("sparse", None, "IP", "SPARSE_INVERTED_INDEX"),
    ],
)
def test_vector_types_and_their_defaults(dtype: Any, dim: int | None, metric: str, index: str) -> None:
    """Every vector type declares without a metric and an index, and gets ones that fit."""

    class One(Collection):
        id: int = Field(primary_key=True)
        vector: Vector = VectorField(dim=dim, dtype=dtype, source="v")

    vector = spec_of(One).vectors[0]
    assert (vector.metric, vector.index.type) == (metric, index)


def test_a_vector_that_may_be_missing() -> None:
    """`Vector | None` is a nullable vector field, as `T | None` is a nullable column; the stamp tells the two apart."""

    class Shop(Collection):
        id: int = Field(primary_key=True)
        words: Vector = VectorField(dim=2, source="v")
        picture: Vector | None = VectorField(dim=2, source="p")

    spec = spec_of(Shop)
    assert [(field.name, field.nullable) for field in spec.vectors] == [("words", False), ("picture", True)]
    assert [field["nullable"] for field in spec.normalised()["vectors"]] == [False, True]


def declare(body: dict[str, Any], annotations: dict[str, Any], **keywords: Any) -> CollectionSpec:
    """Declares a class `Bad` with a good key and a good vector, and this."""
    good = {"id": Field(primary_key=True), "vector": VectorField(dim=8, source="v")}
    hints = {"id": int, "vector": Vector, **annotations}
    hints = {name: hint for name, hint in hints.items() if hint is not None}
    names = {**{name: value for name, value in good.items() if name in hints}, **body}
    return spec_of(type("Bad", (Collection,), {**names, "__annotations__": hints, "__module__": __name__}, **keywords))


def scalar(hint: Any, **arguments: Any) -> CollectionSpec:
    """`Bad` with a column `x`."""
    return declare({"x": Field(**arguments)}, {"x": hint})


def vector(**arguments: Any) -> CollectionSpec:
    """`Bad` with its vector declared so."""
    return declare({"vector": VectorField(**{"dim": 8, "source": "v", **arguments})}, {})


WRONG: dict[str, tuple[Any, str, str]] = {
    "no key": (lambda: declare({}, {"id": None}), "Bad: 0 primary keys", "primary_key=True"),
    "two keys": (lambda: scalar(int, primary_key=True), "Bad: 2 primary keys", "declare one"),
    "no vector": (lambda: declare({}, {"vector": None}), "Bad: no vector field", "VectorField("),
    "float key": (lambda: declare({"id": Field(primary_key=True)}, {"id": float}), "Bad.id: a key must be", "type"),
    "nullable key": (lambda: declare({}, {"id": int | None}), "Bad.id: a key must be", "type"),
    "key default": (lambda: declare({"id": Field(primary_key=True, default=1)}, {}), "Bad.id: a primary key cannot have", "remove"),
    "generated int": (lambda: declare({"id": Field(primary_key=True, generated=True)}, {}), "Bad.id: only a `str`", "generated=True"),
    "generated no key": (lambda: scalar(str, generated=True), "Bad.x: only a `str` primary key", "primary_key=True"),
    "nullable partition": (lambda: scalar(str | None, partition_key=True), "Bad.x: a key must be", "type"),
    "two partitions": (
        lambda: declare({"x": Field(partition_key=True), "y": Field(partition_key=True)}, {"x": str, "y": str}),
        "Bad: more than one partition key",
        "keep one",
    ),
    "length of int": (lambda: scalar(int, max_length=3), "Bad.x: max_length is for `str`", "remove"),
    "length 0": (lambda: scalar(str, max_length=0), "Bad.x: max_length 0", "max_length"),
    "length over": (lambda: scalar(str, max_length=65_536), "Bad.x: max_length 65536", "max_length"),
    "capacity of str": (lambda: scalar(str, max_capacity=3), "Bad.x: max_capacity 3", "list"),
    "capacity over": (lambda: scalar(list[int], max_capacity=4097), "Bad.x: max_capacity 4097", "4096"),
    "unknown type": (lambda: declare({}, {"x": bytes}), "Bad.x: no Milvus type for `bytes`", "list[T]"),
    "union": (lambda: declare({}, {"x": int | str}), "Bad.x: no Milvus type for `int | str`", "list[T]"),
    "literal": (lambda: declare({}, {"x": Literal["a"]}), "Bad.x: no Milvus type for", "list[T]"),
    "bare list": (lambda: declare({}, {"x": list}), "Bad.x: no Milvus type for `list`", "list[T]"),
    "list of dict": (lambda: declare({}, {"x": list[dict[str, int]]}), "Bad.x: a list of JSON", "list[str]"),
    "list of list": (lambda: declare({}, {"x": list[list[int]]}), "Bad.x: a list of ARRAY", "list[str]"),
    "unknown name": (lambda: declare({}, {"x": "Decimal"}), "Bad: name 'Decimal' is not defined", "import"),
    "broken annotation": (lambda: declare({}, {"x": "list[int"}), "Bad: ", "import"),
    "no annotation": (lambda: declare({"x": Field()}, {}), "Bad.x: no annotation", "write x: str"),
    "no annotation of a vector": (lambda: declare({"x": VectorField(dim=2)}, {}), "Bad.x: no annotation", "write x: Vector"),
    "reserved": (lambda: declare({}, {"connector_x": int}), "Bad.connector_x: ", "another name"),
    "odd name": (lambda: declare({}, {"grüße": int}), "Bad.grüße: not a Milvus field name", "letters"),
    "default of another type": (lambda: declare({"x": "a"}, {"x": int}), "Bad.x: the default does not fit: str 'a'", "correct"),
    "default too long": (lambda: scalar(str, max_length=2, default="abc"), "Bad.x: the default does not fit: 3 bytes", "correct"),
    "default None": (lambda: declare({"x": None}, {"x": int}), "Bad.x: the default is None", "int | None"),
    "index of another type": (lambda: scalar(float, index=TRIE()), "Bad.x: index Trie does not fit DOUBLE", "VARCHAR"),
    "index over json": (lambda: scalar(dict[str, Any], index=INVERTED()), "Bad.x: index INVERTED does not fit JSON", "ARRAY"),
    "vector without declaration": (lambda: declare({}, {"y": Vector}), "Bad.y: a Vector needs its declaration", "VectorField("),
    "vector annotated otherwise": (
        lambda: declare({"x": VectorField(dim=2)}, {"x": str}),
        "Bad.x: declared with VectorField(), annotated as str",
        "x: Vector",
    ),
    "vector or text": (lambda: declare({}, {"vector": Vector | str}), "Bad.vector: declared with VectorField()", "vector: Vector"),
    "nullable vector without declaration": (lambda: declare({}, {"y": Vector | None}), "Bad.y: a Vector needs its", "VectorField("),
    "dtype": (lambda: vector(dtype="float64"), "Bad.vector: unknown dtype `float64`", "float32"),
    "metric": (lambda: vector(metric="HAMMING"), "Bad.vector: metric HAMMING does not fit float32", "COSINE"),
    "index": (lambda: vector(index=SPARSE_INVERTED_INDEX()), "Bad.vector: index SPARSE_INVERTED_INDEX does not fit float32", "sparse"),
    "index of sparse": (lambda: vector(dtype="sparse", dim=None, index=DISKANN()), "Bad.vector: index DISKANN does not fit", "float32"),
    "dim missing": (lambda: vector(dim=None), "Bad.vector: dim is None", "dim="),
    "dim of sparse": (lambda: vector(dtype="sparse"), "Bad.vector: dim is 8", "sparse"),
    "dim 0": (lambda: vector(dim=0), "Bad.vector: dim 0", "dim"),
    "dim over": (lambda: vector(dim=32_769), "Bad.vector: dim 32769", "dim"),
    "dim of binary": (lambda: vector(dtype="binary", dim=12), "Bad.vector: a binary dim must be a multiple of 8", "dim"),
    "m of IVF_PQ": (lambda: vector(index=IVF_PQ(m=3)), "Bad.vector: IVF_PQ m=3 does not divide dim 8", "divides"),
    "encoder without kind": (lambda: vector(encoder="clip"), "Bad.vector: encoder `clip` names no kind", "kind:model"),
    "neither encoder nor source": (lambda: vector(source=None), "Bad.vector: neither an encoder nor a source", "encoder="),
    "dim of another type": (lambda: vector(dim="many"), "Bad.vector: `dim`: Input should be a valid integer", "declaration"),
    "collection name": (lambda: declare({}, {}, name="a-b"), "Bad: `a-b` cannot name a collection", "letters"),
    "generation name": (lambda: declare({}, {}, name="a__g1"), "Bad: `a__g1` cannot name a collection", "__g"),
    "long name": (lambda: declare({}, {}, name="a" * 241), "cannot name a collection", "240"),
    "consistency": (lambda: declare({}, {}, consistency="strong"), "Bad: `consistency`: Input should be 'Strong'", "declaration"),
    "shards": (lambda: declare({}, {}, shards=0), "Bad: shards is 0", "1 or more"),
    "partitions": (lambda: declare({}, {}, partitions=4), "Bad: partitions are given", "partition_key=True"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_declarations(wrong: str) -> None:
    """Every mistake is told when the file is imported: file, class and field, what is wrong, and what to write instead."""
    make, message, hint = WRONG[wrong]
    with pytest.raises(SchemaError) as caught:
        make()
    assert caught.value.message.startswith(f"{__file__}: Bad")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("given", [Tracked, Collection, Plain, str, "products", None, 5])
def test_spec_of_refuses_what_is_no_collection(given: Any) -> None:
    """A mixin has no specification, and neither has anything else."""
    with pytest.raises(SchemaError, match="is no collection"):
        spec_of(given)


def test_spec_of_takes_a_specification() -> None:
    """What is already a specification is itself."""
    spec = spec_of(Products)
    assert spec_of(spec) is spec

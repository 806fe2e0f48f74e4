"""Index declarations: one frozen class each, with its build parameters checked when the schema is imported.

Ranges are those of the Milvus documentation ("In-memory Index", "Scalar Index"); parameters are always sent, since older
servers refuse an index whose parameters are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connector.errors import SchemaError, explain, nearest

VectorKind: TypeAlias = Literal["float32", "float16", "bfloat16", "int8", "binary", "sparse"]
DENSE: frozenset[VectorKind] = frozenset({"float32", "float16", "bfloat16", "int8"})

METRICS: dict[VectorKind, tuple[str, ...]] = {
    **dict.fromkeys(sorted(DENSE), ("COSINE", "L2", "IP")),
    "binary": ("HAMMING", "JACCARD"),
    "sparse": ("IP", "BM25"),
}
"""Metric types by vector type; the first is the default."""

Nlist: TypeAlias = Annotated[int, Field(ge=1, le=65536)]


class _Index(BaseModel):
    """What all indexes share: the Milvus name is the class name, the parameters are the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: ClassVar[frozenset[str]] = frozenset()
    """Vector types that it can index; empty for a scalar index."""

    if not TYPE_CHECKING:  # type checkers know the parameters from the fields

        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
            except ValidationError as error:
                names = [field.alias or name for name, field in type(self).model_fields.items()]
                hint = nearest(str(error.errors()[0]["loc"][-1]), names)
                raise SchemaError(f"index {type(self).__name__}: {explain(error)}", hint=hint) from None

    @property
    def type(self) -> str:
        """The index type as Milvus names it."""
        return self.__class__.__name__

    @property
    def params(self) -> dict[str, Any]:
        """Build parameters as Milvus names them."""
        return self.model_dump(by_alias=True, exclude_none=True)


class VectorIndex(_Index):
    """An index over a vector field."""

    kinds: ClassVar[frozenset[str]] = DENSE


class FLAT(VectorIndex):
    """Exact search."""


class IVF_FLAT(VectorIndex):  # noqa: N801 - Milvus's own name
    """Inverted lists of whole vectors."""

    nlist: Nlist = 128


class IVF_SQ8(VectorIndex):  # noqa: N801 - Milvus's own name
    """Inverted lists of vectors quantised to 8 bits a number."""

    nlist: Nlist = 128


class IVF_PQ(VectorIndex):  # noqa: N801 - Milvus's own name
    """Inverted lists of product-quantised vectors; `m` must divide the dimension."""

    nlist: Nlist = 128
    m: Annotated[int, Field(ge=1, le=65536)]
    nbits: Annotated[int, Field(ge=1, le=24)] = 8


class HNSW(VectorIndex):
    """Hierarchical navigable small-world graph (Malkov and Yashunin, 2018)."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    M: Annotated[int, Field(ge=2, le=2048)] = 16
    ef_construction: Annotated[int, Field(ge=1, le=2147483647, alias="efConstruction")] = 200


class DISKANN(VectorIndex):
    """Graph on disk."""


class SCANN(VectorIndex):
    """Inverted lists with 4-bit product quantisation and re-ranking."""

    nlist: Nlist = 128
    with_raw_data: bool = True


class AUTOINDEX(VectorIndex):
    """Whatever the server thinks best."""

    kinds: ClassVar[frozenset[str]] = DENSE | {"binary", "sparse"}


class BIN_FLAT(VectorIndex):  # noqa: N801 - Milvus's own name
    """Exact search over binary vectors."""

    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})


class BIN_IVF_FLAT(VectorIndex):  # noqa: N801 - Milvus's own name
    """Inverted lists of binary vectors."""

    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    nlist: Nlist = 128


class SPARSE_INVERTED_INDEX(VectorIndex):  # noqa: N801 - Milvus's own name
    """Inverted lists by dimension for sparse vectors."""

    kinds: ClassVar[frozenset[str]] = frozenset({"sparse"})
    drop_ratio_build: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    bm25_k1: Annotated[float, Field(gt=0.0, le=3.0)] | None = None
    bm25_b: Annotated[float, Field(ge=0.0, le=1.0)] | None = None


class _Named(_Index):
    """An index by its Milvus name, with the parameters that it is given; the server checks both."""

    name: str
    parameters: dict[str, Any] = {}

    @property
    def type(self) -> str:
        """As given."""
        return self.name

    @property
    def params(self) -> dict[str, Any]:
        """As given."""
        return self.parameters


class OTHER(_Named, VectorIndex):
    """A vector index that has no class here, such as `OTHER(name="HNSW_SQ", parameters={"M": 16, "sq_type": "SQ8"})`."""

    kinds: ClassVar[frozenset[str]] = DENSE | {"binary", "sparse"}


class UNINDEXED(VectorIndex):
    """No index at all: how a collection may be found that somebody else made. It cannot be searched."""

    kinds: ClassVar[frozenset[str]] = DENSE | {"binary", "sparse"}

    @property
    def type(self) -> str:
        """None."""
        return ""


class ScalarIndex(_Index):
    """An index over a scalar field, for filters."""

    scalars: ClassVar[frozenset[str]] = frozenset()
    """Scalar types that it can index."""


_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64"})


class INVERTED(ScalarIndex):
    """Term to rows."""

    scalars: ClassVar[frozenset[str]] = _INTEGERS | {"BOOL", "FLOAT", "DOUBLE", "VARCHAR", "ARRAY"}


class TRIE(ScalarIndex):
    """Prefix tree over strings."""

    scalars: ClassVar[frozenset[str]] = frozenset({"VARCHAR"})

    @property
    def type(self) -> str:
        """Milvus spells it "Trie"."""
        return "Trie"


class STL_SORT(ScalarIndex):  # noqa: N801 - Milvus's own name
    """Sorted array of numbers."""

    scalars: ClassVar[frozenset[str]] = _INTEGERS | {"FLOAT", "DOUBLE"}


class BITMAP(ScalarIndex):
    """One bitmap a distinct value; for fields with few of them."""

    scalars: ClassVar[frozenset[str]] = _INTEGERS | {"BOOL", "VARCHAR", "ARRAY"}


class OTHER_SCALAR(_Named, ScalarIndex):  # noqa: N801 - as the others
    """A scalar index that has no class here."""

    scalars: ClassVar[frozenset[str]] = _INTEGERS | {"BOOL", "FLOAT", "DOUBLE", "VARCHAR", "JSON", "ARRAY", "TIMESTAMPTZ", "GEOMETRY"}


def default_index(kind: VectorKind) -> VectorIndex:
    """The index of a vector field that declares none."""
    if kind == "binary":
        return BIN_FLAT()
    return SPARSE_INVERTED_INDEX() if kind == "sparse" else AUTOINDEX()

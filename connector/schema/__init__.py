"""Collections as code: declare a class, get a frozen specification.

    from connector.schema import HNSW, Collection, Field, Vector, VectorField

    class Notes(Collection):
        id: str = Field(primary_key=True, generated=True)
        text: str = Field(max_length=4000)
        vector: Vector = VectorField(dim=384, encoder="transformers:sentence-transformers/all-MiniLM-L6-v2")

`declare.py` reads the class, `spec.py` says what comes of it, `values.py` what fits a field.
"""

from connector.schema.declare import (
    BM25,
    Collection,
    Field,
    Float32,
    Geometry,
    Int8,
    Int16,
    Int32,
    Timestamp,
    Vector,
    VectorField,
    spec_of,
)
from connector.schema.indexes import (
    AUTOINDEX,
    BIN_FLAT,
    BIN_IVF_FLAT,
    BITMAP,
    DISKANN,
    FLAT,
    HNSW,
    INVERTED,
    IVF_FLAT,
    IVF_PQ,
    IVF_SQ8,
    OTHER,
    OTHER_SCALAR,
    SCANN,
    SPARSE_INVERTED_INDEX,
    STL_SORT,
    TRIE,
    UNINDEXED,
)
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec

__all__ = [
    "AUTOINDEX",
    "BIN_FLAT",
    "BIN_IVF_FLAT",
    "BITMAP",
    "BM25",
    "DISKANN",
    "FLAT",
    "HNSW",
    "INVERTED",
    "IVF_FLAT",
    "IVF_PQ",
    "IVF_SQ8",
    "OTHER",
    "OTHER_SCALAR",
    "SCANN",
    "SPARSE_INVERTED_INDEX",
    "STL_SORT",
    "TRIE",
    "UNINDEXED",
    "Collection",
    "CollectionSpec",
    "Field",
    "FieldSpec",
    "Float32",
    "Geometry",
    "Int8",
    "Int16",
    "Int32",
    "Timestamp",
    "Vector",
    "VectorField",
    "VectorFieldSpec",
    "spec_of",
]

"""Says whether a server can hold a collection, before anything is created there.

Asking the server by trying is not possible: Milvus 2.3.5 creates a collection with a field type that it does not know and then dies
when it loads it, for good; nullable is dropped in silence; Milvus Lite takes any index name. So what each version can do is a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connector.errors import SchemaError
from connector.milvus.client import Server
from connector.plan.generations import ADD_FIELD, WIDEN
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec

Version = tuple[int, int, int]

OLDEST: Version = (2, 3, 0)
"""Older servers have no usable upsert."""

_ALWAYS = OLDEST
_MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class Support:
    """Who can hold something.

    Attributes:
        lite: Whether Milvus Lite can.
        since: The first server that can.
        words: What it is, in a message.
    """

    lite: bool
    since: Version
    words: str


FEATURES: dict[str, Support] = {
    "float32": Support(True, _ALWAYS, "float32 vectors"),
    "float16": Support(False, (2, 4, 0), "float16 vectors"),  # 2.3.5 stores them, but its COSINE distances are infinite
    "bfloat16": Support(False, (2, 4, 0), "bfloat16 vectors"),
    "int8": Support(False, (2, 6, 0), "int8 vectors"),
    "binary": Support(False, _ALWAYS, "binary vectors"),
    "sparse": Support(True, (2, 4, 0), "sparse vectors"),
    "BM25": Support(True, (2, 5, 0), "BM25 vectors"),
    "analyzer": Support(False, (2, 5, 0), "such an analyzer of texts"),  # it takes some and ignores parts of them
    "nullable vector": Support(False, (3, 0, 0), "nullable vectors"),  # late 2.6 has them too; no release note says since when
    "several vectors": Support(True, (2, 4, 0), "a second vector field"),
    "nullable": Support(True, (2, 5, 0), "nullable fields"),
    "default": Support(True, _ALWAYS, "default values"),
    "partition key": Support(True, _ALWAYS, "partition keys"),
    "dynamic": Support(True, _ALWAYS, "dynamic fields"),
    "ARRAY": Support(True, (2, 3, 2), "ARRAY fields"),
    "JSON": Support(True, _ALWAYS, "JSON fields"),
    "TIMESTAMPTZ": Support(True, (2, 6, 6), "TIMESTAMPTZ fields"),
    "GEOMETRY": Support(True, (2, 6, 4), "GEOMETRY fields"),
    "index Trie": Support(False, _ALWAYS, "Trie indexes"),
    "index STL_SORT": Support(False, _ALWAYS, "STL_SORT indexes"),
    "index INVERTED": Support(True, (2, 4, 0), "INVERTED indexes"),
    "index INVERTED on ARRAY": Support(False, (2, 5, 0), "INVERTED indexes on ARRAY"),
    "index BITMAP": Support(False, (2, 5, 0), "BITMAP indexes"),
    "index AUTOINDEX on sparse": Support(False, (2, 4, 0), "AUTOINDEX on sparse vectors"),
}
"""What is not everywhere; the rest is. Measured on Milvus Lite 3.2 and Milvus 2.3.5; newer versions by their release notes."""

_BUILT: dict[str, tuple[bool, Version]] = {
    **dict.fromkeys(("FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "AUTOINDEX"), (True, _ALWAYS)),
    **dict.fromkeys(("IVF_PQ", "SCANN", "DISKANN", "BIN_FLAT", "BIN_IVF_FLAT"), (False, _ALWAYS)),
    "SPARSE_INVERTED_INDEX": (True, (2, 4, 0)),
}
"""Indexes of vectors: whether Milvus Lite builds them, and the first server that does. Lite takes other names, and searches without."""

_INSTEAD = {
    "index INVERTED": "older servers index strings with TRIE() and numbers with STL_SORT()",
    "index Trie": "Milvus Lite has INVERTED()",
    "index STL_SORT": "Milvus Lite has INVERTED()",
    "index BITMAP": "INVERTED() is there since Milvus 2.4 and in Milvus Lite",
    "index AUTOINDEX on sparse": "write index=SPARSE_INVERTED_INDEX()",
    "several vectors": "one collection for each vector field, or a newer server",
    "nullable": "give the field a default instead of `| None`, or use a newer server",
    "nullable vector": "write `Vector` without `| None`: rows without one are then rejected; or use a newer server",
    "BM25": 'VectorField(dtype="sparse", encoder="splade:...") is there since Milvus 2.4',
    "analyzer": 'Milvus Lite cuts by {"tokenizer": "standard"} or "jieba", with a filter of stop words',
    "float16": 'use dtype="float32", or a server',
}


_ALTERS: dict[str, Version] = {ADD_FIELD: (2, 6, 0), WIDEN: (2, 5, 0)}
"""What can be altered in place, by the first server that can; indexes and properties all can, Milvus Lite no more than these."""


def alterable(server: Server) -> frozenset[str]:
    """What a server can alter in place, in the words of `generations.py`."""
    return frozenset(name for name, since in _ALTERS.items() if not server.lite and server.version >= since)


def routes(server: Server) -> bool:
    """Whether rows can be found by a partition key again.

    Before 2.4 an upsert takes the primary key for it (milvus #30607, mended in late 2.3): rows land in some partition, a filter looks in
    another one and finds nothing. There the field is a plain column, which costs speed alone.
    """
    return server.lite or server.version >= (2, 4, 0)


def groups(server: Server) -> bool:
    """Whether a search can give only the nearest row for each value of a field; older servers read over the wish."""
    return server.lite or server.version >= (2, 4, 0)


def built(field: VectorFieldSpec, server: Server) -> frozenset[str]:
    """The indexes that a server really builds for such a field; a server may still have one switched off."""
    known = {name for name, (lite, since) in _BUILT.items() if (lite if server.lite else server.version >= since)}
    missing = FEATURES["index AUTOINDEX on sparse"]
    if field.dtype == "sparse" and not (missing.lite if server.lite else server.version >= missing.since):
        known.discard("AUTOINDEX")
    return frozenset(known)


def check(spec: CollectionSpec, server: Server) -> None:
    """Returns if `server` can hold `spec`.

    Raises:
        SchemaError: Names the field, the feature, the server, and the version that has it.
    """
    where = spec.where or spec.name
    if not server.lite and server.version < OLDEST:
        raise SchemaError(f"{where}: {server.text} is too old", hint=f"connector needs Milvus {_dotted(OLDEST)} or Milvus Lite")
    if not spec.vectors:
        raise SchemaError(f"{where}: no vector field", hint="declare one: vector: Vector = VectorField(dim=..., encoder=...)")
    if len(spec.fields) + len(spec.vectors) > _MAX_FIELDS:
        raise SchemaError(f"{where}: more than {_MAX_FIELDS} fields with the three of lineage", hint="put some into one `dict` field")
    for field, feature in needs(spec):
        support = FEATURES[feature]
        if support.lite if server.lite else server.version >= support.since:
            continue
        place = f"{where}.{field}" if field else where
        newer = f"Milvus {_dotted(support.since)} and newer do"
        hint = _INSTEAD.get(feature, "use a newer server")
        raise SchemaError(f"{place}: {server.text} does not have {support.words}; {newer}", hint=hint)


def needs(spec: CollectionSpec) -> Iterator[tuple[str, str]]:
    """Yields (field, or "" for the collection; feature of `FEATURES`) for everything that not every server has."""
    if spec.dynamic:
        yield "", "dynamic"
    for vector in spec.vectors[1:]:
        yield vector.name, "several vectors"
    for vector in spec.vectors:
        yield from ((vector.name, feature) for feature in _vector(vector))
    for field in spec.fields:
        yield from ((field.name, feature) for feature in _scalar(field))


def _vector(vector: VectorFieldSpec) -> Iterator[str]:
    yield vector.dtype
    if vector.computed:
        yield "BM25"
        if not _known_to_lite(vector.analyzer or {}):
            yield "analyzer"
    if vector.nullable:
        yield "nullable vector"
    if vector.dtype == "sparse" and vector.index.type == "AUTOINDEX":
        yield "index AUTOINDEX on sparse"


def _known_to_lite(analyzer: Mapping[str, Any]) -> bool:
    """Whether Milvus Lite does all that an analyzer says: it knows two tokenizers and stop words, and reads over the rest."""
    if not {"tokenizer", "filter"} >= set(analyzer):
        return analyzer == {"type": "standard"}
    stops = all(
        isinstance(one, dict) and set(one) == {"type", "stop_words"} and one["type"] == "stop" for one in analyzer.get("filter", ())
    )
    return stops and analyzer.get("tokenizer", "standard") in ("standard", "jieba")


def _scalar(field: FieldSpec) -> Iterator[str]:
    if field.type in FEATURES:
        yield field.type
    if field.nullable:
        yield "nullable"
    if field.default is not None:
        yield "default"
    if field.partition_key:
        yield "partition key"
    if field.index is not None and f"index {field.index.type}" in FEATURES:
        yield f"index {field.index.type}"
        if field.type == "ARRAY":
            yield "index INVERTED on ARRAY"


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))

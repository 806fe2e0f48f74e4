"""Says which indexes are tried on a field, and with which search parameters: the declared one first, then all that the server builds.

Build parameters are those that the documentation of Milvus begins with; the lists of an IVF index grow with the square root of the rows, as
faiss advises (4 * sqrt(n)). Each index is first searched without any parameter, as `connector search` does it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from connector.schema.indexes import (
    AUTOINDEX,
    BIN_FLAT,
    BIN_IVF_FLAT,
    DISKANN,
    FLAT,
    HNSW,
    IVF_FLAT,
    IVF_PQ,
    IVF_SQ8,
    SCANN,
    SPARSE_INVERTED_INDEX,
    VectorIndex,
)
from connector.schema.spec import VectorFieldSpec

Params: TypeAlias = Mapping[str, int | float]
"""Search parameters, as Milvus names them."""

_MAX_NLIST = 65_536
_PROBES = (1, 4, 16, 64, 256, 1024)
_SEARCHES: dict[str, tuple[Params, ...]] = {
    "HNSW": tuple({"ef": ef} for ef in (16, 32, 64, 128, 256)),
    "DISKANN": tuple({"search_list": size} for size in (16, 32, 64, 128)),
    "SPARSE_INVERTED_INDEX": tuple({"drop_ratio_search": share} for share in (0.2, 0.4, 0.6)),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """An index to be tried.

    Attributes:
        index: With its build parameters.
        searches: With which search parameters; {} is without any.
        declared: Whether this is what the schema says.
    """

    index: VectorIndex
    searches: tuple[Params, ...]
    declared: bool = False


def choices(field: VectorFieldSpec, rows: int, built: Container[str]) -> list[Choice]:
    """What is tried on a field, the declared index first.

    Args:
        field: The field; its index is the declared one.
        rows: How many rows it will hold.
        built: Names of the indexes that the server builds for such a field; others are left out.
    """
    others = [one for one in _alternatives(field, rows) if one != field.index]
    return [Choice(one, searches(one), one is field.index) for one in (field.index, *others) if one.type in built]


def searches(index: VectorIndex) -> tuple[Params, ...]:
    """With which parameters an index is searched."""
    nlist = getattr(index, "nlist", None)
    probes = tuple({"nprobe": count} for count in _PROBES if nlist is not None and count <= nlist)
    return ({}, *_SEARCHES.get(index.type, ()), *probes)


def label(index: VectorIndex) -> str:
    """An index as a schema writes it: "HNSW(M=16, ef_construction=200)"."""
    return f"{type(index).__name__}({words(index.model_dump(exclude_none=True))})"


def words(params: Mapping[str, Any]) -> str:
    """Parameters as they are written: "ef=64"."""
    return ", ".join(f"{name}={value}" for name, value in params.items())


def _alternatives(field: VectorFieldSpec, rows: int) -> Iterator[VectorIndex]:
    """All that there are for such vectors, whatever the server can."""
    nlist = 1 << round(math.log2(min(_MAX_NLIST, max(1.0, 4 * math.sqrt(rows)))))
    dim = field.dim or 0
    every = (
        FLAT(),
        HNSW(),
        HNSW(M=32),
        IVF_FLAT(nlist=nlist),
        IVF_SQ8(nlist=nlist),
        *((IVF_PQ(nlist=nlist, m=dim // 8),) if dim and dim % 8 == 0 else ()),
        SCANN(nlist=nlist),
        DISKANN(),
        BIN_FLAT(),
        BIN_IVF_FLAT(nlist=nlist),
        SPARSE_INVERTED_INDEX(),
        AUTOINDEX(),
    )
    return (one for one in every if field.dtype in one.kinds)

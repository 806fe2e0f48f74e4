"""What an index takes in memory, by formula, where the server does not say; vectors that search needs beside it are counted.

n rows of d numbers, b bytes a vector; what faiss, hnswlib and DiskANN keep, without what their allocators add:

    FLAT, BIN_FLAT           n b
    IVF_FLAT, BIN_IVF_FLAT   n b + nlist 4d
    IVF_SQ8                  n d + nlist 4d
    IVF_PQ                   n m nbits / 8 + nlist 4d + 2^nbits 4d
    HNSW                     n (b + 4 (2M + M / (M - 1)) + 8)     2M links at the bottom, M on each layer above, one label
    SCANN                    n (d / 4 + b) + nlist 4d             4 bits for two numbers, and the vector where with_raw_data
    DISKANN                  n (b + 4 * 56)                       on disk; 56 links
    SPARSE_INVERTED_INDEX    8 bytes a weight
"""

from __future__ import annotations

from typing import Any

from connector.schema.indexes import VectorIndex
from connector.schema.spec import VectorFieldSpec

_LINKS = 56


def estimate(index: VectorIndex, field: VectorFieldSpec, rows: int, weights: int) -> int | None:
    """Bytes; None where nobody knows what the server builds (AUTOINDEX).

    Args:
        index: With its build parameters.
        field: What it indexes.
        rows: How many.
        weights: Of all sparse vectors together.
    """
    made: dict[str, Any] = index.model_dump()
    size, dim = field.row_bytes, field.dim or 0
    lists = made.get("nlist", 0) * 4 * dim
    links = made.get("M", 2)
    known = {
        "FLAT": rows * size,
        "BIN_FLAT": rows * size,
        "IVF_FLAT": rows * size + lists,
        "BIN_IVF_FLAT": rows * size + lists,
        "IVF_SQ8": rows * dim + lists,
        "IVF_PQ": rows * made.get("m", 0) * made.get("nbits", 0) // 8 + lists + (1 << made.get("nbits", 0)) * 4 * dim,
        "HNSW": round(rows * (size + 4 * (2 * links + links / (links - 1)) + 8)),
        "SCANN": rows * (dim // 4 + (size if made.get("with_raw_data") else 0)) + lists,
        "DISKANN": rows * (size + 4 * _LINKS),
        "SPARSE_INVERTED_INDEX": 8 * weights,
    }
    return known.get(index.type)

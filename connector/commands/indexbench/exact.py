"""Finds the true neighbours among a sample by computing every distance, and tells how many of them an answer holds.

Rows that are equally near are equally good: a row counts if it is no farther than the k-th nearest one, whichever of several equal rows
the index took (Aumüller, Bernhardsson and Faithfull, "ANN-Benchmarks", 2018). Distances are computed in float64 from the stored
numbers, so only what a server's float32 cannot tell apart is forgiven.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from connector.milvus.recall import K, nearness
from connector.schema.spec import VectorFieldSpec

Numbers: TypeAlias = npt.NDArray[np.float64]
Vectors: TypeAlias = Sequence[Any] | npt.NDArray[Any]

_BLOCK = 4_096
_TIE = 1e-6


class Truth:
    """Exact search over a sample.

    Args:
        field: What the vectors are.
        rows: The stored vectors, as they are read: an (n, ...) array, or n maps where the field is sparse.
        asked: The queries, likewise.
    """

    def __init__(self, field: VectorFieldSpec, rows: Vectors, asked: Vectors) -> None:
        self._space: _Dense | _Sparse = _Sparse(rows, asked) if field.dim is None else _Dense(field, rows, asked)
        self._last = list(self._space.last())

    def recall(self, query: int, found: Sequence[int]) -> float | None:
        """Which share of a query's true neighbours an answer holds; None: the query has none.

        Args:
            query: Its place among the queries.
            found: Places of the rows that were found; one that is there twice counts once.
        """
        wanted, last = self._last[query]
        if not wanted:
            return None
        places = sorted(set(found))
        good = int((self._space.near(query, places) >= last - self._space.tie(query, last)).sum()) if places else 0
        return min(good, wanted) / wanted


class _Dense:
    """Vectors of numbers, or of bits as zeros and ones."""

    def __init__(self, field: VectorFieldSpec, rows: Vectors, asked: Vectors) -> None:
        self._field, self._rows, self._asked = field, rows, _numbers(field, asked)

    def last(self) -> Iterator[tuple[int, float]]:
        """By query: how many neighbours it has, and how near the last of them is."""
        wanted = min(K, len(self._rows))
        best = np.full((len(self._asked), wanted), -np.inf)
        for start in range(0, len(self._rows), _BLOCK):
            block = nearness(self._asked, _numbers(self._field, self._rows[start : start + _BLOCK]), self._field.metric)
            best = -np.partition(-np.hstack([best, block]), wanted - 1, axis=1)[:, :wanted]
        return ((wanted, float(one)) for one in best.min(axis=1))

    def near(self, query: int, places: Sequence[int]) -> Numbers:
        rows = _numbers(self._field, [self._rows[place] for place in places])
        found: Numbers = nearness(self._asked[query : query + 1], rows, self._field.metric)[0]
        return found

    def tie(self, query: int, last: float) -> float:
        """How far apart two rows may be that float32 takes for equally near."""
        size = float(self._asked[query] @ self._asked[query])
        scale = {"COSINE": 1.0, "IP": max(size, abs(last)), "L2": abs(last) + 1e-6 * size}
        return _TIE * scale.get(self._field.metric, 0.0)


class _Sparse:
    """Maps of index to weight, compared by inner product; a row that shares no index with a query is none of its neighbours."""

    def __init__(self, rows: Vectors, asked: Vectors) -> None:
        self._rows, self._asked = rows, asked
        postings: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
        for place, row in enumerate(rows):
            for index, weight in row.items():
                postings[int(index)].append((place, weight))
        self._postings = {index: (np.array([p for p, _ in some]), np.array([w for _, w in some])) for index, some in postings.items()}

    def last(self) -> Iterator[tuple[int, float]]:
        for query in self._asked:
            scores = np.zeros(len(self._rows))
            for index, weight in query.items():
                if int(index) in self._postings:
                    places, weights = self._postings[int(index)]
                    scores[places] += weight * weights
            wanted = min(K, int((scores > 0).sum()))
            yield wanted, float(-np.partition(-scores, wanted - 1)[wanted - 1]) if wanted else 0.0

    def near(self, query: int, places: Sequence[int]) -> Numbers:
        asked = self._asked[query]
        return np.array([sum(asked.get(index, 0.0) * weight for index, weight in self._rows[place].items()) for place in places])

    def tie(self, query: int, last: float) -> float:
        return _TIE * abs(last) * (query >= 0)


def _numbers(field: VectorFieldSpec, vectors: Vectors) -> Numbers:
    """Stored vectors as float64: bfloat16 from its bits, bits as zeros and ones."""
    array = np.asarray(vectors)
    if field.dtype == "bfloat16" and array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if field.dtype == "binary":
        array = np.unpackbits(array.astype(np.uint8), axis=1)
    return array.astype(np.float64)

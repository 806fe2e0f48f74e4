"""Measures how much of the truth an index finds: searched neighbours against the exact ones, computed here.

The exact neighbours are sought among the whole collection, or among a random sample of it: a row of the sample that is nearer to the query
than the farthest row found, and was not found, is a miss, and stands for as many as the sample is smaller than the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.milvus.client import Connection
from connector.milvus.search import Hit, search
from connector.record import Key
from connector.schema.spec import CollectionSpec, VectorFieldSpec

K = 10
"""Neighbours of a query."""

QUERIES = 64
"""Rows of the sample that are searched for."""

_TOLERANCE = 1e-4  # a server computes in float32, in another order


def measurable(field: VectorFieldSpec) -> bool:
    """Whether exact distances of such vectors can be computed here."""
    return field.dtype in {"float32", "float16"} and field.metric in {"COSINE", "IP", "L2"}


def recall(
    connection: Connection, collection: str, spec: CollectionSpec, field: VectorFieldSpec, sample: Mapping[Key, Any], *, rows: int
) -> float:
    """Recall@10 of a vector field's index, estimated.

    Args:
        connection: Open.
        collection: Physical name.
        spec: What it holds.
        field: Of it, one that is `measurable`.
        sample: Stored vectors by primary key: all rows, or some at random.
        rows: How many there are in the collection.
    """
    keys = list(sample)
    stored = np.stack([np.asarray(sample[key], dtype=np.float32) for key in keys])
    asked = stored[:QUERIES]
    found = search(connection, collection, spec, list(asked), field=field.name, limit=min(K, rows))
    near = nearness(asked, stored, field.metric)
    missed = [_missed(one, keys, hits, field.metric, min(K, rows)) for one, hits in zip(near, found, strict=True)]
    return max(0.0, 1.0 - float(np.mean(missed)) * rows / len(keys) / min(K, rows))


def nearness(asked: npt.NDArray[Any], stored: npt.NDArray[Any], metric: str) -> npt.NDArray[Any]:
    """(queries, rows), larger is nearer: the cosine, the inner product, or minus the squared distance, as Milvus defines them.

    Vectors of zeros and ones have minus the Hamming distance (which is their squared distance) or minus the Jaccard distance.
    """
    if metric == "COSINE":
        asked, stored = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-30) for one in (asked, stored))
    products: npt.NDArray[Any] = asked @ stored.T
    if metric in {"COSINE", "IP"}:
        return products
    both: npt.NDArray[Any] = (asked**2).sum(axis=1)[:, None] + (stored**2).sum(axis=1)[None, :]
    if metric == "JACCARD":
        union = both - products
        return np.where(union > 0, products / np.maximum(union, 1), 1.0) - 1.0
    distances: npt.NDArray[Any] = both - 2 * products
    return -distances


def _missed(near: npt.NDArray[Any], keys: list[Key], hits: list[Hit], metric: str, wanted: int) -> int:
    """How many of the sample's nearest rows should have been among the hits and are not."""
    if not hits:
        return wanted
    ids = {hit.id for hit in hits}
    worst = min(-hit.distance if metric == "L2" else hit.distance for hit in hits)
    best = np.argpartition(-near, min(wanted, len(keys)) - 1)[:wanted]
    missed = sum(near[place] > worst + _TOLERANCE * max(1.0, abs(worst)) and keys[place] not in ids for place in best)
    return max(int(missed), wanted - len(hits))

"""Makes one answer of those of several vector fields, by ranks or by weighted scores: the same on every server, as newer ones do it.

Reciprocal rank fusion (Cormack, Clarke, Buettcher: SIGIR 2009) adds 1 / (60 + rank) over the fields, so scores need not be comparable.
A weighted sum needs such scores: each is brought into 0 to 1 by its metric, as Milvus 2.6 does it for its own weighted ranker.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from connector.record import Key
from connector.schema.spec import VectorFieldSpec

if TYPE_CHECKING:
    from connector.milvus.search import Hit

K = 60
"""The constant of reciprocal rank fusion."""

DEPTH = 100
"""Hits of each field that take part, at least: a row that is tenth in both fields is worth more than the first one of either."""


def fuse(answers: Sequence[tuple[VectorFieldSpec, Sequence[Hit]]], weights: Sequence[float] | None = None) -> list[Hit]:
    """The rows of all answers, best first, with the fused score; of equal scores the smaller key comes first.

    Args:
        answers: Hits by field, nearest first.
        weights: One a field; None: reciprocal rank fusion.
    """
    parts: defaultdict[Key, list[float]] = defaultdict(list)
    hits: dict[Key, Hit] = {}
    for place, (field, found) in enumerate(answers):
        for rank, hit in enumerate(found, start=1):
            part = 1 / (K + rank) if weights is None else weights[place] * nearness(field.metric, hit.distance)
            parts[hit.id].append(part)
            before = hits.get(hit.id, hit)
            hits[hit.id] = replace(before, by_field={**before.by_field, field.name: hit.distance})
    scores = {key: float(np.float32(math.fsum(some))) for key, some in parts.items()}  # as servers give it: sums in another order tie
    return [replace(hits[key], distance=scores[key]) for key in sorted(scores, key=lambda key: (-scores[key], key))]


def nearness(metric: str, distance: float) -> float:
    """A score or distance of a metric as a number from 0 to 1, larger for nearer."""
    if metric == "COSINE":
        return (1 + distance) / 2
    if metric == "IP":
        return 0.5 + math.atan(distance) / math.pi
    if metric == "BM25":
        return 2 * math.atan(distance) / math.pi
    return 1 - 2 * math.atan(distance) / math.pi

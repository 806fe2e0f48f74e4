"""The arithmetic of making one answer of several."""

from __future__ import annotations

import math

import pytest

from connector.commands.retrieval.fusing import fuse, nearness
from connector.milvus.search import Hit
from connector.schema import Collection, Field, Vector, VectorField, spec_of


class Things(Collection):
    """Two fields of opposite metrics."""

    id: str = Field(primary_key=True, generated=True)
    near: Vector = VectorField(dim=2, source="v", metric="COSINE")
    far: Vector = VectorField(dim=2, source="v", metric="L2")


NEAR, FAR = spec_of(Things).vectors


def hits(**distances: float) -> list[Hit]:
    """Hits in this order."""
    return [Hit(key, distance, {"key": key}) for key, distance in distances.items()]


def test_ranks_are_fused_by_their_reciprocals() -> None:
    """1 / (60 + rank), summed over the fields; the better of two equal sums is the smaller key; each field's own score is kept."""
    found = fuse([(NEAR, hits(b=0.9, a=0.8, c=0.1)), (FAR, hits(a=0.0, b=2.0, d=9.0))])
    assert [hit.id for hit in found] == ["a", "b", "c", "d"]
    assert [hit.distance for hit in found] == pytest.approx([1 / 61 + 1 / 62, 1 / 61 + 1 / 62, 1 / 63, 1 / 63])
    assert (found[0].by_field, found[2].by_field) == ({"near": 0.8, "far": 0.0}, {"near": 0.1})
    assert found[3].fields == {"key": "d"}
    assert fuse([(NEAR, []), (FAR, [])]) == []


def test_sums_that_differ_by_their_order_only_are_equal() -> None:
    """Three fields that give the ranks 1, 2, 3 to one row and 3, 1, 2 to another make both equally good."""
    lists = [hits(x=1.0, z=1.0, y=1.0), hits(y=1.0, x=1.0, z=1.0), hits(z=1.0, y=1.0, x=1.0)]
    found = fuse([(NEAR, one) for one in lists])
    assert [hit.id for hit in found] == ["x", "y", "z"]
    assert len({hit.distance for hit in found}) == 1


def test_weights_take_scores_from_zero_to_one() -> None:
    """A small distance and a large score are both near; a row that a field did not find gets nothing from it."""
    found = fuse([(NEAR, hits(a=1.0, b=0.0)), (FAR, hits(b=0.0, c=1.0))], [0.25, 0.75])
    assert [(hit.id, hit.distance) for hit in found] == [("b", 0.875), ("c", 0.375), ("a", 0.25)]


@pytest.mark.parametrize(
    ("metric", "nearest", "middle", "farthest"),
    [("COSINE", 1.0, 0.0, -1.0), ("IP", math.inf, 0.0, -math.inf), ("L2", 0.0, 1.0, math.inf), ("BM25", math.inf, 1.0, 0.0)],
)
def test_every_metric_has_its_scale(metric: str, nearest: float, middle: float, farthest: float) -> None:
    """1 is as near as can be, 0 as far."""
    assert [nearness(metric, one) for one in (nearest, middle, farthest)] == pytest.approx([1.0, 0.5, 0.0])

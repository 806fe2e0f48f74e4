"""Recall is held against distances that are computed here, by cases that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from connector.commands.indexbench.exact import Truth
from connector.schema import FLAT
from connector.schema.spec import VectorFieldSpec

POINTS = [[float(place), 0.0] for place in range(12)]
"""On a line: seen from 0, the ten nearest are 0 to 9."""


def field(metric: str, dtype: Any = "float32", dim: int | None = 2) -> VectorFieldSpec:
    """A vector field."""
    return VectorFieldSpec(name="v", dtype=dtype, dim=dim, metric=metric, index=FLAT())


@pytest.mark.parametrize(
    ("found", "recall"),
    [
        (range(10), 1.0),
        (range(9, -1, -1), 1.0),
        ([*range(8), 10, 11], 0.8),
        ([0, 0, 0, 1], 0.2),
        (range(5), 0.5),
        (range(12), 1.0),
        ([], 0.0),
    ],
)
def test_recall_by_hand(found: Any, recall: float) -> None:
    """Rule: the share of the ten nearest that were found, in whatever order; a row that is named twice is one."""
    assert Truth(field("L2"), POINTS, [[0.0, 0.0]]).recall(0, list(found)) == pytest.approx(recall)


def test_equally_near_rows_are_equally_good() -> None:
    """Rule: of two rows at the tenth distance either will do, and one that is farther by a hair will not."""
    rows = [*POINTS[:10], [-9.0, 0.0], [0.0, 9.0], [9.001, 0.0]]
    truth = Truth(field("L2"), rows, [[0.0, 0.0]])
    for last in (9, 10, 11):
        assert truth.recall(0, [*range(9), last]) == 1.0
    assert truth.recall(0, [*range(9), 12]) == pytest.approx(0.9)


def test_a_hundred_equal_rows_cannot_be_missed() -> None:
    """Rule: where all rows are the same, every answer of ten is the truth, and no smaller one is."""
    for metric in ("L2", "COSINE", "IP"):
        truth = Truth(field(metric), [[0.3, 0.7]] * 100, [[0.3, 0.7]])
        assert truth.recall(0, list(range(40, 50))) == 1.0
        assert truth.recall(0, list(range(9))) == pytest.approx(0.9)


def test_what_float32_cannot_tell_apart_is_forgiven_and_no_more() -> None:
    """Rule: far from the origin, near each other: the tenth part of a distance still counts."""
    rows = [[1000.0 + place / 10, 1000.0] for place in range(12)]
    truth = Truth(field("L2"), rows, [[1000.0, 1000.0]])
    assert truth.recall(0, [*range(9), 10]) == pytest.approx(0.9)


@pytest.mark.parametrize(("metric", "nearest"), [("COSINE", 0), ("IP", 2), ("L2", 1)])
def test_each_metric_has_its_own_neighbours(metric: str, nearest: int) -> None:
    """Rule: the same angle, the same place, or the largest product: as Milvus defines them."""
    rows = [[0.1, 0.1], [1.0, 0.9], [9.0, 0.0]]
    truth = Truth(field(metric), [*rows, *([[-9.0, -9.0]] * 30)], [[1.0, 1.0]])
    order = {"COSINE": [0, 1, 2], "IP": [2, 1, 0], "L2": [1, 0, 2]}[metric]
    assert order[0] == nearest
    near = truth._space.near(0, [0, 1, 2])
    assert list(np.argsort(-near)) == order


def test_blocks_and_one_matrix_say_the_same() -> None:
    """Rule: rows are looked at in blocks; the tenth of all of them is found, wherever it stands."""
    rng = np.random.default_rng(5)
    rows, asked = rng.normal(size=(9000, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    truth = Truth(field("L2", dim=8), rows, asked)
    for place, query in enumerate(asked):
        order = np.argsort(((rows.astype(np.float64) - query) ** 2).sum(axis=1))
        assert truth.recall(place, order[:10].tolist()) == 1.0
        assert truth.recall(place, order[3:13].tolist()) == pytest.approx(0.7)


def test_bits_are_compared_as_bits() -> None:
    """Rule: Hamming counts different bits; Jaccard divides common ones by all that are set."""
    rows = np.array([[0b11110000], [0b11100000], [0b00001111], [0b11111111]], dtype=np.uint8)
    asked = np.array([[0b11110000]], dtype=np.uint8)
    hamming = Truth(field("HAMMING", "binary", 8), rows, asked)._space.near(0, [0, 1, 2, 3])
    assert hamming.tolist() == [0, -1, -8, -4]
    jaccard = Truth(field("JACCARD", "binary", 8), rows, asked)._space.near(0, [0, 1, 2, 3])
    assert jaccard.tolist() == pytest.approx([0, -0.25, -1, -0.5])


def test_bfloat16_is_read_from_its_bits() -> None:
    """Rule: what a server gives back as 16 bits is the upper half of a float32."""
    numbers = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    assert Truth(field("IP", "bfloat16"), bits, bits[:1])._space.near(0, [0, 1]).tolist() == [5.0, 11.0]


def test_sparse_rows_that_share_nothing_are_no_neighbours() -> None:
    """Rule: a query has as many neighbours as there are rows with one of its indices; one with none says nothing."""
    rows = [{1: 1.0, 2: 2.0}, {2: 1.0}, {3: 5.0}, {1: 0.5}]
    truth = Truth(field("IP", "sparse", None), rows, [{1: 1.0, 2: 1.0}, {9: 1.0}])
    assert truth.recall(0, [0, 1, 3]) == 1.0
    assert truth.recall(0, [0, 1]) == pytest.approx(2 / 3)
    assert truth.recall(0, [2, 0]) == pytest.approx(1 / 3)
    assert truth.recall(1, []) is None

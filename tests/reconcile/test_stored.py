"""Digests of rows: the same for what is sent and for what is read back, another one for anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from connector.reconcile.stored import RowDigest, added
from connector.schema import Collection, Field, Float32, Vector, VectorField, spec_of


class Things(Collection):
    """A few kinds of fields."""

    id: str = Field(primary_key=True, max_length=10)
    title: str | None = Field(max_length=20)
    weight: Float32 = 0.25
    data: dict | None  # type: ignore[type-arg]  # declared as users do
    exact: Vector = VectorField(dim=2, source="v")
    half: Vector = VectorField(dim=2, source="v", dtype="float16")
    short: Vector = VectorField(dim=2, source="v", dtype="bfloat16")
    words: Vector = VectorField(dtype="sparse", source="w")


ROW: dict[str, Any] = {"id": "a", "title": "t", "weight": 0.1, "data": {"b": 1, "a": [1.5, None]}}
SENT = [0.1, 1 / 3]


def sent(row: dict[str, Any] | None = None, vector: list[float] | None = None, sparse: Any = None) -> int:
    """The digest of a row as it is sent: float32 arrays whatever the field keeps."""
    dense = np.array([vector or SENT, [9.0, 9.0]], dtype=np.float32)
    vectors = {"exact": dense, "half": dense, "short": dense, "words": [sparse or {1: 0.5, 7: 0.1}, {}]}
    return RowDigest(spec_of(Things)).of_rows([row or ROW, {}], vectors, [0])[0]


def read(**changes: Any) -> int:
    """The digest of that row as it is read: floats rounded, vectors in their stored type."""
    dense = np.array(SENT, dtype=np.float32)
    short = (dense.view(np.uint32) + 0x8000 >> 16).astype(np.uint16)
    back = {"weight": float(np.float32(0.1)), "data": {"a": [1.5, None], "b": 1}, "words": {7: float(np.float32(0.1)), 1: 0.5}}
    return RowDigest(spec_of(Things)).of_row({**ROW, "exact": dense, "half": dense.astype(np.float16), "short": short, **back, **changes})


def test_read_is_sent() -> None:
    """Rounding to a stored type, the order of a dict's keys and of a sparse vector's are no difference."""
    assert read() == sent()


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "u"},
        {"title": None},
        {"weight": 0.2},
        {"data": {"a": [1.5, None], "b": 2}},
        {"exact": np.nextafter(np.array(SENT, dtype=np.float32), np.float32(1))},
        {"half": np.array([0.1, 0.25], dtype=np.float16)},
        {"words": {1: 0.5}},
        {"words": {1: 0.5, 8: 0.1}},
    ],
)
def test_any_change_shows(changes: dict[str, Any]) -> None:
    """One scalar, one last bit of one vector, one weight."""
    assert read(**changes) != sent()


def test_a_value_does_not_move_to_another_field() -> None:
    """The digest knows which field a value stands in."""
    assert sent({"id": "a", "title": "b"}) != sent({"id": "b", "title": "a"})


def test_a_column_that_is_added_later_changes_nothing() -> None:
    """Older rows read it as None or as its default."""

    class Wider(Things, name="things"):
        note: str | None = Field(max_length=9)
        level: int = 3

    dense = np.array([SENT], dtype=np.float32)
    vectors = {"exact": dense, "half": dense, "short": dense, "words": [{1: 0.5, 7: 0.1}]}
    [found] = RowDigest(spec_of(Wider)).of_rows([{**ROW, "note": None, "level": 3}], vectors, [0])
    assert found == sent()


def test_sum_has_no_order() -> None:
    """The rows of a document may be read in any order; the sum stays within SQLite's integers."""
    assert added([1, 2**62, 5], 2**62) == added([5, 2**62], added([2**62, 1])) == 6
    assert 0 <= sent() < 2**63

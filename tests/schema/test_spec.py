"""Specifications as data: what is compared and stamped, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connector.schema import BITMAP, HNSW, IVF_PQ, Collection, CollectionSpec, Field, Int8, Vector, VectorField, VectorFieldSpec, spec_of
from connector.schema.spec import LINEAGE

GOLDEN = Path(__file__).parent.parent / "golden" / "spec.json"


class Stamped(Collection, name="stamped", dynamic=True, shards=2, partitions=8, properties={"mmap.enabled": "true"}):
    """Something of everything that a stamp holds."""

    id: str = Field(primary_key=True, generated=True)
    tenant: str = Field(partition_key=True, max_length=32, index=BITMAP())
    level: Int8 | None = Field(default=-1)
    tags: list[str] = Field(max_length=16, max_capacity=8)
    meta: dict[str, Any] | None
    price: float = 0.5
    dense: Vector = VectorField(dim=8, encoder="fake:a", metric="L2", index=HNSW(M=4, ef_construction=32), prompts={"query": "q"})
    half: Vector = VectorField(dim=8, dtype="float16", source="v", index=IVF_PQ(m=4))
    bits: Vector = VectorField(dim=8, dtype="binary", source="b")
    sparse: Vector = VectorField(dtype="sparse", source="s")


def test_normalised_form_is_frozen() -> None:
    """Every collection carries this in its stamp. If it changes, every user's next run says that code and collection differ."""
    assert spec_of(Stamped).normalised() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_normalised_form_is_json() -> None:
    """What goes through a stamp comes back equal, so equal code gives an equal plan."""
    normalised = spec_of(Stamped).normalised()
    assert json.loads(json.dumps(normalised)) == normalised


def test_encoder_reference_is_not_in_it() -> None:
    """The same model from another path, and another description, is the same collection."""
    spec = spec_of(Stamped)
    other = [vector.model_copy(update={"encoder": "fake:elsewhere", "source": "y", "options": {}}) for vector in spec.vectors]
    moved = spec.model_copy(update={"vectors": tuple(other), "description": "Other words.", "where": "elsewhere.py: Stamped"})
    assert moved.normalised() == spec.normalised()


@pytest.mark.parametrize(
    "change",
    [{"dim": 16}, {"dtype": "float16"}, {"metric": "IP"}, {"index": HNSW(M=5)}, {"nullable": True}],
)
def test_what_makes_another_collection_is_in_it(change: dict[str, Any]) -> None:
    """A change of a stored vector's shape or index is seen."""
    spec = spec_of(Stamped)
    other = spec.model_copy(update={"vectors": (spec.vectors[0].model_copy(update=change), *spec.vectors[1:])})
    assert other.normalised() != spec.normalised()


def test_columns_are_what_a_row_brings() -> None:
    """Neither the generated key nor lineage is asked of a row."""
    spec = spec_of(Stamped)
    assert [field.name for field in spec.columns] == ["tenant", "level", "tags", "meta", "price"]
    assert tuple(field.name for field in spec.fields[-3:]) == LINEAGE


def test_specifications_do_not_change() -> None:
    """A specification is handed around and compared: nobody may alter it on the way, and no key is unknown."""
    spec = spec_of(Stamped)
    with pytest.raises(ValidationError):
        spec.name = "other"
    with pytest.raises(ValidationError):
        CollectionSpec(name="x", fields=(), vectors=(), colour="red")  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize(
    ("dtype", "dim", "nbytes"),
    [("float32", 8, 32), ("float16", 8, 16), ("bfloat16", 8, 16), ("int8", 8, 8), ("binary", 16, 2), ("sparse", None, 1024)],
)
def test_bytes_of_a_vector(dtype: Any, dim: int | None, nbytes: int) -> None:
    """Windows are bounded by these numbers."""
    assert VectorFieldSpec(name="v", dtype=dtype, dim=dim, metric="IP", index=HNSW()).row_bytes == nbytes

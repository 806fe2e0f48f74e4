"""A Milvus Lite file for each test, and collections to put there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.plan import Want, diff
from connector.record import Row, Window
from connector.schema import HNSW, INVERTED, Collection, CollectionSpec, Field, Float32, Int8, Vector, VectorField, spec_of


class Things(Collection, name="things"):
    """One field of every kind that Milvus Lite holds."""

    sku: str = Field(primary_key=True, max_length=64)
    tenant: str = Field(partition_key=True, max_length=32, default="t")
    title: str = Field(max_length=20, index=INVERTED())
    note: str | None = Field(max_length=100)
    price: float = 0.5
    weight: Float32 = 0.25
    level: Int8 = 1
    count: int | None
    sold: bool = False
    data: dict | None  # type: ignore[type-arg]  # declared as users do
    tags: list[str] = Field(max_length=20, max_capacity=5)
    sizes: list[int] | None
    vector: Vector = VectorField(dim=4, source="v", index=HNSW())
    words: Vector = VectorField(dtype="sparse", source="w")


def row(number: int, **values: Any) -> Row:
    """One conformed row of `Things`."""
    full = {
        "sku": f"s{number}",
        "tenant": "t",
        "title": f"title {number}",
        "note": None,
        "price": number / 2,
        "weight": 0.25,
        "level": 1,
        "count": number,
        "sold": bool(number % 2),
        "data": {"n": [number, None, "é"]},
        "tags": ["x"] * (number % 3),
        "sizes": [number],
        "connector_namespace": "ns",
        "connector_key": f"k{number}",
        "connector_content": "c.f.1",
    }
    return full | values


def vectors(count: int) -> dict[str, Any]:
    """As many vectors for both fields of `Things`, each different."""
    dense: npt.NDArray[np.float32] = np.arange(1, 4 * count + 1, dtype=np.float32).reshape(count, 4)
    return {"vector": dense, "words": [{index: 0.5, 7_000: 1.5 + index} for index in range(count)]}


def window(rows: list[Row], given: dict[str, Any] | None = None) -> Window:
    """A window that holds these rows."""
    return Window(parts=[], rows=rows, vectors=vectors(len(rows)) if given is None else given)


@pytest.fixture
def spec() -> CollectionSpec:
    """The collection with every kind of field."""
    return spec_of(Things)


@pytest.fixture
def make() -> dict[str, Callable[..., Any]]:
    """Makers of rows, vectors and windows for that collection."""
    return {"row": row, "vectors": vectors, "window": window}


@pytest.fixture
def settings(tmp_path: Path) -> MilvusSettings:
    """A Milvus Lite file of the test's own."""
    return MilvusSettings(uri=str(tmp_path / "test.db"), retry_deadline=2)


@pytest.fixture
def connection(settings: MilvusSettings) -> Iterator[Connection]:
    """That file, open; its lock is released afterwards."""
    with connect(settings) as opened:
        yield opened


@pytest.fixture
def want(spec: CollectionSpec) -> Want:
    """What the code asks for in these tests."""
    return Want(spec, {"vector": {"model": {"kind": "fake", "weights": "w1"}}}, "ns")


@pytest.fixture
def sink(connection: Connection, want: Want) -> MilvusSink:
    """A sink into a collection that was just applied."""
    catalog = Catalog(connection)
    catalog.apply(diff(want, catalog.have("things")), want)
    return MilvusSink(connection, "things__g1", want.spec)

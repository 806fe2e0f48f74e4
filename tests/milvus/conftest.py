"""A Milvus Lite file or a database of the server for each test, and collections to put there."""

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
from connector.schema import HNSW, INVERTED, STL_SORT, TRIE, Collection, CollectionSpec, Field, Float32, Int8, Vector, VectorField, spec_of
from tests.milvus.tiers import TIERS


class Base(Collection, abstract=True):
    """One field of every kind that both hold."""

    sku: str = Field(primary_key=True, max_length=64)
    tenant: str = Field(partition_key=True, max_length=32, default="t")
    price: float = 0.5
    weight: Float32 = 0.25
    level: Int8 = 1
    sold: bool = False
    tags: list[str] = Field(max_length=20, max_capacity=5)
    vector: Vector = VectorField(dim=4, source="v", index=HNSW())


class Things(Base, name="things"):
    """One field of every kind that Milvus Lite holds."""

    title: str = Field(max_length=20, index=INVERTED())
    note: str | None = Field(max_length=100)
    count: int | None
    data: dict | None  # type: ignore[type-arg]  # declared as users do
    sizes: list[int] | None
    words: Vector = VectorField(dtype="sparse", source="w")


class OldThings(Base, name="things"):
    """One field of every kind that Milvus 2.3.5 holds: one vector, nothing nullable, indexes of its own."""

    title: str = Field(max_length=20, index=TRIE())
    count: int = Field(index=STL_SORT())
    data: dict  # type: ignore[type-arg]  # declared as users do
    sizes: list[int]


def row(number: int, **values: Any) -> Row:
    """One conformed row of `Things`; `OldThings` take from it what they have."""
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


@pytest.fixture(params=TIERS)
def backend(request: pytest.FixtureRequest) -> str:
    """Milvus Lite, or the server."""
    return str(request.param)


@pytest.fixture
def spec(backend: str) -> CollectionSpec:
    """The collection with every kind of field that there is."""
    return spec_of(Things if backend == "lite" else OldThings)


@pytest.fixture
def make(spec: CollectionSpec) -> dict[str, Callable[..., Any]]:
    """Makers of rows, vectors and windows for that collection."""
    names, vector_names = {field.name for field in spec.fields}, [field.name for field in spec.vectors]

    def own_row(number: int, **values: Any) -> Row:
        return {name: value for name, value in row(number, **values).items() if name in names}

    def own_vectors(count: int) -> dict[str, Any]:
        return {name: vectors(count)[name] for name in vector_names}

    def window(rows: list[Row], given: dict[str, Any] | None = None) -> Window:
        return Window(parts=[], rows=rows, vectors=own_vectors(len(rows)) if given is None else given)

    return {"row": own_row, "vectors": own_vectors, "window": window}


@pytest.fixture
def settings(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> MilvusSettings:
    """A Milvus Lite file or a database of the test's own."""
    if backend == "lite":
        return MilvusSettings(uri=str(tmp_path / "test.db"), retry_deadline=2)
    own: MilvusSettings = request.getfixturevalue("database")
    return own


@pytest.fixture
def connection(settings: MilvusSettings) -> Iterator[Connection]:
    """That one, open; a file's lock is released afterwards."""
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

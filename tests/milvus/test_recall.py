"""Recall is measured against exact search, and a bad index cannot hide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from connector.milvus import recall as module
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection
from connector.milvus.recall import K, measurable, recall
from connector.milvus.sink import MilvusSink
from connector.plan import diff
from connector.plan.generations import Want
from connector.record import Window
from connector.schema import FLAT, HNSW, CollectionSpec, Field, Vector, VectorField, spec_of
from connector.schema import Collection as Declared

ROWS = 300


class Points(Declared, name="points"):
    """Vectors alone."""

    id: int = Field(primary_key=True)
    vector: Vector = VectorField(dim=8, source="v", index=HNSW(M=16))


def filled(connection: Connection, metric: str, index: Any) -> tuple[CollectionSpec, dict[Any, Any]]:
    """A collection of random vectors of random lengths, and these by key."""
    plain = spec_of(Points)
    spec = plain.model_copy(update={"vectors": (plain.vectors[0].model_copy(update={"metric": metric, "index": index}),)})
    catalog, want = Catalog(connection), Want(spec, {})
    catalog.apply(diff(want, catalog.have("points")), want)
    vectors = np.random.default_rng(7).normal(size=(ROWS, 8)).astype(np.float32)
    rows = [{"id": n, "connector_namespace": "n", "connector_key": str(n), "connector_content": "c.f.1"} for n in range(ROWS)]
    MilvusSink(connection, "points__g1", spec).write(Window(parts=[], rows=rows, vectors={"vector": vectors}))
    return spec, dict(enumerate(vectors))


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_an_exact_index_finds_everything(connection: Connection, metric: str) -> None:
    """Rule: nearness is what Milvus means by it, in every metric; the whole collection and a sample of it say the same."""
    spec, vectors = filled(connection, metric, FLAT())
    assert recall(connection, "points__g1", spec, spec.vectors[0], vectors, rows=ROWS) == 1.0
    some: dict[Any, Any] = {key: vectors[key] for key in range(0, ROWS, 3)}
    assert recall(connection, "points__g1", spec, spec.vectors[0], some, rows=ROWS) == 1.0


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_what_an_index_misses_is_counted(connection: Connection, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: an index that leaves out two of the ten nearest has a recall of 0.8; a sample estimates it; one that answers nothing has 0."""
    spec, vectors = filled(connection, metric, FLAT())
    from connector.milvus.search import search as real

    def blind(*given: Any, limit: int, **options: Any) -> Any:
        return [[*hits[:5], *hits[7 : limit + 2]] for hits in real(*given, limit=limit + 2, **options)]

    monkeypatch.setattr(module, "search", blind)
    assert recall(connection, "points__g1", spec, spec.vectors[0], vectors, rows=ROWS) == pytest.approx(1 - 2 / K)
    half: dict[Any, Any] = {key: vectors[key] for key in range(0, ROWS, 2)}
    assert recall(connection, "points__g1", spec, spec.vectors[0], half, rows=ROWS) == pytest.approx(1 - 2 / K, abs=0.08)
    monkeypatch.setattr(module, "search", lambda *_, **__: [[] for _ in range(module.QUERIES)])
    assert recall(connection, "points__g1", spec, spec.vectors[0], vectors, rows=ROWS) == 0.0


def test_what_is_measured() -> None:
    """Rule: only what exact distances are computed for here."""
    field = spec_of(Points).vectors[0]
    assert measurable(field)
    assert not measurable(field.model_copy(update={"dtype": "binary", "metric": "HAMMING"}))
    assert not measurable(field.model_copy(update={"dtype": "sparse", "metric": "IP"}))

"""Searching one physical collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector.errors import ConfigError
from connector.milvus.client import Connection
from connector.milvus.search import search
from connector.milvus.sink import MilvusSink
from tests.milvus.tiers import LITE_ONLY

Make = dict[str, Callable[..., Any]]


@pytest.fixture
def filled(sink: MilvusSink, make: Make) -> MilvusSink:
    """Twenty rows."""
    sink.write(make["window"]([make["row"](i) for i in range(20)]))
    return sink


def test_a_vector_finds_itself_first(connection: Connection, filled: MilvusSink, make: Make) -> None:
    """Rule: hits come nearest first, one list a vector, with key, distance and the fields that were asked for."""
    vectors = make["vectors"](20)["vector"]
    hits = search(connection, "things__g1", filled.spec, vectors[:2], field="vector", limit=3, output_fields=["title", "tags", "vector"])
    assert [one[0].id for one in hits] == ["s0", "s1"]
    assert [len(one) for one in hits] == [3, 3]
    assert hits[1][0].distance == pytest.approx(1.0, abs=1e-5)
    assert hits[1][0].fields["title"] == "title 1"
    assert hits[1][0].fields["tags"] == ["x"]
    assert (hits[1][0].fields["vector"] == vectors[1]).all()


@LITE_ONLY
def test_sparse_vectors_and_filters(connection: Connection, filled: MilvusSink, make: Make) -> None:
    """Rule: a sparse field is searched with dicts, and a filter narrows the hits."""
    hits = search(connection, "things__g1", filled.spec, [{7000: 1.0}], field="words", limit=2, filter='title != "title 19"')
    assert [hit.id for hit in hits[0]] == ["s18", "s17"]


def test_filters(connection: Connection, filled: MilvusSink, make: Make) -> None:
    """Rule: a filter narrows the hits."""
    asked = make["vectors"](2)["vector"][1:]
    hits = search(connection, "things__g1", filled.spec, asked, field="vector", limit=1, filter='title != "title 1"')
    assert hits[0][0].id != "s1"


def test_what_cannot_be_searched_is_the_callers_mistake(connection: Connection, filled: MilvusSink) -> None:
    """Rule: a wrong field or filter is a configuration error that names it."""
    with pytest.raises(ConfigError, match="did you mean `vector`"):
        search(connection, "things__g1", filled.spec, [[1.0] * 4], field="vectr")
    with pytest.raises(ConfigError, match="correct the filter"):
        search(connection, "things__g1", filled.spec, [[1.0] * 4], field="vector", filter="title ===")

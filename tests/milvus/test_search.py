"""Searching one physical collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector.errors import ConfigError
from connector.milvus.client import Connection, Server, connect
from connector.milvus.search import search
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.schema import spec_of
from tests.milvus.conftest import Things
from tests.milvus.recorder import recording
from tests.milvus.tiers import LITE_ONLY, SERVER_ONLY

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


@SERVER_ONLY
def test_a_server_that_does_not_group_is_not_asked_to(connection: Connection, filled: MilvusSink) -> None:
    """Rule: Milvus 2.3.5 reads over the wish and would give every row; so it is refused."""
    with pytest.raises(ConfigError, match=r"Milvus 2\.3\.5 does not group hits"):
        search(connection, "things__g1", filled.spec, [[1.0] * 4], field="vector", group_by="title")


def test_consistency_levels(connection: Connection, filled: MilvusSink, make: Make) -> None:
    """Rule: every level is taken; which rows a weaker one sees is the server's to say."""
    for level in ("Strong", "Session", "Bounded", "Eventually"):
        [hits] = search(connection, "things__g1", filled.spec, make["vectors"](1)["vector"], field="vector", limit=3, consistency=level)
        assert len(hits) <= 3


def test_what_a_newer_server_is_asked() -> None:
    """Rule: field, filter, limit, level and group stand in the request as pymilvus has them for a Milvus 3.0."""
    from pymilvus.grpc_gen import common_pb2

    spec = spec_of(Things)
    with recording(spec) as (recorder, uri), connect(MilvusSettings(uri=uri)) as connection:
        assert connection.server == Server("server", (3, 0, 0), "Milvus 3.0.0")
        asked = {"field": "vector", "limit": 7, "filter": 'tenant == "t" and (price < 5)', "output_fields": ["title", "tenant"]}
        assert search(connection, "things", spec, [[1.0] * 4], **asked, group_by="title", consistency="Bounded") == [[]]  # type: ignore[arg-type]  # as above
    [request] = recorder.searches
    sent = {one.key: one.value for one in request.search_params}
    assert (request.dsl, list(request.output_fields)) == (asked["filter"], ["title", "tenant"])
    assert (sent["anns_field"], sent["topk"], sent["metric_type"], sent["group_by_field"]) == ("vector", "7", "COSINE", "title")
    assert request.consistency_level == common_pb2.ConsistencyLevel.Bounded
    assert not request.use_default_consistency
    assert not request.partition_names

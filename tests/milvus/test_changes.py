"""What exists is altered in place, wherever it is interrupted; by requests alone what only newer servers can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

from connector import faults
from connector.errors import ConfigError, Refused
from connector.milvus import changes, features
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect, parse_version
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.plan import diff, differences
from connector.plan.actions import AddField, AlterProperty, DropIndex, RebuildIndex, WidenField
from connector.plan.generations import Want
from connector.schema import HNSW, CollectionSpec, Field, Vector, VectorField, spec_of
from connector.schema import Collection as Declared
from connector.schema.spec import FieldSpec

TTL, MMAP = "collection.ttl.seconds", "mmap.enabled"


@pytest.fixture
def catalog(connection: Connection, want: Want) -> Catalog:
    """The collection `things`, made and live."""
    made = Catalog(connection)
    made.apply(diff(want, made.have("things")), want)
    return made


@pytest.fixture
def other(want: Want) -> Want:
    """The code after an edit that can be done in place: another graph, one scalar index gone, a life time, mapped vectors."""
    spec = want.spec
    vector = spec.vectors[0].model_copy(update={"index": HNSW(M=32, ef_construction=100)})
    fields = tuple(one.model_copy(update={"index": None}) if one.name == "title" else one for one in spec.fields)
    update = {"vectors": (vector, *spec.vectors[1:]), "fields": fields, "properties": {TTL: "3600000", MMAP: "true"}}
    return Want(spec.model_copy(update=update), want.identity, want.owner)


def brought(catalog: Catalog, want: Want) -> bool:
    """Whether the live generation is what the code says: by its stamp, by what the server tells, and to a search."""
    live = catalog.live("things")
    assert live is not None
    assert live.stamp is not None
    return (
        diff(want, catalog.have("things")) == ()
        and differences(want, live.stamp) == ()
        and ("title" in live.indexes) == any(one.name == "title" and one.index for one in want.spec.fields)
        and (catalog.connection.server.lite or live.indexes["vector"]["M"] == str(want.spec.vectors[0].index.params["M"]))
    )


def test_altered_and_back(catalog: Catalog, connection: Connection, want: Want, other: Want, make: dict[str, Any]) -> None:
    """Rule: after an apply nothing is left to do, every row is there and found, the uid is the same; and the way back is the same way."""
    sink = MilvusSink(connection, "things__g1", want.spec)
    sink.write(make["window"]([make["row"](number) for number in range(50)]))
    stamp = catalog.stamp("things__g1")
    for code in (other, want, other):
        planned = diff(code, catalog.have("things"))
        assert {RebuildIndex, AlterProperty} <= {type(one) for one in planned}
        catalog.apply(planned, code)
        assert brought(catalog, code)
        assert sink.count() == 50
        assert len(connection.client.search("things", [[1.0, 2.0, 3.0, 4.0]], anns_field="vector", limit=5)[0]) == 5
    after = catalog.stamp("things__g1")
    assert stamp is not None
    assert after is not None
    assert (after.uid, after.owner) == (stamp.uid, stamp.owner)


CUTS = [
    f"{point}:{passage}"
    for point, passages in Counter({"released": 2, "dropped": 1, "changed": 4, "stamped": 1}).items()
    for passage in range(1, passages + 1)
]


@pytest.mark.parametrize("cut", CUTS)
def test_interrupted_anywhere_and_finished(catalog: Catalog, want: Want, other: Want, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: stopped after any call, what is left to do is found again, and nothing that was done stands in the way."""
    monkeypatch.setattr(faults, "_hits", Counter())
    monkeypatch.setenv("CONNECTOR_FAILPOINT", f"alter.{cut}:raise")
    planned = diff(other, catalog.have("things"))
    with pytest.raises(RuntimeError, match="failpoint"):
        catalog.apply(planned, other)
    monkeypatch.delenv("CONNECTOR_FAILPOINT")
    left = diff(other, catalog.have("things"))
    assert left == planned[len(planned) - len(left) :]
    catalog.apply(left, other)
    assert brought(catalog, other)


def test_an_index_that_is_right_already_is_left(catalog: Catalog, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: where the server tells parameters, an index that was built before the interruption is not built twice."""
    if catalog.connection.server.lite:
        assert not changes._same(catalog.have("things").generations[0].indexes["vector"], {"type": "HNSW", "metric": "COSINE", "M": "8"})
        return
    monkeypatch.setattr(changes, "_drop_index", None)
    changes.alter(catalog.connection, RebuildIndex("things__g1", "vector", ()), want.spec)


def test_a_search_in_the_wrong_moment_does_not_stop_a_rebuild(
    catalog: Catalog, connection: Connection, want: Want, other: Want, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: a search loads a released collection, and a loaded one keeps its index; so it is released and dropped once more."""
    real, times = connection.client.release_collection, []

    def release(name: str, **options: Any) -> None:
        real(name, **options)
        times.append(name)
        if len(times) == 1:
            connection.client.load_collection(name)

    monkeypatch.setattr(connection.client, "release_collection", release)
    changes.alter(connection, DropIndex("things__g1", "vector"), want.spec)
    assert len(times) == 2
    assert "vector" not in changes.live_indexes(connection, "things__g1")


def test_a_generation_in_use_is_not_dropped(catalog: Catalog, connection: Connection, want: Want) -> None:
    """Rule: a collection that an alias points to is not dropped behind it; one that is gone is no error."""
    with pytest.raises(Refused, match="the alias things points to it"):
        changes.drop_unused(connection, "things__g1")
    assert catalog.live("things") is not None
    changes.drop_unused(connection, "things__g7")


class Notes(Declared, name="notes"):
    """What the pretended server has."""

    id: str = Field(primary_key=True, max_length=32)
    text: str = Field(max_length=100)
    vector: Vector = VectorField(dim=4, source="v")


class Pretender(milvus_pb2_grpc.MilvusServiceServicer):  # type: ignore[misc]  # generated code has no types
    """Answers as a Milvus 2.6 would to what pymilvus really sends, and writes it down."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def Connect(self, request: Any, context: Any) -> Any:  # noqa: N802 - grpc's name
        """Lets everybody in."""
        return milvus_pb2.ConnectResponse(status=common_pb2.Status(), server_info=common_pb2.ServerInfo(build_tags="v2.6.4"))

    def GetVersion(self, request: Any, context: Any) -> Any:  # noqa: N802 - grpc's name
        """A version that can alter fields."""
        return milvus_pb2.GetVersionResponse(status=common_pb2.Status(), version="v2.6.4")

    def DescribeCollection(self, request: Any, context: Any) -> Any:  # noqa: N802 - grpc's name
        """One field, and those that were added."""
        added = [one for one in self.requests if isinstance(one, milvus_pb2.AddCollectionFieldRequest)]
        key = schema_pb2.FieldSchema(name="id", data_type=schema_pb2.VarChar, is_primary_key=True)
        fields = [key, *(schema_pb2.FieldSchema.FromString(one.schema) for one in added)]
        schema = schema_pb2.CollectionSchema(name=request.collection_name, fields=fields)
        return milvus_pb2.DescribeCollectionResponse(status=common_pb2.Status(), schema=schema, collection_name=request.collection_name)

    def AddCollectionField(self, request: Any, context: Any) -> Any:  # noqa: N802 - grpc's name
        """Writes it down."""
        self.requests.append(request)
        return common_pb2.Status()

    def AlterCollectionField(self, request: Any, context: Any) -> Any:  # noqa: N802 - grpc's name
        """Writes it down."""
        self.requests.append(request)
        return common_pb2.Status()


@pytest.fixture
def pretender() -> Iterator[tuple[Pretender, Connection]]:
    """A server of version 2.6.4 that writes down what it is asked, and a connection to it."""
    server, servicer = grpc.server(futures.ThreadPoolExecutor(2)), Pretender()
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with connect(MilvusSettings(uri=f"http://127.0.0.1:{port}", retry_deadline=1)) as connection:
        yield servicer, connection
    server.stop(None)


def test_what_newer_servers_alter_is_sent_as_they_want_it(pretender: tuple[Pretender, Connection]) -> None:
    """Rule: a nullable field is added once, with its type and length; a VARCHAR is lengthened by its own request."""
    servicer, connection = pretender
    note = FieldSpec(name="note", type="VARCHAR", nullable=True, max_length=9)
    spec: CollectionSpec = spec_of(Notes).model_copy(update={"fields": (*spec_of(Notes).fields, note)})
    assert features.alterable(connection.server) == {"add field", "longer varchar"}
    for _ in range(2):
        changes.alter(connection, AddField("notes__g1", "note"), spec)
    changes.alter(connection, WidenField("notes__g1", "text", 100, 200), spec)
    added, widened = servicer.requests
    field = schema_pb2.FieldSchema.FromString(added.schema)
    assert (added.collection_name, field.name, field.data_type, field.nullable) == ("notes__g1", "note", schema_pb2.VarChar, True)
    assert [(one.key, one.value) for one in field.type_params] == [("max_length", "9")]
    assert (widened.collection_name, widened.field_name) == ("notes__g1", "text")
    assert [(one.key, one.value) for one in widened.properties] == [("max_length", "200")]


def test_who_can_alter_fields() -> None:
    """Rule: neither Milvus Lite nor old servers are asked to."""
    assert features.alterable(parse_version("milvus_lite-3.2.2")) == frozenset()
    assert features.alterable(parse_version("v2.3.5-lite")) == frozenset()
    assert features.alterable(parse_version("v2.5.1")) == {"longer varchar"}


def test_an_old_server_that_is_asked_says_so(catalog: Catalog, want: Want) -> None:
    """Rule: what a server does not know is an error of ours, told at once."""
    with pytest.raises(ConfigError, match=r"lengthen things__g1\.title: the server does not know this request"):
        changes.alter(catalog.connection, WidenField("things__g1", "title", 20, 40), want.spec)

"""The faulty Milvus and the proxy do what they say, so that a test built on them means something."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen import milvus_pb2

from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from connector.testing.milvus_faults import Fault
from connector.testing.proxy import TcpProxy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyMilvus]:
    """With one collection, `c`."""
    with FaultyMilvus(tmp_path_factory.mktemp("faulty") / "lite.db") as running:
        schema = MilvusClient.create_schema()
        schema.add_field("id", DataType.VARCHAR, max_length=20, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
        client = MilvusClient(running.uri, dedicated=True)
        client.create_collection("c", schema=schema)
        client.close()
        yield running


@pytest.fixture
def milvus(server: FaultyMilvus) -> FaultyMilvus:
    """That one, behaving."""
    server.faults = []
    server.requests.clear()
    return server


@pytest.fixture
def client(milvus: FaultyMilvus) -> Iterator[MilvusClient]:
    """Pymilvus as anybody would use it."""
    made = MilvusClient(milvus.uri, dedicated=True)
    yield made
    made.close()


def upsert(client: MilvusClient, key: str = "a", **options: Any) -> Any:
    """One row."""
    return client.upsert("c", [{"id": key, "v": [1.0, 2.0]}], **{"timeout": 2, "retry_on_rate_limit": False, **options})


def test_without_faults_it_is_a_milvus(milvus: FaultyMilvus, client: MilvusClient) -> None:
    """Requests are carried out and recorded, with their keys."""
    assert upsert(client)["upsert_count"] == 1
    [record] = milvus.of("Upsert")
    assert (record.answer, record.column("id"), record.column("no such field")) == ("ok", ["a"], [])
    assert record.applied is not None
    assert record.nbytes > 20
    assert client.get_server_version().startswith("milvus_lite")


@pytest.mark.parametrize(("fault", "code"), [(faults.rate_limited(), 8), (faults.writes_denied(), 9), (faults.not_ready(), 1)])
def test_codes(milvus: FaultyMilvus, client: MilvusClient, fault: Fault, code: int) -> None:
    """A refusal has Milvus's code and words, and nothing is carried out; the next request passes."""
    milvus.faults = [fault]
    with pytest.raises(MilvusException) as caught:
        upsert(client)
    assert (caught.value.code, caught.value.message) == (code, fault.reason)
    assert milvus.of("Upsert")[0].applied is None
    upsert(client)
    assert [one.answer for one in milvus.of("Upsert")] == [f"code {code}", "ok"]


def test_a_code_for_any_method(milvus: FaultyMilvus, client: MilvusClient) -> None:
    """Methods whose answer is a status, and those whose answer holds one, are refused alike; others pass."""
    for method, call in (("DropCollection", lambda: client.drop_collection("c")), ("ShowCollections", client.list_collections)):
        milvus.faults = [Fault(method, code=65535, reason="no")]
        with pytest.raises(MilvusException, match="no"):
            call()
    assert client.list_collections() == ["c"]


def test_lost_answers_and_late_ones(milvus: FaultyMilvus, client: MilvusClient) -> None:
    """A lost answer was carried out; a late request is carried out after the client has given up."""
    milvus.faults = [faults.lost_answer(None)]
    with pytest.raises(MilvusException):
        upsert(client, timeout=0.3)
    assert {(one.answer, one.applied is not None) for one in milvus.of("Upsert")} == {("UNAVAILABLE", True)}
    milvus.requests.clear()
    milvus.faults = [faults.lands_late(after=0.2)]
    with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
        upsert(client, "late", timeout=0.3)
    [late] = milvus.of("Upsert")
    while late.applied is None:
        time.sleep(0.01)
    assert late.answer == "no answer"
    assert late.ended is not None
    assert late.applied - late.ended > 0.15
    assert len(client.query("c", filter='id == "late"')) == 1


def test_a_wrong_count_of_every_method(milvus: FaultyMilvus, client: MilvusClient) -> None:
    """Answers that count nothing stay as they are: there is nothing to get wrong."""
    milvus.faults = [Fault("*", miscount=-1, times=2)]
    assert client.list_collections() == ["c"]
    assert upsert(client)["upsert_count"] == 0


def test_wrong_counts_delays_and_skips(milvus: FaultyMilvus, client: MilvusClient) -> None:
    """The second request is the one that claims a row less; all are slow."""
    milvus.faults = [Fault(skip=1, delay=0.1, miscount=-1)]
    begun = time.monotonic()
    assert [upsert(client, key)["upsert_count"] for key in ("a", "b", "c")] == [1, 0, 1]
    assert time.monotonic() - begun > 0.1
    milvus.faults = [faults.rate_limited(None, when=lambda request: request.num_rows > 1)]
    upsert(client)


def test_a_limited_rate(milvus: FaultyMilvus, client: MilvusClient) -> None:
    """Over the limit requests are refused as a server does; a request is never too large for the bucket."""
    milvus.limit(10)
    upsert(client)
    with pytest.raises(MilvusException, match="rate limit exceeded"):
        upsert(client)
    milvus.limit(None)
    upsert(client)


def test_what_overlaps_is_told() -> None:
    """Two upserts at once with one key, and one key twice in a request, are found."""
    milvus = FaultyMilvus(Path("nowhere"))
    for begun, ended, keys in ((0.0, 2.0, ["a", "b"]), (1.0, 3.0, ["b", "c"]), (2.5, 4.0, ["d", "d"]), (5.0, 6.0, ["a"])):
        milvus.requests.append(faults.Recorded("Upsert", request(keys), begun, ended))
    assert sorted(milvus.collisions("id")) == ["b", "d"]
    assert milvus.most_in_flight("Upsert") == 2
    assert milvus.most_in_flight("Delete") == 0


def request(keys: list[str]) -> Any:
    """An upsert with these keys."""
    made = milvus_pb2.UpsertRequest()
    data = made.fields_data.add()
    data.field_name = "id"
    data.scalars.string_data.data.extend(keys)
    return made


def test_the_same_folder_is_the_same_server_restarted(tmp_path: Path) -> None:
    """Rows stay when it is closed and opened again, and a version can be claimed."""
    for count in (1, 2):
        with FaultyMilvus(tmp_path / "lite.db", version="v2.6.0") as milvus:
            client = MilvusClient(milvus.uri, dedicated=True)
            if count == 1:
                client.create_collection("c", dimension=2)
                client.upsert("c", [{"id": 7, "vector": [1.0, 2.0]}])
            client.load_collection("c")
            assert [row["id"] for row in client.query("c", filter="id > 0")] == [7]
            assert client.get_server_version() == "v2.6.0"
            client.close()


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that sends back what it gets; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(one: socket.socket) -> None:
        with one, contextlib.suppress(ConnectionResetError):
            while some := one.recv(100):
                one.sendall(some)

    def serve() -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(one,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def dial(proxy: TcpProxy) -> socket.socket:
    """A connection to the proxy that waits at most half a second."""
    return socket.create_connection(("127.0.0.1", int(proxy.uri.rpartition(":")[2])), timeout=0.5)


def sent_back(proxy: TcpProxy, some: bytes) -> bytes:
    """What comes back over a connection of its own."""
    with dial(proxy) as one:
        one.sendall(some)
        return one.recv(10)


def test_the_proxy_passes_delays_swallows_and_cuts(echo: str) -> None:
    """Bytes pass; slowly; not at all, until resumed; and a cut ends connections with a reset, new ones too, until resumed."""
    with TcpProxy(echo) as proxy:
        with dial(proxy) as one:
            one.sendall(b"a")
            assert one.recv(10) == b"a"
            proxy.delay, begun = 0.1, time.monotonic()
            one.sendall(b"b")
            assert one.recv(10) == b"b"
            assert time.monotonic() - begun > 0.19
            proxy.delay = 0
            proxy.black_hole()
            one.sendall(b"c")
            with pytest.raises(TimeoutError):
                one.recv(10)
            proxy.resume()
            assert one.recv(10) == b"c"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                one.recv(10)
        with pytest.raises(ConnectionResetError):
            sent_back(proxy, b"d")
        proxy.resume()
        assert sent_back(proxy, b"e") == b"e"
        assert proxy.accepted == 3

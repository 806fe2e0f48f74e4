"""Connecting, and calls that are safe."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from connector.errors import AuthError, ConfigError, ConnectorError, Locked, Transient
from connector.milvus.client import Connection, connect, parse_version
from connector.milvus.settings import MilvusSettings
from tests.milvus.tiers import LITE_ONLY

OPEN = """
from connector.errors import ConnectorError
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
import sys
try:
    connect(MilvusSettings(uri=sys.argv[1])).close()
    print("open")
except ConnectorError as error:
    print(type(error).__name__, error.exit_code, error)
"""


def elsewhere(path: str) -> str:
    """What another process sees that opens the same file."""
    return subprocess.run([sys.executable, "-c", OPEN, path], capture_output=True, text=True, check=True).stdout.strip()


class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """A grpc server that answers every request with one status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        self.status = status

    def service(self, _: Any) -> Any:
        """The handler for any method."""

        def refuse(_: bytes, context: Any) -> bytes:
            context.abort(self.status, "no")
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def serve() -> Iterator[Callable[[grpc.StatusCode], str]]:
    """Starts grpc servers that refuse everything; gives their address."""
    servers = []

    def start(status: grpc.StatusCode) -> str:
        server = grpc.server(ThreadPoolExecutor(2), handlers=(Refusing(status),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


def failure(uri: str, **options: Any) -> tuple[ConnectorError, float]:
    """The error of connecting there, and after how many seconds."""
    started = time.monotonic()
    with pytest.raises(ConnectorError) as caught:
        connect(MilvusSettings(uri=uri, **options))
    return caught.value, time.monotonic() - started


@pytest.mark.parametrize(
    ("text", "kind", "version"),
    [
        ("milvus_lite-3.2.2", "lite", (3, 2, 2)),
        ("v2.3.5-lite", "server", (2, 3, 5)),
        ("v2.6.11", "server", (2, 6, 11)),
        ("2.5.4-dev", "server", (2, 5, 4)),
        ("nightly", "server", (0, 0, 0)),
    ],
)
def test_versions(text: str, kind: str, version: tuple[int, int, int]) -> None:
    """Rule: an old server that calls itself "lite" is not Milvus Lite."""
    server = parse_version(text)
    assert (server.kind, server.version) == (kind, version)


@LITE_ONLY
def test_a_lite_file_is_released_when_the_last_connection_closes(settings: MilvusSettings) -> None:
    """Rule: another process can open the file as soon as the last of our connections is closed, and not before."""
    first, second = connect(settings), connect(settings)
    first.close()
    first.close()
    assert second.call("list", second.client.list_collections) == []
    assert elsewhere(settings.uri).startswith("Locked 5 ")
    second.close()
    assert elsewhere(settings.uri) == "open"


@LITE_ONLY
def test_a_second_process_is_told_who_is_in_the_way(connection: Connection) -> None:
    """Rule: "Open local milvus failed" is no message; another process having the file is."""
    told = elsewhere(connection.settings.uri)
    assert "another process has this Milvus Lite file open" in told
    assert Locked.exit_code == 5


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Rule: a file in a folder that does not exist is the user's mistake, told by its path."""
    error, _ = failure(str(tmp_path / "no" / "x.db"))
    assert isinstance(error, ConfigError)
    assert str(tmp_path / "no") in error.message


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Rule: a path that cannot be a database is a configuration error, not a bug."""
    (tmp_path / "x.db").write_text("not a folder")
    error, _ = failure(str(tmp_path / "x.db"))
    assert isinstance(error, ConfigError)


def test_a_wrong_host_is_told_quickly(caplog: pytest.LogCaptureFixture) -> None:
    """Rule: nobody waits five minutes to learn that the port is wrong."""
    error, seconds = failure("http://127.0.0.1:1", retry_deadline=1)
    assert isinstance(error, Transient)
    assert "nobody listens" in str(error)
    assert seconds < 8
    assert not [record for record in caplog.records if record.name.startswith("pymilvus")]


def test_a_wrong_password_is_not_a_server_that_is_down(serve: Callable[[grpc.StatusCode], str]) -> None:
    """Rule: wrong credentials are told at once and never tried again; pymilvus reports both alike."""
    error, seconds = failure(f"http://{serve(grpc.StatusCode.UNAUTHENTICATED)}", token="root:Geheim1")  # noqa: S106 - not a real one
    assert isinstance(error, AuthError)
    assert seconds < 3
    assert "Geheim1" not in str(error)


def test_tls_to_a_plain_port_is_the_wrong_scheme(serve: Callable[[grpc.StatusCode], str]) -> None:
    """Rule: https where there is no TLS says so, instead of "not reachable"."""
    error, _ = failure(f"https://{serve(grpc.StatusCode.INTERNAL)}")
    assert isinstance(error, ConfigError)
    assert "http://" in error.hint


def test_an_http_port_is_not_the_grpc_port() -> None:
    """Rule: the health port (9091) is the usual mistake and gets its own message."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        error, _ = failure(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert isinstance(error, ConfigError)
    assert "19530" in error.hint


def test_something_else_than_milvus_is_told(serve: Callable[[grpc.StatusCode], str]) -> None:
    """Rule: a grpc server that is no Milvus is a configuration error."""
    error, _ = failure(f"http://{serve(grpc.StatusCode.UNIMPLEMENTED)}")
    assert isinstance(error, ConfigError)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    """Rule: a wrong path in the settings is told by the path."""
    error, _ = failure("https://127.0.0.1:1", server_pem_path=str(tmp_path / "ca.pem"))
    assert isinstance(error, ConfigError)
    assert "ca.pem" in error.message


def test_a_missing_database_is_told_when_connecting(settings: MilvusSettings) -> None:
    """Rule: a wrong database name stops before any work is done, and leaves no lock."""
    error, _ = failure(settings.uri, token=settings.token, database="nowhere")
    assert isinstance(error, ConfigError)
    assert "nowhere" in error.message
    if settings.lite:
        assert elsewhere(settings.uri) == "open"


def test_a_database_keeps_its_collections_apart(settings: MilvusSettings, connection: Connection) -> None:
    """Rule: `database` is where collections are looked for and made."""
    name = f"other{uuid.uuid4().hex}"
    connection.call("create", connection.client.create_database, name)
    with connect(settings.model_copy(update={"database": name})) as other:
        other.call("create", other.client.create_collection, "c", dimension=2)
        assert other.call("list", other.client.list_collections) == ["c"]
        other.call("drop", other.client.drop_collection, "c")
    assert connection.call("list", connection.client.list_collections) == []
    connection.call("drop", connection.client.drop_database, name)


@LITE_ONLY
def test_what_may_pass_is_tried_again(connection: Connection) -> None:
    """Rule: a transient failure is not the end of a run, and every call has a timeout."""
    seen: list[float] = []

    class Unavailable(grpc.RpcError):  # type: ignore[misc]  # grpc ships no types
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "Socket closed"

    def flaky(timeout: float) -> str:
        seen.append(timeout)
        if len(seen) < 3:
            raise Unavailable
        return "done"

    assert connection.call("flaky", flaky) == "done"
    assert seen == [30.0, 30.0, 30.0]


@LITE_ONLY
def test_calls_on_one_lite_file_are_never_at_the_same_time(settings: MilvusSettings, connection: Connection) -> None:
    """Rule: one writer at a time; concurrent writes corrupt the log of Milvus Lite unseen."""
    busy = threading.Lock()

    def alone(timeout: float) -> bool:
        with_me = busy.acquire(blocking=False)
        time.sleep(0.01)
        if with_me:
            busy.release()
        return with_me

    with connect(settings) as other, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(one.call, "alone", alone) for one in (connection, other) * 5]
        assert all(call.result() for call in calls)


def test_a_dotenv_file_is_not_loaded(tmp_path: Path) -> None:
    """Rule: importing a library must not change our environment from a file that lies around."""
    (tmp_path / ".env").write_text("HTTPS_PROXY=http://evil\n")
    code = OPEN + "\nimport os; print(os.environ.get('HTTPS_PROXY'))"
    env = {name: value for name, value in os.environ.items() if name.upper() != "HTTPS_PROXY"}
    command = [sys.executable, "-c", code, str(tmp_path / "x.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
    assert done.stdout.split() == ["open", "None"]


@LITE_ONLY
def test_pymilvus_does_not_log(connection: Connection) -> None:
    """Rule: we report an error once, in our words; a traceback of pymilvus may hold a token."""
    assert connection.server.lite
    assert not logging.getLogger("pymilvus.decorators").isEnabledFor(logging.ERROR)

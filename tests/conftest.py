"""What every test shares: no network, no caches of the person who runs them, and one real Milvus server for all that want it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.milvus.settings import MilvusSettings
from connector.testing.server_files import unsupported

OWN_CACHE = Path(os.environ.get("CONNECTOR_CACHE") or Path.home() / ".cache" / "connector")
"""Of the person who runs the tests, before a test gets one of its own."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says when the tests on a real server were left out."""
    if reason := unsupported():
        terminalreporter.write_line(f"the tests on a real server were not run: {reason}")


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test finds its own working folder and cache, and no hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("MILVUS_URI", "MILVUS_TOKEN", "CONNECTOR_FAILPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def milvus_program() -> Path:
    """The server's program, unpacked once into the cache of the person who runs the tests."""
    from connector.testing.server_files import unpack

    return unpack(OWN_CACHE)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str, milvus_program: Path) -> Iterator[MilvusSettings]:
    """A Milvus server with authorization on, one for all workers; root's credentials."""
    from connector.testing.shared_server import shared_server

    base = tmp_path_factory.getbasetemp()
    with shared_server((base if worker_id == "master" else base.parent) / "milvus", program=milvus_program) as settings:
        yield settings


@pytest.fixture
def database(shared: MilvusSettings) -> Iterator[MilvusSettings]:
    """A database of the test's own on the shared server; dropped afterwards."""
    from connector.milvus.catalog import Catalog
    from connector.milvus.client import connect

    name = f"t{uuid.uuid4().hex}"
    settings = shared.model_copy(update={"database": name, "retry_deadline": 60.0})
    with connect(shared) as connection:
        connection.call("create", connection.client.create_database, name)
        yield settings
        with connect(settings) as own:
            for collection in own.call("list", own.client.list_collections):
                Catalog(own).drop(collection)
        connection.call("drop", connection.client.drop_database, name)

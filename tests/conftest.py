"""What every test shares: no network, no caches of the person who runs them, one real Milvus server, and no secret anywhere."""

from __future__ import annotations

import functools
import os
import sys
import uuid
from collections.abc import Generator, Iterator
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

import pytest
import typer.main

from connector import registry
from connector.milvus.settings import MilvusSettings
from connector.observe import masking
from connector.testing.server_files import unsupported
from tests.secrets import left_in, shown

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch's threads wait without turning: several tests share the cores

OWN_CACHE = Path(os.environ.get("CONNECTOR_CACHE") or Path.home() / ".cache" / "connector")
"""Of the person who runs the tests, before a test gets one of its own."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says when the tests on a real server were left out."""
    if reason := unsupported():
        terminalreporter.write_line(f"the tests on a real server were not run: {reason}")


@pytest.fixture(autouse=True)
def _own_world(_no_secret_in_files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test finds its own working folder and cache, no hub, and no secret of another test to be masked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(masking, "_KNOWN", set(masking._KNOWN))
    monkeypatch.setenv("CONNECTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("MILVUS_URI", "MILVUS_TOKEN", "CONNECTOR_FAILPOINT"):
        monkeypatch.delenv(name, raising=False)


@functools.cache
def _registered(group: str, _path: tuple[str, ...]) -> EntryPoints:
    return entry_points(group=group)


_command = functools.cache(typer.main.get_command)


@pytest.fixture(autouse=True)
def _looked_up_once(_no_secret_in_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all packages register, and the command line made of its functions, are worked out once a process, not at every command."""
    monkeypatch.setattr(registry, "entry_points", lambda *, group: _registered(group, tuple(sys.path)))
    monkeypatch.setattr("typer.testing._get_command", _command)


@pytest.fixture(autouse=True)
def _no_secret_in_files(tmp_path: Path) -> Iterator[None]:
    """What a test leaves in its folder holds no secret, whatever the test is about; looked at once its patches are gone."""
    yield
    assert left_in(tmp_path) == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails any test whose captured output or log shows a secret."""
    report = yield
    leaks = [f"{name} shows {mark}" for name, content in report.sections for mark in shown(content)]
    if leaks and report.passed:
        report.outcome, report.longrepr = "failed", "; ".join(leaks)
    return report


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

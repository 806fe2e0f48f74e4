"""The server for tests: it comes up, goes away completely, and says what was wrong."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.errors import ConfigError, MissingExtra, SinkError
from connector.milvus.client import connect
from connector.testing.server import _RUN_FOLDERS, MilvusServer
from connector.testing.server_files import free_ports, unpack, unsupported
from connector.testing.shared_server import _kept, shared_server

HERE = pytest.mark.skipif(bool(unsupported()), reason=unsupported())
STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from connector.testing.server import MilvusServer
print(MilvusServer(Path(sys.argv[1]), program=Path(sys.argv[2])).start().pid, flush=True)
time.sleep(600)
"""
SHARES_AND_WAITS = """
import sys
from pathlib import Path
from connector.testing.shared_server import _kept, shared_server
with shared_server(Path(sys.argv[1]), program=Path(sys.argv[2])) as settings:
    print(settings.uri, flush=True)
    sys.stdin.read()
"""


def alive(pid: int) -> bool:
    """Whether there is such a process that still does something."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def soon(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it comes true within that time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def start(code: str, *words: object) -> subprocess.Popen[str]:
    """A Python process that runs this code."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and nothing of it is left open."""
    process.kill()
    process.communicate()


@HERE
def test_it_starts_restarts_and_leaves_nothing(tmp_path: Path, milvus_program: Path) -> None:
    """Rule: after `stop` there is no process, no folder and no lock file; until then the address stays the same."""
    with MilvusServer(tmp_path / "one", authorization=True, program=milvus_program) as server:
        uri, first = server.uri, server.pid
        assert (server.settings().uri, server.token) == (uri, "root:Milvus")
        server.restart()
        assert server.uri == uri
        assert not alive(first)
        last = server.pid
    assert not alive(last)
    assert not server.folder.exists()
    assert [path for folder in _RUN_FOLDERS for path in Path(folder).glob("*") if server._alias in path.name] == []
    server.stop()
    with pytest.raises(SinkError, match="does not run"):
        server.freeze()


@HERE
def test_it_dies_with_who_started_it(tmp_path: Path, milvus_program: Path) -> None:
    """Rule: no orphan, not even when the tests are killed with SIGKILL."""
    parent = start(STARTS_AND_WAITS, tmp_path / "one", milvus_program)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    end(parent)
    assert soon(lambda: not alive(pid))


@HERE
def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path, milvus_program: Path) -> None:
    """Rule: why it did not come up is in the error, and the wait ends with the process, not with the time."""
    broken = MilvusServer(tmp_path / "one", program=milvus_program, changes={"mq": {"type": "nonsense"}})
    begun = time.monotonic()
    with pytest.raises(SinkError, match="its log ends with"):
        broken.start(seconds=20)
    broken.stop()
    assert time.monotonic() - begun < 90


@HERE
def test_a_shared_server_ends_with_its_last_user(tmp_path: Path, milvus_program: Path) -> None:
    """Rule: two processes use one server; it outlives the first, however that ends, and goes with the last."""
    users = [start(SHARES_AND_WAITS, tmp_path, milvus_program) for _ in range(2)]
    uris = {user.stdout.readline() for user in users if user.stdout}
    assert len(uris) == 1
    end(users[0])
    with shared_server(tmp_path, program=milvus_program) as settings:
        assert f"{settings.uri}\n" in uris
        end(users[1])
    assert soon(lambda: not list(tmp_path.glob("server-*")) and not (tmp_path / "address.json").exists())


@HERE
def test_a_keeper_that_was_killed_is_replaced(tmp_path: Path, milvus_program: Path) -> None:
    """Rule: an address that is left over from a killed keeper is not taken for a server."""
    with shared_server(tmp_path, program=milvus_program):
        [folder] = tmp_path.glob("server-*")
        os.kill(int(folder.name.removeprefix("server-")), signal.SIGKILL)
        assert soon(lambda: not _kept(tmp_path))
        with shared_server(tmp_path, program=milvus_program) as other, connect(other) as connection:
            assert connection.server.kind == "server"
            assert (tmp_path / "address.json").exists()


def test_where_there_is_none_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: another platform, or a package that is not installed, is a sentence, not a traceback."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "riscv64" in unsupported()
    with pytest.raises(ConfigError, match="riscv64"):
        unpack()


@HERE
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: what to install is in the message."""

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(MissingExtra, match="pip install"):
        unpack(tmp_path)


@HERE
def test_ports_are_free_and_different() -> None:
    """Rule: no listener shares a port, and none lies where outgoing connections take theirs."""
    ports = free_ports()
    assert len(set(ports.values())) == len(ports)
    assert max(ports.values()) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

"""Workshops on the real server; where there is none, these tests are left out and the summary says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from connector.milvus.settings import MilvusSettings
from connector.testing.server import MilvusServer
from connector.testing.server_files import unsupported
from tests.faults.workshop import Workshop, committed, wait_until

if unsupported():
    collect_ignore_glob = ["test_*.py"]

SECRET = "Geheim1Geheim1"  # noqa: S105 - of a user of these tests
LINES = 7_000
"""Of one document each four: more than three windows of 2,048 rows."""

Servers = Callable[..., MilvusServer]
Shops = Callable[..., Workshop]


def workshop(folder: Path, settings: MilvusSettings, **options: Any) -> Workshop:
    """A workshop whose job writes there; `delay` is the encoder's, other options are keys of the `milvus:` block."""
    delay = options.pop("delay", 0.0)
    token = {"token": settings.token.get_secret_value()} if settings.token else {}
    database = {"database": settings.database} if settings.database else {}
    return Workshop(folder, uri=settings.uri, milvus={**token, **database, **options}, delay=delay)


def refused(shop: Workshop, code: int, words: str) -> str:
    """The run ends with that code, says those words to people and in its JSON, and shows no secret; gives what it said to people."""
    shop.write("note", 1)
    done = shop.run()
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stderr
    assert words in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def fill(shop: Workshop) -> None:
    """Documents for several windows."""
    for number in range(LINES // 4):
        shop.write(f"note{number:04}", 4)


def during(shop: Workshop, act: Callable[[], None], seconds: float = 200.0) -> tuple[int, str]:
    """Runs the job of a filled shop, acts in the middle, when its first window is committed; gives exit code and messages."""
    process = shop.start()
    try:
        wait_until(lambda: committed(shop) > 0 or process.poll() is not None, 180)
        assert 0 < committed(shop) < LINES // 4, "" if process.poll() is None else process.communicate()
        act()
        _, told = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, told


@pytest.fixture
def shop(tmp_path: Path, database: MilvusSettings) -> Workshop:
    """A workshop in a database of its own on the shared server."""
    return workshop(tmp_path, database)


@pytest.fixture
def servers(tmp_path: Path, milvus_program: Path) -> Iterator[Servers]:
    """Starts servers of the test's own, which it may kill; takes them away afterwards."""
    with ExitStack() as stack:

        def start(**changes: Any) -> MilvusServer:
            return stack.enter_context(MilvusServer(tmp_path / "milvus", program=milvus_program, authorization=True, changes=changes))

        yield start


@pytest.fixture
def shop_on(tmp_path: Path) -> Shops:
    """Makes the workshop on a server of the test's own."""

    def make(server: MilvusServer, **options: Any) -> Workshop:
        return workshop(tmp_path, server.settings(), **options)

    return make

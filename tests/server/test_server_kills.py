"""The server is killed with SIGKILL at random moments of a run, and started again: the run, or the same command again, converges."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from connector.milvus.client import connect
from connector.testing.server import MilvusServer
from tests.faults.workshop import Workshop
from tests.server.conftest import workshop

KILLS = max(3, int(os.environ.get("CONNECTOR_RANDOM_KILLS", "0")) // 4)
"""A death of the server costs half a minute, so there is one for every four of ours."""

DOCUMENTS = 1_500
LINES = 4


@dataclass
class Place:
    """A server, and how long a run on it takes that nobody disturbs."""

    server: MilvusServer
    whole: float = 0.0

    def shop(self, folder: Path) -> Workshop:
        """A workshop in a new database, with documents for three windows and more."""
        settings = self.server.settings(database=f"t{uuid.uuid4().hex}", retry_deadline=120)
        with connect(self.server.settings()) as connection:
            connection.call("create", connection.client.create_database, settings.database)
        folder.mkdir(exist_ok=True)
        made = workshop(folder, settings, delay=0.0005, retry_deadline=120, timeout=10)
        for number in range(DOCUMENTS):
            made.write(f"note{number:04}", LINES)
        return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, milvus_program: Path) -> Iterator[Place]:
    """The server of this module, and one undisturbed run to know how long it takes."""
    with MilvusServer(tmp_path_factory.mktemp("server") / "milvus", authorization=True, program=milvus_program) as server:
        found = Place(server)
        shop = found.shop(tmp_path_factory.mktemp("whole"))
        begun = time.monotonic()
        shop.expect_ok()
        found.whole = time.monotonic() - begun
        yield found


@pytest.mark.parametrize("seed", range(KILLS))
def test_the_server_is_killed_at_a_random_moment(place: Place, tmp_path: Path, seed: int) -> None:
    """In a first run, or in an update that changes, shrinks, adds and deletes: exit 0, or 4 and the next run finishes; nothing is lost."""
    dice = random.Random(f"server {seed}")  # noqa: S311 - to be repeated, not secret
    shop = place.shop(tmp_path / "shop")
    kind = "update" if seed % 2 else "first run"
    if kind == "update":
        shop.expect_ok()
        change(shop)
    moment, away = dice.uniform(0.2, 1.0), dice.uniform(0.0, 4.0)
    process = shop.start()
    try:
        time.sleep(moment * place.whole)
        place.server.kill()
        time.sleep(away)
        place.server.restart()
        _, told = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode in {0, 4}, told
    if process.returncode:
        shop.expect_ok()
    assert shop.converged(f"server: SIGKILL at {moment:.0%} of a {kind}, back after {away:.1f} s, exit {process.returncode}")
    report = shop.expect_ok()
    assert (report["encoded"], report["counts"]["unchanged"]) == (0, report["counts"]["listed"])


def change(shop: Workshop) -> None:
    """Every third document is changed, shrunk or new, and twenty vanish."""
    for number in range(0, DOCUMENTS, 3):
        shop.write(f"note{number:04}", [f"changed {number}"] * (1 + number % 2) if number % 2 else 1 + number % 7)
        shop.write(f"new{number:04}", 2)
    for number in range(1, 60, 3):
        shop.remove(f"note{number:04}")

"""The server dies, freezes or loses the collection during a run: the run waits or ends in order; nothing is lost or doubled."""

from __future__ import annotations

import time
from pathlib import Path

from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.faults.workshop import committed
from tests.server.conftest import LINES, Servers, Shops, during, fill, workshop


def test_the_server_is_killed_and_comes_back(servers: Servers, shop_on: Shops) -> None:
    """A run outlives the server's death: it pauses, goes on when the server is back, and exits 0."""
    server = servers()
    shop = shop_on(server, delay=0.002, retry_deadline=120, timeout=10)
    fill(shop)

    def outage() -> None:
        server.kill()
        time.sleep(5)
        server.restart()

    code, told = during(shop, outage)
    assert code == 0, told
    assert "trying again" in told
    assert shop.converged("server: SIGKILL in the middle of a run, back after 5 s")


def test_the_server_stays_away(servers: Servers, shop_on: Shops) -> None:
    """A server that is down longer than the deadline: exit 4, and the next run finishes what this one began."""
    server = servers()
    shop = shop_on(server, delay=0.002, retry_deadline=3, timeout=3)
    fill(shop)
    code, told = during(shop, server.kill)
    assert code == 4, told
    assert 0 < committed(shop) < LINES // 4
    server.restart()
    shop.configure(retry_deadline=120, timeout=10)
    report = shop.expect_ok()
    assert report["encoded"] < LINES
    assert shop.converged("server: SIGKILL, away longer than the deadline, run again")


def test_the_server_freezes(servers: Servers, shop_on: Shops) -> None:
    """A server that does not answer for ten seconds costs time-outs, which are tried again, and nothing else."""
    server = servers()
    shop = shop_on(server, delay=0.002, retry_deadline=120, timeout=3)
    fill(shop)

    def freeze() -> None:
        server.freeze()
        time.sleep(10)
        server.thaw()

    code, told = during(shop, freeze)
    assert code == 0, told
    assert "no answer in time" in told
    assert shop.converged("server: frozen for 10 s in the middle of a run")


def test_the_collection_is_dropped_during_a_run(tmp_path: Path, database: MilvusSettings) -> None:
    """A collection that vanishes under a run is an error that names it, never a quiet success; the next run fills it again."""
    shop = workshop(tmp_path, database, delay=0.002)
    fill(shop)

    def drop() -> None:
        with connect(database) as connection:
            Catalog(connection).drop("notes__g1")

    code, told = during(shop, drop)
    assert code == 2, told
    assert "notes__g1" in told
    shop.expect_ok()
    assert shop.converged("server: collection dropped in the middle of a run, run again")

"""The way to the real server is swallowed, cut and slow, and the password changes, all while a run is under way."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector.errors import AuthError
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.testing.proxy import TcpProxy
from tests.faults.workshop import wait_until
from tests.server.conftest import LINES, during, fill, workshop


def hole(proxy: TcpProxy) -> None:
    """No byte passes for eight seconds."""
    proxy.black_hole()
    time.sleep(8)
    proxy.resume()


def cut(proxy: TcpProxy) -> None:
    """Every connection breaks, and cannot be made again for three seconds."""
    proxy.cut()
    time.sleep(3)
    proxy.resume()


def slow(proxy: TcpProxy) -> None:
    """Every piece takes its time from now on."""
    proxy.delay = 0.05


@pytest.mark.parametrize("fault", [hole, cut, slow] if os.environ.get("CONNECTOR_ALL_FAILPOINTS") else [hole])
def test_the_way_to_the_server(tmp_path: Path, database: MilvusSettings, fault: Callable[[TcpProxy], None]) -> None:
    """The run outlives it and ends well; what was under way is sent again, and nothing is lost or doubled."""
    with TcpProxy(database.uri) as proxy:
        shop = workshop(tmp_path, database.model_copy(update={"uri": proxy.uri}), delay=0.001, timeout=3, retry_deadline=90)
        fill(shop)
        code, told = during(shop, lambda: fault(proxy))
        assert code == 0, told
        assert "trying again" in told or fault is not hole
        assert shop.converged(f"server: {fault.__name__}, in the middle of a run")


def allowed(settings: MilvusSettings) -> bool:
    """Whether a new administrator may make a collection: the role takes a moment longer to get around than the user."""
    try:
        with connect(settings) as connection:
            connection.call("make", connection.client.create_collection, "allowed", dimension=2)
            connection.call("drop", connection.client.drop_collection, "allowed")
    except AuthError:
        return False
    return True


def test_the_password_changes(tmp_path: Path, database: MilvusSettings, shared: MilvusSettings) -> None:
    """Exit 7 at once and in order; with the new password the same command finishes what this run began."""
    user, old, new = f"u{uuid.uuid4().hex[:20]}", "Geheim1Geheim1", "Geheim2Geheim2"
    with connect(shared) as root:
        root.call("create user", root.client.create_user, user, old)
        root.call("grant", root.client.grant_role, user, "admin")
        shop = workshop(tmp_path, database, delay=0.001)
        shop.configure(token=f"{user}:{old}")
        wait_until(lambda: allowed(database.model_copy(update={"token": SecretStr(f"{user}:{old}")})), 60)
        fill(shop)
        code, told = during(shop, lambda: root.call("change", root.client.update_password, user, old, new))
        assert code == 7, told
        assert "wrong user, password or token" in told
        assert old not in told
        shop.configure(token=f"{user}:{new}")
        report = shop.expect_ok()
        assert 0 < report["encoded"] < LINES
        assert shop.converged("server: password changed in the middle of a run")
        root.call("drop user", root.client.drop_user, user)

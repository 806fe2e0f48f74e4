"""The kill tests on a real server: killed with SIGKILL at failpoints, and run again, the collection equals a clean run's."""

from __future__ import annotations

import os
import signal

import pytest

from connector import faults
from tests.faults.workshop import Workshop, change, history

ALL = bool(os.environ.get("CONNECTOR_ALL_FAILPOINTS"))
FIRST_RUN = [point for point in faults.POINTS if point != "sweep.deleted"] if ALL else ["apply.created", "ledger.begun", "sink.sent"]
SOME_OF_AN_UPDATE = ["sink.acknowledged", "stale.deleted", "ledger.completed", "sweep.deleted"]
UPDATE = [point for point in faults.POINTS if not point.startswith("apply.")] if ALL else SOME_OF_AN_UPDATE


@pytest.mark.parametrize("point", FIRST_RUN)
def test_killed_in_the_first_run(shop: Workshop, point: str) -> None:
    """Wherever the first run dies, the same command again brings the collection to the source's state."""
    history(shop)
    assert shop.run(f"{point}:1:kill").returncode == -signal.SIGKILL
    shop.expect_ok()
    assert shop.converged(f"server: first run, SIGKILL at {point}")


@pytest.mark.parametrize("point", UPDATE)
def test_killed_in_an_update(shop: Workshop, point: str) -> None:
    """Changed, new, shrunk and deleted documents: wherever the update dies, the next run converges, and one more encodes nothing."""
    history(shop)
    shop.expect_ok()
    change(shop)
    assert shop.run(f"{point}:1:kill").returncode == -signal.SIGKILL
    shop.expect_ok()
    assert shop.converged(f"server: update, SIGKILL at {point}")
    report = shop.expect_ok()
    assert (report["encoded"], report["counts"]["unchanged"]) == (0, report["counts"]["listed"])

"""Killed with SIGKILL at failpoints and at random moments, and run again: the collection equals a clean run's.

`make faults` goes through every failpoint; the suite through those between which something else is left behind.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from connector import faults
from connector.testing.faulty_milvus import FaultyMilvus
from connector.testing.milvus_faults import lost_answer
from tests.faults.workshop import Workshop, change, history, wait_until, writing

ALL = bool(os.environ.get("CONNECTOR_ALL_FAILPOINTS"))
FIRST_RUN = [point for point in faults.POINTS if point != "sweep.deleted"]
LATER_RUN = [point for point in faults.POINTS if not point.startswith("apply.")]
if not ALL:
    FIRST_RUN = ["apply.created", "apply.indexed", "sink.acknowledged"]
    LATER_RUN = ["ledger.begun", "sink.acknowledged", "stale.deleted", "ledger.completed", "sweep.deleted", "run.finished"]
RANDOM_KILLS = int(os.environ.get("CONNECTOR_RANDOM_KILLS", "3"))


@pytest.mark.parametrize("point", FIRST_RUN)
def test_killed_in_the_first_run(tmp_path: Path, point: str) -> None:
    """Wherever the first run dies, the same command again brings the collection to the source's state; a third one encodes nothing."""
    shop = Workshop(tmp_path)
    history(shop)
    assert shop.run(f"{point}:1:kill").returncode == -signal.SIGKILL
    shop.expect_ok()
    assert shop.converged(f"first run, SIGKILL at {point}")
    report = shop.expect_ok()
    assert report["encoded"] == 0
    assert report["counts"]["unchanged"] == report["counts"]["listed"]


@pytest.mark.parametrize("point", LATER_RUN)
def test_killed_in_an_update(tmp_path: Path, point: str) -> None:
    """Changed, new, shrunk and deleted documents: wherever the update dies, the next run converges."""
    shop = Workshop(tmp_path)
    history(shop)
    shop.expect_ok()
    change(shop)
    assert shop.run(f"{point}:1:kill").returncode == -signal.SIGKILL
    shop.expect_ok()
    assert shop.converged(f"update, SIGKILL at {point}")


@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Killed three times in a row at any moment of an update, whose length a twin of the job tells, then run to its end."""
    shops = []
    for name in ("twin", "killed"):
        (tmp_path / name).mkdir()
        shops.append(Workshop(tmp_path / name))
        history(shops[-1])
        shops[-1].expect_ok()
        change(shops[-1])
    twin, shop = shops
    begun = time.monotonic()
    twin.expect_ok()
    whole = time.monotonic() - begun
    moments = [random.Random(f"{seed} {attempt}").uniform(0.3, 1.0) for attempt in range(3)]  # noqa: S311 - to be repeated, not secret
    for moment in moments:
        process = shop.start()
        time.sleep(moment * whole)
        process.kill()
        process.communicate()
    shop.expect_ok()
    assert shop.converged(f"update, SIGKILL after {', '.join(f'{moment:.0%}' for moment in moments)} of its time")


def test_acknowledged_then_killed_then_deleted(tmp_path: Path) -> None:
    """Rows whose document vanished between the acknowledgement and the commit are known by the intent, and swept."""
    shop = Workshop(tmp_path)
    history(shop)
    shop.expect_ok()
    shop.write("gone", 5)
    assert shop.run("sink.acknowledged:1:kill").returncode == -signal.SIGKILL
    assert shop.compare()["missing"] == 0
    shop.remove("gone")
    assert shop.compare()["foreign"] == 5
    shop.expect_ok()
    assert shop.converged("acknowledged, killed, then the file deleted")


def test_three_rows_then_a_hundred_killed_then_one(tmp_path: Path) -> None:
    """The intent remembers the most rows that a document may have."""
    shop = Workshop(tmp_path)
    shop.write("a", 3)
    shop.expect_ok()
    shop.write("a", 100)
    assert shop.run("sink.acknowledged:1:kill").returncode == -signal.SIGKILL
    shop.write("a", 1)
    shop.expect_ok()
    assert shop.converged("3 rows, then 100 (killed), then 1")


def test_content_that_flips_back(tmp_path: Path) -> None:
    """A, then B (killed after the acknowledgement), then A again: the collection holds A."""
    shop = Workshop(tmp_path)
    shop.write("a", ["state A"])
    shop.expect_ok()
    shop.write("a", ["state B"])
    assert shop.run("sink.acknowledged:1:kill").returncode == -signal.SIGKILL
    shop.write("a", ["state A"])
    shop.expect_ok()
    assert shop.converged("A, then B (killed), then A")


def test_second_run_at_once_is_locked_out(tmp_path: Path) -> None:
    """Two runs at once: the second exits 5 and names the holder; the first is not disturbed."""
    shop = Workshop(tmp_path)
    history(shop)
    first = shop.start("ledger.begun:1:sleep=6")
    wait_until(lambda: writing(shop))
    second = shop.run()
    assert second.returncode == 5, second.stdout + second.stderr
    assert f"pid {first.pid}" in second.stderr
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert shop.converged("two runs at once")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: what was acknowledged is committed, the exit code says which signal, the next run finishes."""
    shop = Workshop(tmp_path)
    history(shop)
    process = shop.start("sink.acknowledged:1:sleep=4")
    wait_until(lambda: writing(shop))
    time.sleep(1.0)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert '"upserted": 0' not in output
    assert not writing(shop)
    shop.expect_ok()
    assert shop.converged(f"{number.name} while a window is written")


def test_signal_while_milvus_is_away_does_not_wait_for_it(tmp_path: Path) -> None:
    """Nothing is tried again once a run is asked to end; what became of the last window is unknown, so its intent stands."""
    with FaultyMilvus(tmp_path / "lite.db") as milvus:
        milvus.faults = [lost_answer(None, method="Upsert")]
        shop = Workshop(tmp_path, uri=milvus.uri, milvus={"retry_deadline": 600, "timeout": 10})
        history(shop)
        process = shop.start()
        try:
            wait_until(lambda: len(milvus.of("Upsert")) > 1, 120)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=120)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 128 + signal.SIGTERM, told
        assert writing(shop)
        milvus.faults = []
        shop.remove("note3")  # its rows are in Milvus, and only the intent knows it
        shop.expect_ok()
        assert shop.converged("SIGTERM while Milvus is away")


def test_signal_while_encoding_ends_at_once(tmp_path: Path) -> None:
    """A signal does not wait for the rest of the window that is being encoded."""
    shop = Workshop(tmp_path)
    history(shop)
    schema = shop.folder / "notes_schema.py"
    schema.write_text(schema.read_text().replace('encoder="fake:fake"', 'encoder="fake:fake", delay=0.2'))
    process = shop.start()
    wait_until((shop.folder / "state.db.holder").exists)
    time.sleep(3.0)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - begun < 8

"""Killed with SIGKILL at every failpoint and run again: the collection equals a clean run's."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from connector import faults
from tests.faults.workshop import NOTHING_WRONG, Workshop

FIRST_RUN = [point for point in faults.POINTS if point not in {"sweep.deleted"}]


def history(shop: Workshop) -> None:
    """A first state of the folder, with documents of no, one and many lines."""
    for number in range(12):
        shop.write(f"note{number}", number % 5)
    shop.write("long", 60)


@pytest.mark.parametrize("point", FIRST_RUN)
def test_killed_in_the_first_run(tmp_path: Path, point: str) -> None:
    """Wherever the first run dies, the same command again brings the collection to the source's state."""
    shop = Workshop(tmp_path)
    history(shop)
    assert shop.run(f"{point}:1:kill").returncode == -signal.SIGKILL, point
    shop.expect_ok()
    assert shop.compare() == NOTHING_WRONG
    report = shop.expect_ok()
    assert report["encoded"] == 0
    assert report["counts"]["unchanged"] == report["counts"]["listed"]


LATER_RUN = ["source.listed", "document.read", "window.encoded", "ledger.begun", "sink.sent", "sink.acknowledged", "stale.deleted"]
LATER_RUN += ["ledger.completed", "sweep.deleted", "run.finished"]


@pytest.mark.parametrize("point", LATER_RUN)
def test_killed_in_an_update(tmp_path: Path, point: str) -> None:
    """Changed, new, shrunk and deleted documents: wherever the update dies, the next run converges, and pays for nothing committed."""
    shop = Workshop(tmp_path)
    history(shop)
    shop.expect_ok()
    shop.write("long", 2)
    shop.write("note3", ["changed"])
    shop.write("new", 7)
    shop.remove("note4")
    assert shop.run(f"{point}:1:kill").returncode == -signal.SIGKILL, point
    shop.expect_ok()
    assert shop.compare() == NOTHING_WRONG


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
    assert shop.compare() == NOTHING_WRONG


def test_three_rows_then_a_hundred_killed_then_one(tmp_path: Path) -> None:
    """The intent remembers the most rows that a document may have."""
    shop = Workshop(tmp_path)
    shop.write("a", 3)
    shop.expect_ok()
    shop.write("a", 100)
    assert shop.run("sink.acknowledged:1:kill").returncode == -signal.SIGKILL
    shop.write("a", 1)
    shop.expect_ok()
    assert shop.compare() == NOTHING_WRONG


def test_content_that_flips_back(tmp_path: Path) -> None:
    """A, then B (killed after the acknowledgement), then A again: the collection holds A."""
    shop = Workshop(tmp_path)
    shop.write("a", ["state A"])
    shop.expect_ok()
    shop.write("a", ["state B"])
    assert shop.run("sink.acknowledged:1:kill").returncode == -signal.SIGKILL
    shop.write("a", ["state A"])
    shop.expect_ok()
    assert shop.compare() == NOTHING_WRONG


def test_second_run_at_once_is_locked_out(tmp_path: Path) -> None:
    """Two runs at once: the second exits 5 and names the holder; the first is not disturbed."""
    shop = Workshop(tmp_path)
    history(shop)
    shop.run("ledger.begun:1:kill")
    import subprocess
    import sys
    import os
    import time

    command = [sys.executable, "-c", "from connector.cli import main; main()", "run", "job.yaml", "--json"]
    first = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "CONNECTOR_FAILPOINT": "ledger.begun:1:sleep=8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    second = None
    for _ in range(40):
        time.sleep(0.25)
        second = shop.run()
        if second.returncode != 0:
            break
    assert second is not None
    assert second.returncode == 5, second.stdout + second.stderr
    assert f"pid {first.pid}" in second.stderr
    assert first.wait(60) == 0
    assert shop.compare() == NOTHING_WRONG


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: what was acknowledged is committed, the exit code says which signal, the next run finishes."""
    import os
    import subprocess
    import sys
    import time

    shop = Workshop(tmp_path)
    history(shop)
    command = [sys.executable, "-c", "from connector.cli import main; main()", "run", "job.yaml", "--json"]
    env = {**os.environ, "CONNECTOR_FAILPOINT": "sink.acknowledged:1:sleep=5"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ledger = tmp_path / "state.db"
    for _ in range(200):
        time.sleep(0.1)
        if ledger.exists() and _writing(ledger):
            break
    time.sleep(1.0)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert '"upserted": 0' not in output
    shop.expect_ok()
    assert shop.compare() == NOTHING_WRONG


def _writing(ledger: Path) -> bool:
    import sqlite3

    with sqlite3.connect(ledger) as db:
        try:
            return bool(db.execute("SELECT count(*) FROM document WHERE status = 'writing'").fetchone()[0])
        except sqlite3.OperationalError:
            return False

"""What happens to the ledger's file: a full disk, damage, loss, a clock that jumps; and to the ends of our output."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.errors import ConfigError, EncodeError
from connector.testing.encoders import FakeModel
from tests.faults.workshop import COMMAND, Workshop, change, history

YEARS = 10 * 365 * 86_400
PAST, FUTURE = time.time() - YEARS, time.time() + YEARS


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """With a first state of the folder."""
    made = Workshop(tmp_path)
    history(made)
    return made


def limited(shop: Workshop, nbytes: int) -> subprocess.CompletedProcess[str]:
    """A run that can write no file beyond that size, as on a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))

    return subprocess.run(COMMAND, cwd=shop.folder, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit)


def test_a_full_disk_ends_the_run_in_order(shop: Workshop) -> None:
    """No room for rows or ledger: exit 2 that says so, no traceback; with room again, the same command finishes."""
    shop.here()
    change(shop)
    shop.write("many", 400)
    room = max(path.stat().st_size for path in shop.folder.glob("state.db*")) + 4096
    done = limited(shop, room)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    shop.here()
    assert shop.converged("the disk was full")


def cut(path: Path) -> None:
    """The file ends in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """The file is there and holds nothing."""
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink], ids=["cut", "emptied", "lost"])
def test_a_damaged_ledger_is_rebuilt(shop: Workshop, damage: Callable[[Path], None]) -> None:
    """Whatever happened to the file, the next run rebuilds it from the rows, encodes nothing that is there, and mirrors as ever."""
    before = shop.here()
    for name in ("state.db-wal", "state.db-shm"):
        (shop.folder / name).unlink(missing_ok=True)
    damage(shop.folder / "state.db")
    report = shop.here()
    assert (report.encoded, report.counts.listed) == (0, before.counts.listed)
    change(shop)
    shop.here(allow_mass_delete=True)
    assert shop.converged(f"ledger {damage.__name__}")


def test_damage_inside_of_a_ledger_is_told(shop: Workshop) -> None:
    """Pages overwritten in the middle: no traceback but what to do, and what is then done converges."""
    before = shop.here()
    with sqlite3.connect(shop.folder / "state.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = shop.folder / "state.db"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match=r"damaged|cannot be read"):
        shop.here()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (shop.folder / name).unlink(missing_ok=True)
    report = shop.here()
    assert (report.encoded, report.counts.listed) == (0, before.counts.listed)
    assert shop.converged("pages overwritten")


def test_a_newer_ledger_is_refused(shop: Workshop) -> None:
    """A file of a newer release is left as it is: exit 2."""
    shop.here()
    with sqlite3.connect(shop.folder / "state.db") as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(ConfigError, match="newer connector"):
        shop.here()


def test_a_clock_that_jumps(shop: Workshop) -> None:
    """Files from ten years ahead, then from ten years ago, of equal size: nothing is decided by the order of times."""
    shop.here()
    for moment, text in ((FUTURE, "one"), (PAST, "two"), (PAST + 1, "six"), (FUTURE, "ten")):
        shop.write("note1", [text])
        os.utime(shop.folder / "notes" / "note1.txt", (moment, moment))
        assert shop.here().rows.upserted == 1
        assert shop.converged(f"a file of the year {time.gmtime(moment).tm_year}")


def test_nobody_reads_our_output(shop: Workshop) -> None:
    """A closed pipe at both ends loses the words, not the run."""
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run(COMMAND, cwd=shop.folder, stdout=writer, stderr=writer, timeout=120, check=False)
    os.close(writer)
    assert shop.converged("output closed")
    assert shop.here().counts.unchanged == 13


def test_a_model_that_fails_ends_the_run(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is lost is no fault of an input: nothing is rejected for it, and the next run finds what is left to do."""

    def lost(*_: object) -> None:
        raise EncodeError("CUDA error: device-side assert triggered", hint="run again")

    with monkeypatch.context() as broken:
        broken.setattr(FakeModel, "forward", lost)
        with pytest.raises(EncodeError, match="device-side assert"):
            shop.here()
    assert shop.here().counts.rejected == 0
    assert shop.converged("a model that fails")

"""Other programs at work are noticed, and this one is none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from connector.commands import crowd as module
from connector.commands.crowd import crowd


def test_other_programs_are_counted() -> None:
    """A program that spins is up to one core more."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            assert crowd(1.0) > 0.3
        finally:
            other.kill()


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Then it is the load average."""
    monkeypatch.setattr(module, "_STAT", tmp_path / "none")
    monkeypatch.setattr("os.getloadavg", lambda: (3.5, 0.0, 0.0))
    assert crowd() == 3.5


def test_only_what_is_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of three core-seconds that passed in one second one was ours."""
    stat, clock = tmp_path / "stat", {"wall": 0.0, "own": 0.0}
    monkeypatch.setattr(module, "_STAT", stat)
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    monkeypatch.setattr("time.perf_counter", lambda: clock["wall"])
    monkeypatch.setattr("time.process_time", lambda: clock["own"])
    stat.write_text("cpu 1000 0 0 5000 900 0 0 0 0 0\ncpu0 1 1\n")

    def sleep(seconds: float) -> None:
        clock.update(wall=seconds, own=1.0)
        stat.write_text("cpu 1200 0 50 5100 950 0 0 50 7 7\ncpu0 1 1\n")

    monkeypatch.setattr("time.sleep", sleep)
    assert crowd(1.0) == pytest.approx(2.0)

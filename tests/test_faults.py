"""Failpoints: silent unless asked, exact when asked, and all of them in the code."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import connector
from connector import faults
from connector.faults import ADOPT_POINTS, CHANGE_POINTS, POINTS, hit

ROOT = Path(connector.__file__).parent


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_hits", Counter())


def call_sites() -> list[str]:
    """The argument of every call of `hit` in the package."""
    found: list[str] = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "hit":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a failpoint's name must be a literal"
                found.append(str(node.args[0].value))
    return found


def test_points_are_the_call_sites() -> None:
    """Kill tests that go through the lists go through every place: none is missing, none is made up, none stands twice."""
    assert sorted(call_sites()) == sorted(POINTS + CHANGE_POINTS + ADOPT_POINTS)


def test_nothing_happens_without_the_environment() -> None:
    """In production a failpoint is a look at the environment, and counts nothing."""
    for point in POINTS:
        hit(point)
    assert not faults._hits


def test_fails_at_the_given_passage_of_the_given_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third passage of this point, not the second, not the fourth, not another point's."""
    monkeypatch.setenv("CONNECTOR_FAILPOINT", "sink.sent:3:raise")
    for _ in range(5):
        hit("sink.acknowledged")
    hit("sink.sent")
    hit("sink.sent")
    with pytest.raises(RuntimeError, match=r"sink\.sent"):
        hit("sink.sent")
    hit("sink.sent")


def test_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points are joined by commas, and each keeps its own count."""
    monkeypatch.setenv("CONNECTOR_FAILPOINT", "sink.sent:1:sleep=0.05,ledger.begun:2:raise")
    start = time.monotonic()
    hit("sink.sent")
    assert time.monotonic() - start >= 0.05
    hit("ledger.begun")
    with pytest.raises(RuntimeError):
        hit("ledger.begun")


def test_exactly_one_thread_meets_the_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    """`document.read` is passed in several threads: the hundredth passage exists once, and is not missed."""
    monkeypatch.setenv("CONNECTOR_FAILPOINT", "document.read:100:raise")
    failed: list[str] = []

    def work() -> None:
        for _ in range(50):
            try:
                hit("document.read")
            except RuntimeError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == ["failpoint document.read"]


def test_kill_kills() -> None:
    """SIGKILL: no handler, no `finally`, as a power cut would do it."""
    code = "from connector.faults import hit\ntry:\n    hit('run.finished')\nfinally:\n    print('cleaned up')"
    plan = {"CONNECTOR_FAILPOINT": "run.finished:1:kill"}
    done = subprocess.run([sys.executable, "-c", code], env=plan, capture_output=True, check=False)
    assert done.returncode == -9
    assert done.stdout == b""

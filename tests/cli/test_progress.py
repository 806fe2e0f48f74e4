"""Progress goes to stderr: a live line on a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import sys
import time
from itertools import count

import pytest

from connector.cli import progress
from connector.cli.progress import line
from connector.report import Counts, RowCounts, RunReport

REPORT = RunReport(run_id="x", job="j", counts=Counts(listed=1200, unchanged=1000, written=199, rejected=1), rows=RowCounts(upserted=4000))


def test_line() -> None:
    """Documents so far, rows, and how fast; at the very start there is no speed yet."""
    assert line("job", REPORT, 2.0) == "job: 1,200 listed, 1,000 unchanged, 199 written, 1 rejected; 4,000 rows, 2,000/s"
    assert line("job", REPORT, 0.0).endswith("0/s")


def test_log_files_get_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A scheduler's log shows that a run is alive, and is not flooded; stdout stays the result's."""
    clock = count(0, 4)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.progress("job") as show:
        for _ in range(9):
            show(REPORT)
    captured = capsys.readouterr()
    assert captured.err.count("job: 1,200 listed") == 3
    assert captured.out == ""


def test_terminals_get_a_live_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it is on stdout, and a name in brackets is no markup."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.progress("[red]job") as show:
        show(REPORT)
    assert capsys.readouterr().out == ""

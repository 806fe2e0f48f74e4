"""Progress goes to stderr: bars on a terminal, a plain line now and then elsewhere; both move while the first window is encoded."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from connector.cli import progress
from connector.cli.progress import Pace, bars, clock, done, expected, front, left, line, numbers
from connector.commands.running import run_job
from connector.observe.live import Live
from connector.report import Counts, Measured, RowCounts, RunReport
from connector.sources.parquet import ParquetSource
from connector.sources.rows import RowsSource
from connector.stopwatch import Stopwatch
from connector.testing.encoders import FakeModel
from tests.observe.shop import job_of, rows

REPORT = RunReport(
    run_id="x",
    job="j",
    counts=Counts(listed=1300, unchanged=1000, written=199, rejected=1),
    rows=RowCounts(upserted=4000),
    encoded=4100,
    reused=20,
    total=2400,
    measured=Measured(window_rows=5000, window_documents=400),
)
WAIT = 60.0


def test_line() -> None:
    """Documents so far and of how many, inputs, rows, how fast, the station in front, and how long it will take."""
    rates = {"documents": 10.0, "encoded": 400.0, "written": 390.0, "read s": 0.2, "encode s": 0.934}
    assert line("job", REPORT, rates) == (
        "job: 1,200 of 2,400 documents (1,000 unchanged, 199 written, 1 rejected); 4,120 encoded, 400/s; 4,000 rows, 390/s;"
        " busiest: encode 93%; 2:00 left"
    )


def test_line_of_a_run_that_has_hardly_begun() -> None:
    """What cannot be told yet is left out."""
    assert line("job", RunReport(run_id="x", job="j"), {}) == (
        "job: 0 documents (0 unchanged, 0 written, 0 rejected); 0 encoded, 0/s; 0 rows, 0/s"
    )


def test_time_left() -> None:
    """Only where the number of documents is known and some were done lately."""
    assert left(REPORT, {"documents": 100.0}) == 12.0
    assert left(REPORT, {"documents": 0.0}) is None
    assert left(RunReport(run_id="x", job="j", total=10), {"encoded": 5.0}) is None
    assert left(REPORT.model_copy(update={"total": None}), {"documents": 5.0}) is None
    assert [clock(seconds) for seconds in (0.4, 65, 3725)] == ["0:00", "1:05", "1:02:05"]


def test_time_left_within_the_first_window() -> None:
    """As long as no document is done, inputs tell it: 400 documents gave 5,000 rows, so 1,000 more will give 12,500."""
    assert expected(REPORT) == 17_500
    assert left(REPORT, {"documents": 0.0, "encoded": 10.0}) == (17_500 - 4_120) / 10
    assert expected(RunReport(run_id="x", job="j", total=10)) is None


def test_the_station_in_front() -> None:
    """The one that worked most lately; a run that does nothing has none."""
    assert front({"documents": 900.0, "read s": 0.4, "encode s": 0.2}) == "read 40%"
    assert front({"documents": 900.0, "encode s": 0.001}) == ""
    assert front({}) == ""


def test_rates_are_those_of_the_last_seconds() -> None:
    """A run that was quick and is slow now is told to be slow."""
    pace = Pace()
    assert pace.look(0.0, {"written": 0.0}) == {"written": 0.0}
    assert pace.look(10.0, {"written": 1000.0}) == {"written": 100.0}
    for second in range(11, 40):
        rates = pace.look(float(second), {"written": 1000.0 + second})
    assert rates["written"] == pytest.approx(1.0)
    assert len(pace.looks) <= progress.SPAN + 2


def test_bars() -> None:
    """Documents against all there are, inputs and rows against as many as are expected."""
    documents, encode, write = bars(REPORT, {"documents": 10.0, "written": 5.0, "encode s": 0.5})
    assert (documents["completed"], documents["total"], documents["count"]) == (1200, 2400, "1,200/2,400 documents")
    assert documents["more"] == "10/s  1,000 unchanged  1 rejected  busiest: encode 50%  2:00 left"
    assert (encode["count"], encode["completed"], encode["total"]) == ("4,120 inputs", 4120, 17_500)
    assert (write["completed"], write["total"], write["more"]) == (4000, 17_500, "5/s")


def live_of(report: RunReport) -> Live:
    """A run that stands still."""
    return Live(report, Stopwatch())


def test_log_files_get_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A scheduler's log shows that a run is alive, also while it waits; stdout stays the result's; the lines end with the run."""
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    written = threading.Event()

    def form(text: str) -> str:
        written.set()
        return f"<{text}>"

    with progress.progress("job", form) as follow:
        follow(live_of(REPORT))
        assert written.wait(WAIT)
    captured = capsys.readouterr()
    assert captured.err.startswith("<job: 1,200 of 2,400 documents")
    assert captured.err.endswith(">\n")
    assert captured.out == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_short_run_is_not_talked_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Before ten seconds are over there is nothing but its result."""
    with progress.progress("job") as follow:
        follow(live_of(REPORT))
    assert capsys.readouterr() == ("", "")


def test_terminals_get_bars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They are on stderr, and a name in brackets is no markup."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress.progress("[red]job") as follow:
        follow(live_of(REPORT))
    assert "[red]job" in terminal.getvalue()
    assert "1,200/2,400 documents" in terminal.getvalue()
    assert "4,120 inputs" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_terminal_that_moves_no_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As an editor's."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with progress.progress("job") as follow:
        follow(live_of(REPORT))
    assert capsys.readouterr().err == ""


def test_it_moves_within_the_first_window(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A slow model's first window takes minutes; what it has encoded by then is seen, with the time it took, before anything is written."""
    seen, lives, forward = threading.Event(), list[Live](), FakeModel.forward
    looked: list[dict[str, float]] = []

    def slow(self: FakeModel, items: Any, heads: Any) -> Any:
        if lives[0]().encoded:
            assert seen.wait(WAIT)
        return forward(self, items, heads)

    def watch() -> None:
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline and not (now := numbers(lives[0]())).get("encoded"):
            time.sleep(0.01)
        looked.append(now)
        seen.set()

    def follow(live: Live) -> None:
        lives.append(live)
        threading.Thread(target=watch).start()

    monkeypatch.setattr(FakeModel, "forward", slow)
    report = run_job(job_of(rows(), str(tmp_path / "x.db")), on_start=follow)
    assert 0 < looked[0]["encoded"] < report.encoded
    assert looked[0]["written"] == 0
    assert (report.total, done(report)) == (25, 25)


def test_sources_that_know_how_much_they_have(tmp_path: Path) -> None:
    """A list has a length, a Parquet file's footer says it, a generator does not know."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert RowsSource([{"a": 1}, {"a": 2}]).total() == 2
    assert RowsSource(iter([{"a": 1}])).total() is None
    for name, count in (("a", 3), ("b", 4)):
        pq.write_table(pa.table({"k": list(range(count))}), tmp_path / f"{name}.parquet")
    assert ParquetSource("*.parquet").total() == 7
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    assert ParquetSource("*.parquet").total() is None

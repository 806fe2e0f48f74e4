"""What `append` never does, what a chosen part of a source leaves alone, and how a run ends when its time is up."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from connector.cli.output import duration
from connector.errors import DocumentError, OutOfTime
from connector.ledger import Ledger
from connector.record import Removed
from connector.schema import spec_of
from connector.stations import Options
from connector.stopping import Stop
from tests.test_pipeline import Bench, Listed, Notes, People
from tests.workfolder import Folder


@pytest.fixture
def notes(tmp_path: Path) -> Bench:
    """Generated keys."""
    return Bench(tmp_path, spec_of(Notes))


@pytest.fixture
def people(tmp_path: Path) -> Bench:
    """Natural keys."""
    return Bench(tmp_path, spec_of(People))


@pytest.mark.parametrize("mode", ["listing", "cursor"])
def test_append_changes_and_deletes_nothing_that_was_written(notes: Bench, mode: str) -> None:
    """A changed document stays as it was, a removed or vanished one stays, a new one is added; a changed one is not even opened."""
    notes.run([("a", "1", ["old"]), ("b", "1", ["b"])], sync="append", mode=mode)
    later = Listed(
        [("a", "2", ["new"]), ("c", "1", ["c"])]
        if mode == "listing"
        else [None, None, ("a", "2", ["new"]), Removed("b"), ("c", "1", ["c"])],
        mode,
    )
    notes.run(later, sync="append")
    assert notes.texts == ["b", "c", "old"]
    assert later.opened == ["c"]
    assert notes.run(later, sync="append").counts.written == 0


def test_append_in_one_run(notes: Bench) -> None:
    """A document that comes twice in one run is written once, as it came first."""
    notes.run([("a", "1", ["first"]), ("a", "2", ["second"]), Removed("a")], sync="append", mode="cursor")
    assert notes.texts == ["first"]


@pytest.mark.parametrize("mode", ["listing", "cursor"])
def test_append_lets_no_key_move(people: Bench, mode: str) -> None:
    """A natural key that a document was written under stays that document's, even if it is not listed any more."""
    people.run([("a", "1", ["k1=a"])], sync="append", mode=mode)
    later = [("b", "1", ["k1=b", "k2=b"])]
    report = people.run(later if mode == "listing" else [None, *later], sync="append", mode=mode)
    assert people.texts == ["k1=a", "k2=b"]
    assert (report.counts.rejected, "belongs to the document `a`" in report.rejects[0]) == (1, True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_long_document_keeps_the_keys_of_its_earlier_windows(people: Bench, workers: int) -> None:
    """A key that it wrote in its first window is not free for another document in the window where it ends."""
    documents = [("a", "1", [f"k{number}=a" for number in range(6)]), ("b", "1", ["k0=b", "k9=b"])]
    report = people.run(documents, workers=workers)
    assert people.texts == sorted([*(f"k{number}=a" for number in range(6)), "k9=b"])
    assert (report.counts.rejected, "belongs to the document `a`" in report.rejects[0]) == (1, True)
    with Ledger(people.folder / "state.db", lock=False, read_only=True) as ledger:
        ledger.look("job", "uid", natural=True)
        assert {key: known.rows for key, known in ledger.known(["a", "b"]).items()} == {"a": 6, "b": 1}


def test_append_tries_again_what_was_never_written(notes: Bench) -> None:
    """A document that was rejected is not a written one: mended, it is added."""
    notes.run([("a", "1", DocumentError("torn"))], sync="append")
    assert notes.run([("a", "1", ["a"])], sync="append").counts.rejected == 1, "the same version stays rejected, unread"
    assert notes.run([("a", "2", ["a"])], sync="append").counts.written == 1


def test_a_chosen_part_of_a_cursor_source_passes_nothing_over(notes: Bench) -> None:
    """With --select the position stays: what was not chosen is still due."""
    documents = [(key, "1", [key]) for key in ("a1", "b1", "a2", "b2")]
    chosen = notes.run(documents, mode="cursor", options=Options(select="a*"))
    assert (chosen.counts.listed, notes.texts) == (2, ["a1", "a2"])
    rest = notes.run(documents, mode="cursor")
    assert (rest.counts.listed, rest.counts.written, rest.counts.unchanged) == (4, 2, 2)
    assert notes.texts == ["a1", "a2", "b1", "b2"]


def test_a_limited_cursor_source_goes_on_where_it_stopped(notes: Bench) -> None:
    """With --limit each run takes the next ones."""
    documents = [(f"d{number}", "1", [f"d{number}"]) for number in range(5)]
    assert [notes.run(documents, mode="cursor", options=Options(limit=2)).counts.listed for _ in range(4)] == [2, 2, 1, 0]
    assert len(notes.texts) == 5


def test_a_forgotten_document_of_a_cursor_source(notes: Bench) -> None:
    """It is left out, and what follows it is not."""
    with Ledger(notes.folder / "state.db") as ledger:
        ledger.mark_forgotten("job", "b")
    report = notes.run([("a", "1", ["a"]), ("b", "1", ["b"]), Removed("b"), ("c", "1", ["c"])], mode="cursor")
    assert (report.forgotten, report.counts.listed, notes.texts) == (1, 2, ["a", "c"])


class Clock:
    """Seconds that pass only when rows are written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        write = bench.sink.write

        def slow(window: Any) -> Any:
            self.now += 10
            return write(window)

        bench.sink.write = slow  # type: ignore[method-assign]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", ["listing", "cursor"])
def test_time_limit(notes: Bench, monkeypatch: pytest.MonkeyPatch, workers: int, mode: str) -> None:
    """A run stops at the end of a window and the next one goes on: all is written in the end, nothing twice."""
    Clock(monkeypatch, notes)
    documents = [(f"d{number:02}", "1", [f"d{number} {row}" for row in range(3)]) for number in range(12)]

    def timed() -> int:
        """The exit code of one run of at most 25 seconds."""
        stop = Stop()
        stop.limit(25)
        try:
            notes.run(documents, stop=stop, workers=workers, mode=mode, sync="mirror")
        except OutOfTime as error:
            return error.exit_code
        return 0

    codes = list(iter(timed, 0))
    assert codes == [4, 4, 4]
    written = [key for keys in notes.sink.writes for key in keys]
    assert (len(notes.texts), len(set(written))) == (36, 36)
    assert len(written) <= 36 + 2 * len(codes), "at most the document that a window cuts is written again"


def test_time_limit_of_a_listing_in_which_nothing_is_new(notes: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long listing without a window ends in time too."""
    documents = [(f"d{number}", "1", ["x"]) for number in range(1500)]
    notes.run(documents)
    now = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    stop = Stop()
    stop.limit(1.5)
    with pytest.raises(OutOfTime):
        notes.run(documents, stop=stop, sync="mirror")
    assert len(notes.texts) == 1500, "what was not listed has not vanished"


def test_time_limit_on_the_command_line(tmp_path: Path) -> None:
    """Exit code 4 with a report whose counts add up, then the same command finishes."""
    folder = Folder(tmp_path)
    for number in range(5):
        folder.put(f"notes/{number}.txt", f"note {number}")
    code, report, err = folder.run("--time-limit", "0.001s")
    counts = report["counts"]
    assert (code, report["exit_code"], "the time limit is over" in err) == (4, 4, True)
    assert counts["listed"] == sum(counts[name] for name in ("unchanged", "written", "empty", "rejected", "deferred"))
    assert folder.run("--time-limit", "50m")[0] == 0
    code, out, _ = folder.call("verify", "job.yaml", "--full", "--source", "--json")
    assert (code, json.loads(out)["compared"]) == (0, 5)
    assert folder.call("run", "job.yaml", "--time-limit", "soon")[0] == 2


@pytest.mark.parametrize(("text", "seconds"), [("50m", 3000), ("1h30m", 5400), ("90s", 90), ("90", 90), ("0.5h", 1800), ("2h5s", 7205)])
def test_durations(text: str, seconds: float) -> None:
    """Hours, minutes and seconds, or a number of seconds."""
    assert duration(text) == seconds

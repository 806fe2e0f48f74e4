"""The report: what a person reads, what a program reads, and where the seconds went."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from connector.report import Counts, RowCounts, RunReport, Verified
from connector.stopwatch import Stopwatch

REPORT = RunReport(
    run_id="20240102T030405-abcdef",
    job="nightly",
    collection="products__g1",
    counts=Counts(listed=21_044, unchanged=20_312, written=730, rejected=2, deleted=5),
    rows=RowCounts(upserted=1_460, deleted=9, rejected=2),
    encoded=1_460,
    gaps=["folder: denied"],
    rejects=["a.md row 3: too long"],
    seconds=41.26,
    startup_s=2.04,
    stations={"read": 1.23, "encode": 37.9},
)


def test_text() -> None:
    """Two lines of counts and seconds, then every gap and the first rejects."""
    assert str(REPORT) == (
        "products__g1  21,044 listed = 20,312 unchanged + 730 written + 0 empty + 2 rejected + 0 deferred; 5 deleted     in 41.3 s\n"
        "rows: 1,460 upserted, 9 deleted, 1,460 encoded; start-up 2.0 s; read 1.2 s  encode 37.9 s\n"
        "gap: folder: denied\n"
        "rejected: a.md row 3: too long"
    )


def test_text_of_a_run_that_did_not_get_far() -> None:
    """Before the collection is known the job is named, and nothing hangs in the air."""
    assert str(RunReport(run_id="x", job="nightly")).splitlines() == [
        "nightly  0 listed = 0 unchanged + 0 written + 0 empty + 0 rejected + 0 deferred; 0 deleted     in 0.0 s",
        "rows: 0 upserted, 0 deleted, 0 encoded; start-up 0.0 s",
    ]


@pytest.mark.parametrize(
    ("verified", "said"),
    [
        (Verified(rows=3_206, written=3_206, sampled=256), "verified: 3,206 rows counted as written, 256 read back equal"),
        (
            Verified(rows=5, written=7, sampled=2, differing=1, shown=["a: missing: 0 rows, but 2 were written"]),
            "NOT verified: 5 rows counted, 7 were written; 1 documents differ\ndiffers: a: missing: 0 rows, but 2 were written",
        ),
    ],
)
def test_what_reading_back_came_to(verified: Verified, said: str) -> None:
    """A good one is one line; of a bad one every number and the first documents are told."""
    assert str(RunReport(run_id="x", job="nightly", verified=verified)).endswith(f"\n{said}")


def test_json_comes_back_equal() -> None:
    """The ledger keeps reports as JSON and `status` prints them again."""
    assert RunReport(**json.loads(REPORT.model_dump_json())) == REPORT


def test_reports_do_not_share_their_counts() -> None:
    """A second run in one process begins at zero."""
    one, two = RunReport(run_id="1", job="a"), RunReport(run_id="2", job="a")
    one.counts.listed += 1
    one.gaps.append("x")
    one.stations["read"] = 1.0
    assert two == RunReport(run_id="2", job="a")


def test_stopwatch_adds_up_from_several_threads() -> None:
    """Stations run in threads; no second is lost."""
    watch = Stopwatch()

    def work() -> None:
        for _ in range(1000):
            watch.add("read", 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.seconds == {"read": 2000.0}


def fail_slowly(watch: Stopwatch) -> None:
    """A station that takes its time to fail."""
    with watch.time("encode"):
        time.sleep(0.02)
        raise ValueError("x")


def test_stopwatch_times_blocks_also_when_they_fail() -> None:
    """The seconds of a station that ends the run are in its report; stations stand in the order of first use."""
    watch = Stopwatch()
    with watch.time("write"):
        time.sleep(0.02)
    with pytest.raises(ValueError, match="x"):
        fail_slowly(watch)
    assert list(watch.seconds) == ["write", "encode"]
    assert all(0.015 < seconds < 5 for seconds in watch.seconds.values())


def test_each_times_the_iterator_and_not_its_consumer() -> None:
    """Listing is charged for listing."""
    watch = Stopwatch()
    for _ in watch.each("list", iter(range(3))):
        time.sleep(0.02)
    assert watch.seconds["list"] < 0.02


def test_each_closes_what_it_times() -> None:
    """A source's files and connections are closed when a run ends early."""
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    items = source()
    timed = Stopwatch().each("list", items)
    assert next(timed) == 1
    timed.close()  # type: ignore[attr-defined]  # it is a generator
    assert closed.is_set()

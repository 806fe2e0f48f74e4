"""No vector is paid for twice: not after a crash, an outage, a rename, a changed schema, nor by another collection of the same encoder."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector import faults
from connector.encoding import vectorcache
from connector.encoding.probing import Goldens
from connector.encoding.vectorcache import VectorCache, input_key
from connector.job import Job
from connector.record import Row
from connector.schema import Collection, Field, Vector, VectorField
from connector.sources.jsonl import JsonlSource
from connector.testing.encoders import COUNTS, fake_vector
from tests.children import ROOT

IDENTITY = {"model": {"kind": "x", "weights": "ab"}, "head": {"pooling": "mean", "dtype": "float32"}}
ROWS: list[Row] = [{"id": f"k{number}", "title": f"thing {number}"} for number in range(20)]


class Things(Collection):
    """Titles by an encoder that names its revision."""

    id: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=40)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", revision="1")


class Slow(Collection):
    """Titles by an encoder that takes six of them at a time."""

    id: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=40)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", revision="1", budget=12)


class Others(Collection):
    """The same encoder in another collection, with one field more, stored in half the bytes."""

    id: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=40)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", revision="1")


@pytest.fixture(autouse=True)
def _counted() -> None:
    COUNTS.clear()


def run(rows: Any = ROWS, into: Any = Things, **settings: Any) -> connector.RunReport:
    """Runs rows into Milvus Lite."""
    return connector.run(rows, into=into, milvus="things.db", **settings)


def key(text: str) -> bytes:
    """The key of a text."""
    found, _ = input_key(text, "text")
    assert found is not None
    return found


def test_a_crash_before_the_commit_costs_no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors of a window that never reached Milvus are there when the run is made again."""

    def crash(name: str) -> None:
        if name == "ledger.begun":
            raise RuntimeError("crash")

    monkeypatch.setattr("connector.stations.commit.hit", crash)
    with pytest.raises(RuntimeError, match="crash"):
        run()
    assert COUNTS["items"] == 20
    monkeypatch.setattr("connector.stations.commit.hit", faults.hit)
    report = run()
    assert (report.encoded, report.reused, report.counts.written) == (0, 20, 20)
    assert COUNTS["items"] == 20
    [hit] = connector.search(Things, "thing 7", milvus="things.db", limit=1)
    assert (hit.id, round(hit.distance, 5)) == ("k7", 1.0)


def test_other_collections_and_changed_schemas_find_their_vectors() -> None:
    """A second collection, a new scalar field, a new key for the same text: none of them runs the encoder."""
    run()
    assert run(into=Others, namespace="others").encoded == 0
    renamed = [{**row, "id": f"new-{row['id']}"} for row in ROWS]
    assert run(renamed, sync="mirror", options=connector.Options(allow_mass_delete=True)).encoded == 0
    report = run(ROWS, options=connector.Options(full_refresh=True))
    assert report.encoded == 0
    assert "0 encoded, 20 reused" in str(report)
    assert COUNTS["items"] == 20


def test_equal_content_is_encoded_once() -> None:
    """Within one window and over many."""
    report = run([{"id": f"k{number}", "title": f"thing {number % 3}"} for number in range(5000)])
    assert report.counts.written == 5000
    assert COUNTS["items"] == report.encoded == 3


def test_another_encoder_is_another_space() -> None:
    """What changes an identity changes where its vectors are; what is only stored otherwise does not."""
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        first = cache.space(IDENTITY, "v", Goldens())
        assert first == cache.space({**IDENTITY, "head": {"pooling": "mean", "dtype": "float16"}}, "v", Goldens())
        assert first != cache.space({**IDENTITY, "head": {"pooling": "max", "dtype": "float32"}}, "v", Goldens())
        assert first != cache.space({**IDENTITY, "model": {"kind": "x", "weights": "cd"}}, "v", Goldens())


def test_encoders_without_pinned_weights_are_told_apart_by_their_probe() -> None:
    """A served model that was exchanged under its name must not get the vectors of the old one."""
    loose = {**IDENTITY, "model": {"kind": "openai", "weights": "", "revision": ""}}
    old, same, new = (np.array([values], dtype=np.float32) for values in ([1, 0, 0.01], [1, 0, 0.0101], [0, 1, 0]))
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        assert cache.space(loose, "v", Goldens()) is None
        first = cache.space(loose, "v", Goldens({"v": old}))
        assert first is not None
        assert first == cache.space(loose, "v", Goldens({"v": same}))
        assert first != cache.space(loose, "v", Goldens({"v": new}))


def test_what_is_kept_is_what_was_made() -> None:
    """Bit for bit, dense and sparse, before and after it is written."""
    dense, sparse = fake_vector("x", 64), {3: 0.5, 70_000: 1.25}
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        cache.add(1, {key("a"): dense, key("b"): sparse})
        pending = cache.find(1, [key("a"), key("b"), key("c")])
        cache.window_made()
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        written = cache.find(1, [key("a"), key("b"), key("c")])
        assert cache.find(2, [key("a")]) == {}
    for found in (pending, written):
        assert set(found) == {key("a"), key("b")}
        np.testing.assert_array_equal(np.asarray(found[key("a")]), dense)
        assert found[key("b")] == sparse


def test_size_is_bounded_and_nothing_goes_before_its_commit() -> None:
    """The oldest make room, but only those whose window is committed."""
    cache = VectorCache(Path("v.db"), 100_000)

    def keys(part: int) -> list[bytes]:
        return [key(f"{part}-{number}") for number in range(100)]

    with cache:
        for part in range(5):
            cache.add(1, {one: np.zeros(128, dtype=np.float32) for one in keys(part)})
            cache.window_made()
        assert all(len(cache.find(1, keys(part))) == 100 for part in range(5))
        cache.window_committed()
        cache.window_committed()
        assert [len(cache.find(1, keys(part))) for part in range(5)] == [0, 0, 100, 100, 100]
        for _ in range(3):
            cache.window_committed()
        left = [len(cache.find(1, keys(part))) for part in range(5)]
        assert left[-1] == 100
        assert sum(left) * (128 * 4 + 97) <= 100_000
    assert cache.problem == ""


def test_a_damaged_cache_is_made_anew() -> None:
    """It costs encoding again, and neither the run nor a wrong answer."""
    run()
    Path(".connector/vectors.db").write_bytes(b"no database " * 1000)
    for end in ("-wal", "-shm"):
        Path(f".connector/vectors.db{end}").unlink(missing_ok=True)
    report = run(options=connector.Options(full_refresh=True))
    assert (report.encoded, report.exit_code, report.notes) == (20, 0, [])
    assert run(options=connector.Options(full_refresh=True)).encoded == 0


def test_a_cache_that_cannot_be_written_is_said_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a folder without rights: the run goes on without it."""

    def refuse(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("connector.encoding.vectorcache._open", refuse)
    report = run()
    assert (report.exit_code, report.counts.written) == (0, 20)
    assert report.notes == ["vectors are not kept for another time: OperationalError: database or disk is full"]


def test_without_room_nothing_is_kept() -> None:
    """`vector_cache: 0` turns it off."""
    run(vector_cache=0)
    assert not Path(".connector/vectors.db").exists()
    assert run(vector_cache="0", options=connector.Options(full_refresh=True)).encoded == 20


def test_what_comes_after_a_window_is_not_kept_with_it() -> None:
    """Vectors of the next window that are there before this one is written stay out of it: its commit must not let them go."""
    some = {part: {key(f"{part}-{number}"): np.zeros(128, dtype=np.float32) for number in range(100)} for part in range(2)}
    with VectorCache(Path("v.db"), 10_000) as cache:
        cache.add(1, some[0])
        cache.seal()
        cache.add(1, some[1])
        cache.keep()
        assert all(len(cache.find(1, list(one))) == 100 for one in some.values())
        cache.seal()
        cache.keep()
        cache.window_committed()
        assert [len(cache.find(1, list(one))) for one in some.values()] == [0, 100]
        cache.window_committed()
        assert len(cache.find(1, list(some[1]))) < 100


def test_what_is_sealed_is_written_at_the_end() -> None:
    """A run that ends between two windows keeps both."""
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        cache.add(1, {key("a"): fake_vector("a")})
        cache.seal()
        cache.add(1, {key("b"): fake_vector("b")})
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        assert set(cache.find(1, [key("a"), key("b")])) == {key("a"), key("b")}


def test_a_kill_within_a_long_window_costs_seconds_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of a window that takes longer than `EVERY` are on disk before it is complete, where another process finds them."""
    now = 100.0
    monkeypatch.setattr("connector.encoding.vectorcache.time.monotonic", lambda: now)
    with VectorCache(Path("v.db"), 1 << 20) as cache, VectorCache(Path("v.db"), 1 << 20) as other:
        for number, text in enumerate("abcd"):
            now = 100.0 + number * vectorcache.EVERY / 2
            cache.add(1, {key(text): fake_vector(text)})
            assert set(cache.find(1, [key(one) for one in "abcd"])) == {key(one) for one in "abcd"[: number + 1]}
        assert set(other.find(1, [key(one) for one in "abcd"])) == {key("a"), key("b"), key("c")}


def test_what_is_written_early_does_not_go_with_the_window_before() -> None:
    """It waits for that one to be written; then the commit of that one lets go of nothing that came after it."""
    some = {part: {key(f"{part}-{number}"): np.zeros(128, dtype=np.float32) for number in range(100)} for part in range(2)}
    with VectorCache(Path("v.db"), 10_000) as cache, pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectorcache, "EVERY", 0.0)
        cache.add(1, some[0])
        cache.seal()
        cache.add(1, {one: some[1][one] for one in list(some[1])[:50]})
        assert len(cache._pending) == 50, "the window before is not written yet"
        cache.keep()
        cache.add(1, {one: some[1][one] for one in list(some[1])[50:]})
        assert not cache._pending
        cache.window_committed()
        assert [len(cache.find(1, list(one))) for one in some.values()] == [0, 100]
        cache.window_made()
        cache.window_committed()
        assert len(cache.find(1, list(some[1]))) < 100


KILLED = """
import os, signal
import connector
from connector.encoding import vectorcache
from connector.testing.encoders import FakeModel
from tests.encoding.test_vectorcache import ROWS, Slow

vectorcache.EVERY = 0.0
forward, passes = FakeModel.forward, []

def forward_or_die(self, items, heads):
    passes.append(len(items))
    if len(passes) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, items, heads)

FakeModel.forward = forward_or_die
connector.run(ROWS, into=Slow, milvus="things.db")
"""


def test_what_a_killed_process_had_encoded_is_not_encoded_again() -> None:
    """It dies in the third micro-batch of its only window, before anything of it is committed; the next run pays for the rest."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False, timeout=120, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    report = run(into=Slow)
    assert (report.encoded, report.reused, report.counts.written) == (8, 12, 20)


def test_finding_does_not_wait_for_writing() -> None:
    """Nor does adding: the thread that feeds the model does both while another one writes."""
    with VectorCache(Path("v.db"), 1 << 20) as cache:
        cache.add(1, {key("a"): fake_vector("a")})
        cache.window_made()
        with cache._writing:
            cache.add(1, {key("b"): fake_vector("b")})
            cache.seal()
            assert set(cache.find(1, [key("a"), key("b"), key("c")])) == {key("a"), key("b")}
        cache.keep()


def test_a_cache_that_breaks_while_it_writes_is_out_of_use() -> None:
    """One thread finds the file damaged while another one waits to write: neither run ends by it."""
    with VectorCache(Path("v.db"), 1 << 20) as cache, contextlib.closing(sqlite3.connect("v.db", check_same_thread=False)) as other:
        cache.add(1, {key("a"): fake_vector("a")})
        cache.seal()
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=cache.keep)
        writer.start()
        time.sleep(0.1)
        with cache._using(reader=True):
            raise sqlite3.DatabaseError("database disk image is malformed")
        assert cache.find(1, [key("a"), key("b")]) == {key("a"): pytest.approx(fake_vector("a"))}
        other.rollback()
        writer.join(30)
        assert not writer.is_alive()
        assert "malformed" in cache.problem
        cache.window_made()
        cache.window_committed()
        assert cache.space(IDENTITY, "v", Goldens()) is None


def test_two_at_once_share_a_file() -> None:
    """Writers wait for each other and lose nothing."""
    problems: list[str] = []

    def fill(part: int) -> None:
        with VectorCache(Path("v.db"), 1 << 26) as cache:
            for number in range(50):
                cache.add(1, {key(f"{part} {number} {one}"): np.ones(8, dtype=np.float32) for one in range(20)})
                cache.window_made()
                cache.window_committed()
            problems.append(cache.problem)

    with VectorCache(Path("v.db"), 1 << 26):
        pass
    threads = [threading.Thread(target=fill, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [""] * 3
    with VectorCache(Path("v.db"), 1 << 26) as cache:
        assert all(
            len(cache.find(1, [key(f"{part} {number} {one}") for one in range(20)])) == 20 for part in range(3) for number in range(50)
        )


def test_pictures_are_named_by_their_bytes(tmp_path: Path) -> None:
    """A moved file is the same picture, read once; what has no bytes of its own is not kept."""

    class File(str):
        __slots__ = ()
        reads = 0

        def read(self) -> bytes:
            File.reads += 1
            return b"bytes"

    one, value = input_key(File("a.png"), "image")
    other, _ = input_key(b"bytes", "image")
    assert one == other
    assert (value, File.reads) == (b"bytes", 1)
    assert input_key(b"bytes", "audio")[0] != one
    assert input_key("a.png", "image") == (None, "a.png")
    small, wide = np.zeros((2, 3), dtype=np.uint8), np.zeros((3, 2), dtype=np.uint8)
    assert input_key(small, "image")[0] != input_key(wide, "image")[0]


def test_an_outage_costs_no_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus refuses a window half way: what was encoded ahead is there when it is back."""
    import json

    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    from connector.errors import Transient
    from connector.milvus.sink import MilvusSink

    real = MilvusSink.write
    monkeypatch.setattr(MilvusSink, "write", lambda *_: (_ for _ in ()).throw(Transient("down", hint="wait")))
    with pytest.raises(Transient):
        run(JsonlSource("rows.jsonl", key="id"))
    monkeypatch.setattr(MilvusSink, "write", real)
    assert run(JsonlSource("rows.jsonl", key="id")).encoded == 0
    assert COUNTS["items"] == 20


def rows_of(count: int) -> Iterator[Row]:
    """Many rows."""
    return ({"id": f"k{number}", "title": f"thing {number}"} for number in range(count))


def test_unchanged_runs_do_not_touch_it() -> None:
    """Nothing is looked up for documents that are skipped."""
    run(rows_of(100))
    assert run(rows_of(100)).reused == 0


def test_what_is_forgotten_leaves_no_vector() -> None:
    """The right to erasure holds for kept vectors too: their numbers are not in the file any more."""
    run()
    numbers = fake_vector("thing 7").astype("<f4").tobytes()
    files = [Path(f".connector/vectors.db{end}") for end in ("", "-wal")]
    assert any(numbers in file.read_bytes() for file in files if file.exists())
    job = Job.check({"job": "things", "into": Things, "source": None, "milvus": {"uri": "things.db"}}, where="test")
    erased = connector.forget(job, "k7")
    assert erased is not None
    assert erased.rows_left == 0
    assert not any(numbers in file.read_bytes() for file in files if file.exists())
    assert run([row for row in ROWS if row["id"] != "k7"]).counts.unchanged == 19

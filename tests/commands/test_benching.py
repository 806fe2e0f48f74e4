"""`connector bench`: rates of the model, the stations and the pipeline, from a sample, with nothing of the job touched."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from connector.commands.benching import PREFIX, bench_job
from connector.commands.benchresult import Alone, Bench
from connector.commands.timeline import Timeline
from connector.errors import SinkError
from connector.interfaces import Receipt
from connector.job import Job
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Window
from tests.commands.test_check import everything
from tests.workfolder import SCHEMA, Folder

SLOW = SCHEMA.replace('encoder="fake:fake"', 'encoder="fake:fake", delay=0.004')


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Five hundred small files, and a model that takes 4 ms for each."""
    made = Folder(tmp_path)
    made.put("schema.py", SLOW)
    for number in range(500):
        made.put(f"notes/{number:03}.txt", f"note {number}")
    return made


def bench(folder: Folder, *options: str) -> dict[str, Any]:
    """The JSON document of `bench`."""
    code, out, err = folder.call("bench", "job.yaml", "--seconds", "1", "--json", *options)
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def test_the_model_is_measured_alone_and_the_pipeline_against_it(folder: Folder) -> None:
    """A model that needs 4 ms a row does at most 250 a second, and the pipeline no more; waiting costs no core."""
    found = bench(folder)
    assert 50 <= found["rows"] <= found["documents"] <= 500
    assert 150 < found["model_rate"] <= 250
    assert found["rate"] <= 250
    assert 0.7 < found["of_model"] <= 1.3
    assert found["of_limit"] >= found["of_model"] * 0.99
    assert found["stations"]["encode"]["core_seconds"] < found["stations"]["encode"]["seconds"] / 2
    assert {"list", "read", "parse", "split", "prepare", "encode", "conform", "ledger", "write"} <= set(found["stations"])
    assert (found["encoders"], found["workers"], found["exit_code"]) == ({"fake:fake": "fp32"}, 2, 0)
    assert found["server"].startswith("Milvus Lite")


@pytest.mark.parametrize("options", [(), ("--no-write",)])
def test_nothing_of_the_job_is_touched(folder: Folder, options: tuple[str, ...]) -> None:
    """Not the collection, not the ledger, not the vector cache; where there is none, none is made."""
    before = everything(folder.root)
    assert bench(folder, *options)["rows"] > 0
    assert everything(folder.root) == before
    folder.put("schema.py", SCHEMA)
    assert folder.run()[0] == 0
    before = everything(folder.root)
    found = bench(folder, *options)
    assert (found["rows"], bool(found["server"])) == (500, not options)
    assert everything(folder.root) == before
    assert folder.run()[1]["counts"]["unchanged"] == 500


@pytest.mark.parametrize("fails", ["", "broken on purpose"])
def test_the_throw_away_collection_is_dropped(
    folder: Folder, database: MilvusSettings, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """On a server too, where the job's own would be; also when a measurement ends in an error."""
    seen: list[str] = []

    def write(sink: MilvusSink, window: Window) -> Receipt:
        seen.append(sink.collection)
        if fails:
            raise SinkError(fails, hint="none")
        return real(sink, window)

    real = MilvusSink.write
    monkeypatch.setattr(MilvusSink, "write", write)
    job = Job.from_yaml(folder.root / "job.yaml").model_copy(update={"milvus": database})
    with pytest.raises(SinkError, match=fails) if fails else contextlib.nullcontext():
        assert bench_job(job, seconds=0.3).server == "Milvus 2.3.5"
    assert [name.startswith(PREFIX) for name in set(seen)] == [True] * (1 if fails else 2)
    with connect(database) as connection:
        assert connection.call("list", connection.client.list_collections) == []


def test_a_source_without_rows_is_told(folder: Folder) -> None:
    """There is nothing to measure, and the next command says why."""
    for path in (folder.root / "notes").iterdir():
        path.unlink()
    code, _, err = folder.call("bench", "job.yaml")
    assert (code, "nothing to measure: 0 documents gave no row" in err, "connector check job.yaml" in err) == (2, True, True)


def test_the_words(folder: Folder) -> None:
    """The table, both shares, and the sentence that says what would move it."""
    code, out, err = folder.call("bench", "job.yaml", "--seconds", "1.5", "--no-write")
    assert code == 0, err
    for words in ("list to transform", "the model alone", "of the model's own speed", "of the limit", "start-up, counted nowhere"):
        assert words in out
    assert "nothing (--no-write)" in out


def stations(**seconds: float) -> dict[str, Alone]:
    """Stations that keep one core busy, but for the model, which waits for its device."""
    return {name: Alone(seconds=one, core_seconds=0.0 if name == "encode" else one) for name, one in seconds.items()}


CASES: list[tuple[dict[str, Alone], float, float, str]] = [
    (stations(prepare=2.0, encode=10.0, write=2.0), 10.5, 100.0, "faster with another device"),
    (
        stations(prepare=36.0, encode=10.0, write=2.0),
        20.0,
        1000 * 2 / 38,
        "the 2 cores are at work, most on prepare; faster with more",
    ),
    (stations(prepare=12.0, encode=1.0, write=1.0), 10.0, 2000 / 13, "prepare (60% of the pipeline's time); try more workers than 2"),
    (stations(prepare=1.0, encode=5.0, write=1.0), 10.0, 200.0, "no station explains what is missing; measure longer"),
    (stations(prepare=1.0, encode=2.0, write=9.0), 10.0, 200.0, "write (90% of the pipeline's time); try a nearer or a larger Milvus"),
]


@pytest.mark.parametrize(("alone", "pipeline_s", "limit", "words"), CASES)
def test_the_limit_and_the_advice(alone: dict[str, Alone], pipeline_s: float, limit: float, words: str) -> None:
    """A device's own speed, or the cores over the core-seconds of a row, whichever is less."""
    found = Bench(job="j", rows=1000, cores=2, stations=alone, pipeline_s=pipeline_s)
    assert found.limit == pytest.approx(limit)
    assert words in (found.verdict or "")


def test_ready_made_vectors_have_a_limit_and_no_model() -> None:
    """Without an encoder there is the limit alone."""
    found = Bench(job="j", rows=1000, cores=2, stations=stations(write=1.0), pipeline_s=2.0)
    assert (found.model_rate, found.limit, found.document()["of_model"], found.document()["of_limit"]) == (None, 2000.0, None, 0.25)
    assert "model's own speed" not in str(found)


def test_the_timeline_shows_who_did_what_when(folder: Folder) -> None:
    """One file that tracing pages read: each station has a line for every thread, and the pipeline's stations have threads of their own."""
    code, _, err = folder.call("bench", "job.yaml", "--seconds", "1.5", "--no-write", "--timeline", "t.json")
    assert code == 0, err
    events = json.loads((folder.root / "t.json").read_text(encoding="utf-8"))["traceEvents"]
    turns = [one for one in events if one["ph"] == "X"]
    lines = {one["tid"]: one["args"]["name"] for one in events if one["ph"] == "M"}
    assert {"list", "read", "parse", "prepare", "encode", "conform", "ledger", "write"} <= {one["name"] for one in turns}
    assert all(lines[one["tid"]].startswith(f"{one['name']} (") and 0 <= one["args"]["busy"] <= 1.001 for one in turns)
    threads = {name: {lines[one["tid"]] for one in turns if one["name"] == name} for name in ("list", "read", "encode", "conform", "write")}
    assert len({line.partition("(")[2] for some in threads.values() for line in some}) >= len(threads), "each has a thread of its own"
    assert (min(one["ts"] for one in turns), all(one["dur"] >= 0 for one in turns)) == (0, True)
    code, _, err = folder.call("bench", "job.yaml", "--timeline", "nowhere/t.json")
    assert (code, "no such folder" in err) == (2, True)


def test_short_turns_are_drawn_as_one() -> None:
    """A million rows are not a million events, and how much of a turn was work is told."""
    timeline = Timeline()
    for number in range(100):
        timeline.add("read", number / 2000, number / 2000 + 0.0001)
    timeline.add("read", 1.0, 1.1)
    timeline.add("parse", 0.0, 0.5)
    (first, second, third), places = timeline.turns, timeline.chrome()["traceEvents"]
    assert (first.start, round(first.stop, 4), round(first.busy, 4)) == (0.0, 0.0496, 0.01)
    assert (second.start, third.station, len(places)) == (1.0, "parse", 5)

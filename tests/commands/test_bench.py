"""The benchmarks, short: what they measure is what they say, and what must hold at any size holds."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.bench import bookkeeping, gpu, images, memory, text, unchanged, vectors
from tests.bench.nowhere import Many, run_nowhere
from tests.bench.rounds import ROOT, Benchmark, Measured, main, summary, table

FAKE = Benchmark(
    module="tests.bench.fake",
    about="Nothing.",
    options={"rows": 10},
    prepare=lambda *_: None,
    sides={"ours": lambda *_: {"seconds": 1.0}, "theirs": lambda *_: {"seconds": 2.0}},
    ratios={"times": lambda one: one["theirs"]["seconds"] / one["ours"]["seconds"]},
)


def test_ratios_are_taken_within_a_round() -> None:
    """A slow moment of the machine hits both sides; the median is told with its spread."""
    seconds = [(1.0, 2.0), (10.0, 30.0), (2.0, 5.0)]
    rounds: list[Mapping[str, Measured]] = [{"ours": {"seconds": a}, "theirs": {"seconds": b}} for a, b in seconds]
    found = summary(FAKE, rounds, {"rows": 10})
    assert found["ratios"] == {"times": {"median": 2.5, "low": 2.0, "high": 3.0}}
    assert found["medians"] == {"ours": {"seconds": 2.0}, "theirs": {"seconds": 5.0}}
    assert "times: 2.50 (2.00 to 3.00)" in table(found)
    assert found["machine"]["cores"] >= 1


def test_a_side_prints_one_line_of_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """That is how a process of its own hands its numbers back."""
    main(FAKE, ["--side", "theirs", "--folder", str(tmp_path), "--rows", "3"])
    assert json.loads(capsys.readouterr().out) == {"seconds": 2.0}


@pytest.mark.parametrize(
    "bench",
    [text.BENCH, images.BENCH, bookkeeping.BENCH, memory.BENCH, unchanged.BENCH, vectors.BENCH, gpu.BENCH],
    ids=lambda one: one.module,
)
def test_every_script_has_sides_that_its_ratios_know(bench: Benchmark) -> None:
    """A ratio of a side that is not measured would be found out after an hour."""
    ones = {"a_second", "seconds", "cpu_s", "peak_mb", "ledger_mb", "core_us_a_row", "core_ms", "model_alone", "busy"}
    ones |= {f"{name}_{kind}" for name in ("ledger", "cache", "model") for kind in ("clock", "cpu")}
    found = {side: dict.fromkeys(ones, 1.0) for side in bench.sides}
    assert all(ratio(found) > 0 for ratio in bench.ratios.values())
    assert bench.module.startswith("tests.bench.")


def test_a_device_is_kept_busy(tmp_path: Path) -> None:
    """Through three windows of real tokens, a device that the rest keeps up with waits for less than a tenth of its time, or so."""
    text.prepare(tmp_path, argparse.Namespace(passages=4500))
    code = (
        "import argparse, json, pathlib, sys; from tests.bench.gpu import measured; folder = pathlib.Path(sys.argv[1]);"
        "print(json.dumps(measured(folder, folder, argparse.Namespace(), thousands=60)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True, cwd=ROOT, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["encoded"] == 4500
    assert 0.8 < found["busy"] <= 1.0


def test_memory_is_flat(tmp_path: Path) -> None:
    """Ten times the input, the same peak: nothing is kept of a document that is done."""
    words = ["--documents", "10000", "--length", "200", "--rounds", "1", "--out", str(tmp_path / "m.json")]
    found = main(memory.BENCH, words)
    assert found["medians"]["large"]["documents"] == 100_000
    assert found["ratios"]["peak of ten times the input"]["median"] <= 1.10
    assert json.loads((tmp_path / "m.json").read_text())["ratios"] == found["ratios"]


def test_unchanged_documents_encode_nothing(tmp_path: Path) -> None:
    """Whether the source tells versions or not; the first run encodes them all, the second none."""
    given = argparse.Namespace(documents=3000)
    unchanged.prepare(tmp_path, given)
    for name, side in unchanged.BENCH.sides.items():
        (empty := tmp_path / name).mkdir()
        found = side(tmp_path, empty, given)
        assert (found["encoded"], found["documents"]) == (0, 3000 if name.endswith("all") else 300)
        assert found["seconds"] < 30
        assert 0.02 < found["ledger_mb"] < 1
    report, encoded = run_nowhere(Many(3001), tmp_path / "listing-3000.db")
    assert (report.counts.written, encoded) == (1, 1)


def test_ready_made_vectors(tmp_path: Path, database: MilvusSettings) -> None:
    """All sides write all rows; the request is built from arrays for less than half of what row dicts cost; nothing is left behind."""
    file = tmp_path / "rows.parquet"
    vectors.write(file, 4000, 256)
    found = {}
    for name, measure in vectors.SIDES.items():
        (empty := tmp_path / name).mkdir()
        found[name] = measure(file, database, empty, 256)
        assert found[name]["rows"] == 4000
    assert found["sink"]["core_us_a_row"] < found["client"]["core_us_a_row"] / 2
    with connect(database) as connection:
        assert connection.call("list", connection.client.list_collections) == []


def test_ready_made_vectors_are_bit_exact(tmp_path: Path, database: MilvusSettings) -> None:
    """What the Parquet file held is what Milvus gives back, number for number."""
    import pyarrow.parquet as pq

    import connector

    file = tmp_path / "rows.parquet"
    vectors.write(file, 50, 16)
    into = vectors.collection(16)
    source = connector.source("parquet", path=str(file), key="sku")
    report = connector.run(source, into=into, milvus=database, state=tmp_path / "s.db")
    with connect(database) as connection:
        Catalog(connection).load(report.collection)
        rows = connection.call("get", connection.client.query, report.collection, filter="sku != ''", output_fields=["sku", "vector"])
    stored = {row["sku"]: np.asarray(row["vector"], dtype=np.float32).tobytes() for row in rows}
    held = pq.read_table(file).to_pylist()
    assert stored == {row["sku"]: np.asarray(row["vector"], dtype=np.float32).tobytes() for row in held}

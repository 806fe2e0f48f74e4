"""Ready-made vectors from a Parquet file into a real Milvus 2.3.5: `connector run` against a plain pymilvus upsert loop over row dicts.

Four sides: the run and the loop, each from the file, by the clock; and what one row costs of this process's cores in `sink.write` and in
`MilvusClient.upsert`, each with rows that were made before, so that nothing else is in it. The server is one process for all of them,
and every side has a new collection. Creating it is excluded.

    python -m tests.bench.vectors [--rows 20000] [--dim 384] [--rounds 5] [--out bench-vectors.json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from connector.commands.benching import throw_away
from connector.commands.building import Parts
from connector.commands.keeping import KeepingSink
from connector.interfaces import Receipt
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.record import Window
from connector.schema import Collection, CollectionSpec, Field, Vector, VectorField
from connector.sources.parquet import ParquetSource
from connector.testing.server import MilvusServer
from tests.bench.nowhere import run_nowhere
from tests.bench.rounds import Benchmark, Measured, main, worked

BATCH = 1000
"""Rows that the loop sends at once."""


def write(path: Path, rows: int, dim: int) -> None:
    """A file with keys, a text, a number, and vectors."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    matrix = np.random.default_rng(7).normal(size=(rows, dim)).astype(np.float32)
    columns = {
        "sku": [f"sku-{number:08}" for number in range(rows)],
        "title": [f"product {number} of some kind" for number in range(rows)],
        "price": [number / 7 for number in range(rows)],
        "vector": pa.FixedSizeListArray.from_arrays(matrix.reshape(-1), dim),
    }
    pq.write_table(pa.table(columns), path)


def collection(dim: int) -> type[Collection]:
    """A new one, for each its own name."""

    class Products(Collection, name=f"bench_{uuid4().hex[:8]}"):
        sku: str = Field(primary_key=True, max_length=32)
        title: str = Field(max_length=100)
        price: float
        vector: Vector = VectorField(dim=dim, source="vector", metric="COSINE")

    return Products


def ours(file: Path, settings: MilvusSettings, empty: Path, dim: int) -> Measured:
    """A run, start-up excluded."""
    import connector

    into: Any = collection(dim)
    source = ParquetSource(str(file), key="sku")
    job = Job.check({"job": "bench", "source": source, "into": into, "milvus": settings.model_dump(), "state": empty / "s.db"}, "bench")
    try:
        report = connector.run(job)
        print(report, file=sys.stderr)
        assert report.exit_code == 0
        seconds = worked(report)
        return {"rows": report.rows.upserted, "seconds": seconds, "a_second": report.rows.upserted / seconds}
    finally:
        with connect(settings) as connection:
            Catalog(connection).drop(f"{Parts.of(job).spec.name}__g1")


@contextlib.contextmanager
def plain(settings: MilvusSettings, dim: int) -> Iterator[tuple[Any, str]]:
    """A pymilvus client and a new collection, as people make them."""
    from pymilvus import DataType, MilvusClient

    token = settings.token.get_secret_value() if settings.token else ""
    client, name = MilvusClient(settings.uri, token=token, db_name=settings.database), f"plain_{uuid4().hex[:8]}"
    schema = client.create_schema(auto_id=False)
    schema.add_field("sku", DataType.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("title", DataType.VARCHAR, max_length=100)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    try:
        client.create_collection(name, schema=schema, index_params=index)
        yield client, name
    finally:
        client.drop_collection(name)
        client.close()


def batches(file: Path) -> Iterator[list[dict[str, Any]]]:
    """The file as dicts."""
    import pyarrow.parquet as pq

    yield from (batch.to_pylist() for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH))


def theirs(file: Path, settings: MilvusSettings, _: Path, dim: int) -> Measured:
    """The loop that people write, after the collection is made."""
    with plain(settings, dim) as (client, name):
        begun, count = time.perf_counter(), 0
        for rows in batches(file):
            count += client.upsert(name, rows)["upsert_count"]
        seconds = time.perf_counter() - begun
    return {"rows": count, "seconds": seconds, "a_second": count / seconds}


def client_cpu(file: Path, settings: MilvusSettings, _: Path, dim: int) -> Measured:
    """What `MilvusClient.upsert` takes of this process's cores."""
    made = list(batches(file))
    with plain(settings, dim) as (client, name):
        begun = time.process_time()
        count = sum(client.upsert(name, rows)["upsert_count"] for rows in made)
        cores = time.process_time() - begun
    return {"rows": count, "core_us_a_row": cores / count * 1e6}


class Catching(KeepingSink):
    """Keeps every window."""

    def __init__(self, spec: CollectionSpec) -> None:
        super().__init__(spec)
        self.windows: list[Window] = []

    def write(self, window: Window) -> Receipt:
        """Keeps it, and acknowledges its rows."""
        self.windows.append(Window(parts=[], rows=window.rows, vectors=window.vectors, absent=window.absent))
        return super().write(window)


def sink_cpu(file: Path, settings: MilvusSettings, empty: Path, dim: int) -> Measured:
    """What `sink.write` takes of this process's cores, for the very windows of a run."""
    job = Job.check({"job": "bench", "source": [], "into": collection(dim), "milvus": settings.model_dump()}, "bench")
    want = Parts.of(job).want
    caught = Catching(want.spec)
    run_nowhere(ParquetSource(str(file), key="sku"), empty / "s.db", job.into, caught)
    with connect(settings) as connection, throw_away(want, connection) as sink:
        begun = time.process_time()
        count = sum(len(sink.write(window).acknowledged) for window in caught.windows)
        cores = time.process_time() - begun
    return {"rows": count, "core_us_a_row": cores / count * 1e6}


@contextlib.contextmanager
def prepare(folder: Path, given: argparse.Namespace) -> Iterator[None]:
    """Writes the file and starts the server."""
    write(folder / "rows.parquet", given.rows, given.dim)
    with MilvusServer(folder / "milvus") as server:
        (folder / "server.json").write_text(json.dumps({"uri": server.uri}), encoding="utf-8")
        yield


def on_server(folder: Path, empty: Path, given: argparse.Namespace, *, measure: Any) -> Measured:
    """Measures a side on the server that was started."""
    settings = MilvusSettings.model_validate_json((folder / "server.json").read_text(encoding="utf-8"))
    found: Measured = measure(folder / "rows.parquet", settings, empty, given.dim)
    assert found["rows"] == given.rows
    return found


SIDES = {"ours": ours, "theirs": theirs, "sink": sink_cpu, "client": client_cpu}
BENCH = Benchmark(
    module="tests.bench.vectors",
    about=str(__doc__),
    options={"rows": 20_000, "dim": 384},
    prepare=prepare,
    sides={name: partial(on_server, measure=measure) for name, measure in SIDES.items()},
    ratios={
        "times the loop's rows a second": lambda one: one["ours"]["a_second"] / one["theirs"]["a_second"],
        "client CPU a row, sink.write of upsert": lambda one: one["sink"]["core_us_a_row"] / one["client"]["core_us_a_row"],
    },
)

if __name__ == "__main__":
    main(BENCH)

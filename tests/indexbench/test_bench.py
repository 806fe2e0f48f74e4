"""`connector bench --index`: the declared index and its alternatives, on live vectors, with nothing of the job touched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.commands.indexbench.bench import bench_indexes
from connector.commands.indexbench.choices import Choice
from connector.commands.indexbench.scratch import OWNER, PREFIX, scratch, tidy
from connector.errors import ConfigError, Interrupted, PlanNeeded, SinkError
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.settings import MilvusSettings
from connector.plan.actions import CreateCollection
from connector.plan.generations import Want
from connector.schema import FLAT, HNSW, Collection, Field, Vector, VectorField
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec
from connector.sources.rows import RowsSource
from tests.milvus.tiers import SERVER_ONLY, TIERS
from tests.workfolder import Folder

ROWS, DIM = 1_200, 16
"""More than the 1,024 from which on a server builds an index."""


class Points(Collection, name="points"):
    """Vectors in clusters."""

    id: int = Field(primary_key=True)
    v: Vector = VectorField(dim=DIM, source="v", metric="L2", index=HNSW(M=16))


FEW = frozenset({"FLAT", "HNSW", "IVF_FLAT"})


@pytest.fixture(params=TIERS)
def backend(request: pytest.FixtureRequest) -> str:
    """Milvus Lite, or the server."""
    return str(request.param)


@pytest.fixture
def settings(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> MilvusSettings:
    """A Milvus Lite file or a database of the test's own."""
    if backend == "lite":
        return MilvusSettings(uri=str(tmp_path / "points.db"), retry_deadline=5)
    own: MilvusSettings = request.getfixturevalue("database")
    return own


def job(settings: MilvusSettings, rows: int = ROWS, into: Any = Points) -> Job:
    """A job whose vectors lie in clusters, so that lists of vectors mean something."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, DIM)) * 2
    vectors = (centres[rng.integers(40, size=rows)] + rng.normal(size=(rows, DIM))).astype(np.float32)
    source = RowsSource([{"id": number, "v": vector} for number, vector in enumerate(vectors)], key="id")
    return Job.check({"job": "points", "into": into, "milvus": settings, "source": source, "workers": 0}, "test")


@pytest.fixture
def filled(settings: MilvusSettings) -> Job:
    """The same, run."""
    made = job(settings)
    assert connector.run(made).counts.written == ROWS
    return made


def collections(settings: MilvusSettings) -> list[str]:
    """All there are."""
    with connect(settings) as connection:
        return sorted(connection.call("list", connection.client.list_collections))


def few(choice: Choice) -> bool:
    """Exact search, and one index of each kind."""
    return choice.index.type in FEW and getattr(choice.index, "M", 16) == 16


def test_recall_speed_and_size_of_each_index(filled: Job, settings: MilvusSettings) -> None:
    """Rule: exact search finds everything; all lists find everything and one does not; nothing of the job is touched, nothing is left."""
    before = collections(settings)
    found = bench_indexes(filled, queries=60, only=few)
    assert collections(settings) == before
    assert [one.index for one in found.indexes] == ["HNSW(M=16, ef_construction=200)", "FLAT()", "IVF_FLAT(nlist=128)"]
    assert [one.declared for one in found.indexes] == [True, False, False]
    hnsw, flat, ivf = ({tuple(point.params.items()): point for point in one.points} for one in found.indexes)
    assert flat[()].recall == 1.0
    assert ivf[("nprobe", 64),].recall > 0.99
    assert ivf[("nprobe", 1),].recall < ivf[("nprobe", 4),].recall <= ivf[("nprobe", 16),].recall
    assert hnsw[("ef", 16),].recall <= hnsw[("ef", 256),].recall
    assert hnsw[("ef", 256),].recall > 0.99
    for one in found.indexes:
        assert one.bytes is not None
        assert one.bytes > found.rows * DIM * 4 * 0.9
        assert all(0 < point.p50_ms <= point.p99_ms and point.qps > 0 for point in one.points)
    assert (found.rows, found.queries, found.live_rows, found.left_out) == (ROWS - 60, 60, ROWS, {})
    assert found.recommendation
    with connect(settings) as connection:
        assert Catalog(connection).have("points").generations[0].indexes["v"]["type"] == "HNSW"


@pytest.mark.parametrize("backend", ["lite"], indirect=True)
def test_build_parameters_reach_milvus_lite(filled: Job) -> None:
    """Rule: twice the links are a larger index; the client alone would have Milvus Lite build with its defaults."""
    found = bench_indexes(filled, queries=20, only=lambda choice: choice.index.type == "HNSW")
    sizes = [one.bytes or 0 for one in found.indexes]
    assert len(sizes) == 2
    assert sizes[1] > sizes[0] + found.rows * 100


@pytest.mark.parametrize("backend", ["lite"], indirect=True)
def test_the_command(filled: Job, tmp_path: Path) -> None:
    """Rule: one JSON document with the recommendation, a picture where it was asked for, and what does not fit is refused."""
    folder = Folder(tmp_path)
    folder.put("schema.py", SCHEMA)
    folder.put("job.yaml", "job: points\nsource: {kind: files, root: .}\ninto: schema.py:Points\nmilvus: {uri: points.db}\n")
    options = ("--index", "--rows", "300", "--queries", "10")
    code, out, err = folder.call("bench", "job.yaml", *options, "--plot", "indexes.svg", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert [one["index"] for one in document["indexes"]] == [
        *("FLAT()", "HNSW(M=16, ef_construction=200)", "HNSW(M=32, ef_construction=200)"),
        *("IVF_FLAT(nlist=64)", "IVF_SQ8(nlist=64)", "AUTOINDEX()"),
    ]
    assert document["left_out"] == {"SCANN(nlist=128, with_raw_data=True)": "Milvus Lite 3.2.2 does not build it for float32 vectors"}
    assert document["recommendation"].endswith("; declared is SCANN(nlist=128, with_raw_data=True), which was not measured")
    assert "SCANN" not in (picture := (tmp_path / "indexes.svg").read_text())
    assert picture.count("<polyline") == 6
    for wrong, said in (
        (("--field", "nothing"), "no vector field `nothing`"),
        (("--plot", "nowhere/x.svg"), "the folder does not exist"),
        (("--no-write",), "leave --index out"),
    ):
        code, _, err = folder.call("bench", "job.yaml", *options, *wrong)
        assert (code, said in err) == (2, True), err
    code, _, err = folder.call("bench", "job.yaml", "--plot", "x.svg")
    assert (code, "add --index" in err) == (2, True), err


SCHEMA = '''
from connector.schema import SCANN, Collection, Field, Vector, VectorField

class Points(Collection, name="points"):
    """Vectors in clusters."""
    id: int = Field(primary_key=True)
    v: Vector = VectorField(dim=16, source="v", metric="L2", index=SCANN())
'''


class Words(Collection, name="words"):
    """Two vector fields, one of them sparse."""

    id: int = Field(primary_key=True)
    v: Vector = VectorField(dim=4, source="v", index=FLAT())
    w: Vector = VectorField(dtype="sparse", source="w")


@pytest.mark.parametrize("backend", ["lite"], indirect=True)
def test_sparse_vectors_and_the_choice_of_a_field(settings: MilvusSettings) -> None:
    """Rule: of several fields one is named; sparse vectors are held against their inner products."""
    rng = np.random.default_rng(4)
    rows = [{"id": n, "v": rng.normal(size=4), "w": {int(i): float(rng.random()) for i in rng.integers(50, size=6)}} for n in range(300)]
    own = Job.check({"job": "w", "into": Words, "milvus": settings, "source": RowsSource(rows, key="id"), "workers": 0}, "test")
    connector.run(own)
    with pytest.raises(ConfigError, match="which vector field"):
        bench_indexes(own)
    found = bench_indexes(own, field="w", queries=30)
    [one] = found.indexes
    assert (one.index, one.points[0].recall, found.dim) == ("SPARSE_INVERTED_INDEX()", 1.0, None)


@pytest.mark.parametrize("backend", ["lite"], indirect=True)
def test_nothing_to_measure(settings: MilvusSettings) -> None:
    """Rule: before the first run, and with too few rows, it is said; nothing is made."""
    with pytest.raises(PlanNeeded, match="no live generation of `points`"):
        bench_indexes(job(settings))
    connector.run(job(settings, 15))
    with pytest.raises(ConfigError, match="15 vectors, too few"):
        bench_indexes(job(settings))
    assert collections(settings) == ["points__g1"]


@SERVER_ONLY
@pytest.mark.parametrize("error", [Interrupted(signal.SIGTERM), KeyboardInterrupt(), SinkError("broken on purpose")])
def test_the_scratch_collection_is_dropped_whatever_happens(settings: MilvusSettings, error: BaseException) -> None:
    """Rule: a signal and an error in the middle leave nothing on the server."""
    own = job(settings, 200)
    connector.run(own)
    seen: list[str] = []

    def ends(_: Choice) -> bool:
        seen.extend(name for name in collections(settings) if name.startswith(PREFIX))
        raise error

    with pytest.raises(type(error)):
        bench_indexes(own, queries=10, only=ends)
    assert len(seen) == 1
    assert collections(settings) == ["points__g1"]


KILLED = """
import os, signal, sys
from connector.commands.indexbench.scratch import scratch
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.schema import FLAT
from connector.schema.spec import VectorFieldSpec
with connect(MilvusSettings.model_validate_json(sys.stdin.read())) as connection:
    with scratch(connection, VectorFieldSpec(name="v", dim=4, metric="L2", index=FLAT())) as sink:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def connection(settings: MilvusSettings) -> Iterator[Connection]:
    """Open."""
    with connect(settings) as opened:
        yield opened


@SERVER_ONLY
def test_what_a_killed_measurement_left_is_dropped_by_the_next(settings: MilvusSettings, connection: Connection) -> None:
    """Rule: its process is gone, so nobody needs it; said by name, once."""
    token = settings.token.get_secret_value() if settings.token else None
    given = json.dumps({**settings.model_dump(mode="json"), "token": token})
    done = subprocess.run([sys.executable, "-c", KILLED], input=given, text=True, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    [left] = collections(settings)
    assert tidy(connection) == [f"dropped {left}, which a measurement left behind"]
    assert tidy(connection) == collections(settings) == []


@SERVER_ONLY
def test_a_measurement_that_may_be_under_way_is_left_alone(settings: MilvusSettings, connection: Connection) -> None:
    """Rule: of a process that lives, or of another machine, it is named; after a day it goes, whoever made it."""
    field = VectorFieldSpec(name="v", dim=4, metric="L2", index=FLAT())
    with scratch(connection, field) as sink:
        [said] = tidy(connection)
        assert said.startswith(f"{sink.collection} is of process ")
        assert collections(settings) == [sink.collection]
    far = f"{PREFIX}00000000"
    owner = {"host": "elsewhere", "pid": 1, "begun": time.time()}
    key = FieldSpec(name="id", type="INT64", primary_key=True)
    spec = CollectionSpec(name=far, fields=(key,), vectors=(field,), properties={OWNER: json.dumps(owner)})
    Catalog(connection).apply([CreateCollection(far)], Want(spec, {}))
    assert tidy(connection) == [f"{far} is of process 1 on elsewhere; if that measures no more, drop it in Milvus"]
    Catalog(connection).write(far, {OWNER: json.dumps({**owner, "begun": time.time() - 25 * 3600})})
    assert tidy(connection) == [f"dropped {far}, which a measurement left behind"]

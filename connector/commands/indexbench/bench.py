"""Measures the indexes that a field could have, on a random sample of the job's own live vectors; touches nothing of the job.

The sample goes into a collection that is made for it. One index after the other is built there, and rows that were left out of it are
searched for, one at a time, with several search parameters. Each answer is held against exact search, computed here.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connector.commands.crowd import CROWDED, crowd
from connector.commands.indexbench.choices import Choice, Params, choices, label, words
from connector.commands.indexbench.exact import Truth
from connector.commands.indexbench.result import IndexBench, Measured, Point
from connector.commands.indexbench.sample import Sample, field_of, sample_of
from connector.commands.indexbench.scratch import KEY, scratch, tidy
from connector.commands.indexbench.sizes import estimate
from connector.errors import ConfigError, SinkError
from connector.job import Job
from connector.job.loading import load_collection
from connector.milvus import features
from connector.milvus.client import Connection, connect
from connector.milvus.recall import K
from connector.milvus.sink import MilvusSink
from connector.milvus.trial import Trial
from connector.record import Window
from connector.schema.spec import VectorFieldSpec
from connector.stopping import Stop

ROWS, QUERIES = 20_000, 200
"""Defaults: enough rows that an index differs from exact search, enough queries for a 99th percentile."""

BUILD_LIMIT = 120.0
"""Seconds that an index may take to be built."""

_WINDOW = 2_048
_WARM = 10
_INDEXED = 1_024


def bench_indexes(
    job: Job,
    *,
    field: str | None = None,
    rows: int = ROWS,
    queries: int = QUERIES,
    stop: Stop | None = None,
    only: Callable[[Choice], bool] = lambda _: True,
) -> IndexBench:
    """Measures the declared index and its alternatives.

    Args:
        job: Whose live collection.
        field: The vector field; needed only where there are several.
        rows: Most vectors that are indexed.
        queries: Most vectors that are searched for.
        stop: Ends it early.
        only: Which of the indexes are tried.

    Raises:
        ConfigError: There is no such field, or there are too few vectors to measure anything.
        PlanNeeded: There is no live generation, or it has no such field.
    """
    spec = load_collection(job.into)
    declared = field_of(spec, field)
    with connect(job.milvus) as connection:
        notes = [] if connection.server.lite else tidy(connection)
        sample = sample_of(connection, spec, declared, rows, queries)
    with _somewhere(job) as (connection, folder), scratch(connection, sample.field) as sink:
        result = _empty(job, sample, connection, notes)
        _fill(sink, sample)
        trial, truth = Trial(connection, sink), Truth(sample.field, sample.rows, sample.asked)
        trial.flush()
        there = features.built(sample.field, connection.server)
        if declared.index.type not in there or sample.field.dtype not in declared.index.kinds:
            result.left_out[label(declared.index)] = f"{connection.server.text} does not build it for {sample.field.dtype} vectors"
            there -= {declared.index.type}
        for choice in filter(only, choices(sample.field, len(sample.rows), there)):
            (stop or Stop()).check()
            _try(trial, truth, sample, choice, result, folder)
    return result


@contextlib.contextmanager
def _somewhere(job: Job) -> Iterator[tuple[Connection, Path]]:
    """The job's server, or a new Milvus Lite file; with a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="connector-bench-", ignore_cleanup_errors=True) as made:
        settings = job.milvus.model_copy(update={"uri": str(Path(made) / "bench.db")}) if job.milvus.lite else job.milvus
        with connect(settings) as connection:
            yield connection, Path(made)


def _empty(job: Job, sample: Sample, connection: Connection, notes: list[str]) -> IndexBench:
    field, busy = sample.field, crowd()
    if busy > (os.cpu_count() or 1) * CROWDED:
        notes.append(f"other programs kept {busy:.1f} cores busy on this machine: rates are too low, and their order unsure")
    if len(sample.rows) < _INDEXED and not connection.server.lite:
        notes.append(f"a server searches fewer than {_INDEXED:,} rows without any index: give it more")
    return IndexBench(
        job=job.job,
        collection=sample.live,
        field=field.name,
        dtype=field.dtype,
        dim=field.dim,
        metric=field.metric,
        server=connection.server.text,
        live_rows=sample.live_rows,
        rows=len(sample.rows),
        queries=len(sample.asked),
        declared=label(field.index),
        notes=notes,
    )


def _fill(sink: MilvusSink, sample: Sample) -> None:
    for start in range(0, len(sample.rows), _WINDOW):
        some = sample.rows[start : start + _WINDOW]
        rows = [{KEY: number} for number in range(start, start + len(some))]
        receipt = sink.write(Window(parts=[], rows=rows, vectors={sample.field.name: _array(sample.field, some)}))
        if receipt.rejects:
            raise SinkError(f"{sink.collection}: a copied vector was refused: {next(iter(receipt.rejects.values()))}")


def _array(field: VectorFieldSpec, vectors: Sequence[Any]) -> Any:
    if field.dim is None:
        return list(vectors)
    stacked = np.stack(vectors)
    return stacked.astype(np.float32) if field.dtype == "float16" else stacked


def _try(trial: Trial, truth: Truth, sample: Sample, choice: Choice, result: IndexBench, folder: Path) -> None:
    """Builds, loads and searches one index; one that the server cannot build is noted."""
    name = label(choice.index)
    try:
        built, loaded = trial.build(choice.index, BUILD_LIMIT), trial.load()
    except (SinkError, ConfigError) as error:
        result.left_out[name] = error.message
        trial.drop()
        return
    points = _points(trial, truth, sample, choice, result.left_out)
    files = sum(path.stat().st_size for path in folder.glob("**/indexes/*"))  # of Milvus Lite
    weights = sum(map(len, sample.rows)) if sample.field.dim is None else 0
    result.indexes.append(
        Measured(
            index=name,
            declared=choice.declared,
            exact=choice.index.type in {"FLAT", "BIN_FLAT"},
            build_s=built,
            load_s=loaded,
            bytes=files or estimate(choice.index, sample.field, len(sample.rows), weights),
            estimated=not files,
            points=points,
        )
    )
    trial.drop()


def _points(trial: Trial, truth: Truth, sample: Sample, choice: Choice, left_out: dict[str, str]) -> list[Point]:
    """One index with all its search parameters, which take turns at every query, so that a slow moment of the machine hits them alike."""
    wanted = min(K, len(sample.rows))
    takes = [params for params in choice.searches if _warm(trial, sample, wanted, (choice, params), left_out)]
    seconds, recalls = ([list[float]() for _ in takes] for _ in range(2))
    for place, vector in enumerate(sample.asked):
        for number, params in enumerate(takes):
            found, took = trial.search(vector, wanted, params)
            seconds[number].append(took)
            if (recall := truth.recall(place, found)) is not None:
                recalls[number].append(recall)
    return [_point(params, *told) for params, *told in zip(takes, seconds, recalls, strict=True)]


def _warm(trial: Trial, sample: Sample, wanted: int, what: tuple[Choice, Params], left_out: dict[str, str]) -> bool:
    """Some searches that are not counted; False if the server refuses the parameters, which is noted."""
    choice, params = what
    try:
        for vector in sample.asked[:_WARM]:
            trial.search(vector, wanted, params)
    except (SinkError, ConfigError) as error:
        left_out[f"{label(choice.index)} with {words(params) or 'no parameters'}"] = error.message
        return False
    return True


def _point(params: Params, seconds: list[float], recalls: list[float]) -> Point:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    recall = float(np.mean(recalls)) if recalls else 1.0
    return Point(params=dict(params), recall=recall, qps=len(seconds) / sum(seconds), p50_ms=float(p50), p99_ms=float(p99))

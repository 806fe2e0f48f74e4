"""A listing that is not whole, from every kind of source: what arrived is written, nothing is deleted; mended, it is swept."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import connector
from connector import registry
from connector.errors import ConnectorError
from connector.job import Job
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.oracle import check_job

KEYS = [f"k{number:02}" for number in range(40)]


class Notes(Collection):
    """Rows from anywhere."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=100)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


class Broken:
    """Rows that break off in the middle, as a cursor or a network does."""

    def __iter__(self) -> Iterator[dict[str, str]]:
        yield from ({"key": key, "text": f"text {key}"} for key in KEYS[:20])
        raise OSError("connection reset by peer")


def put_files(folder: Path, keys: list[str], *, whole: bool) -> Any:
    """A file each, half of them in a folder that cannot be listed when it is not whole."""
    for old in [*folder.glob("*/*.txt")]:
        old.unlink()
    for key in keys:
        path = folder / ("a" if key < "k20" else "b") / f"{key}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"text {key}")
        os.utime(path, (1e9, 1e9))
    return {"kind": "files", "root": str(folder)}


def put_jsonl(folder: Path, keys: list[str], *, whole: bool) -> Any:
    """Two packed files, the second cut when it is not whole."""
    return _tables(folder, keys, ".jsonl.gz", _write_jsonl, whole=whole)


def put_csv(folder: Path, keys: list[str], *, whole: bool) -> Any:
    """The same as CSV."""
    return _tables(folder, keys, ".csv.gz", _write_csv, whole=whole)


def put_tsv(folder: Path, keys: list[str], *, whole: bool) -> Any:
    """The same with tabs."""
    return _tables(folder, keys, ".tsv.gz", _write_tsv, whole=whole)


def put_parquet(folder: Path, keys: list[str], *, whole: bool) -> Any:
    """The same as Parquet, packed within."""
    return _tables(folder, keys, ".parquet", _write_parquet, whole=whole)


def put_rows(folder: Path, keys: list[str], *, whole: bool) -> Any:
    """An iterable of dicts that raises when it is not whole."""
    rows = [{"key": key, "text": f"text {key}"} for key in keys] if whole else Broken()
    return connector.source("rows", rows=rows, key="key")


def _tables(folder: Path, keys: list[str], suffix: str, write: Callable[[Path, list[str]], None], *, whole: bool) -> Any:
    first, second = folder / f"a{suffix}", folder / f"b{suffix}"
    write(first, [key for key in keys if key < "k20"])
    write(second, [key for key in keys if key >= "k20"])
    if not whole:
        second.write_bytes(second.read_bytes()[:-30])
    return {"kind": suffix.split(".")[1], "path": str(folder / f"*{suffix}"), "key": "key"}


def _write_jsonl(path: Path, keys: list[str]) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"key": key, "text": f"text {key}"}) + "\n" for key in keys)


def _write_csv(path: Path, keys: list[str], delimiter: str = ",") -> None:
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["key", "text"], *([key, f"text {key}"] for key in keys)])


def _write_tsv(path: Path, keys: list[str]) -> None:
    _write_csv(path, keys, "\t")


def _write_parquet(path: Path, keys: list[str]) -> None:
    pq.write_table(pa.table({"key": keys, "text": [f"text {key}" for key in keys]}), path)


MAKERS = {"files": put_files, "jsonl": put_jsonl, "csv": put_csv, "tsv": put_tsv, "parquet": put_parquet, "rows": put_rows}


def test_every_kind_is_here() -> None:
    """A new kind of source must say how it breaks off."""
    assert set(MAKERS) == set(registry.names("sources"))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_partial_listing_deletes_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be listed has not vanished: nothing goes, the exit code says so, and the next whole listing is swept."""
    folder = tmp_path / "data"
    folder.mkdir()

    def run(keys: list[str], *, whole: bool = True) -> tuple[int, RunReport]:
        job = job_over(MAKERS[kind](folder, keys, whole=whole))
        with monkeypatch.context() as patch:
            if kind == "files" and not whole:
                real = os.scandir
                patch.setattr(os, "scandir", lambda path=".": _denied() if str(path).endswith("b") else real(path))
            try:
                report = connector.run(job)
            except (ConnectorError, OSError) as error:
                return getattr(error, "exit_code", 1), error.report  # type: ignore[union-attr]  # every run that began has one
            return report.exit_code, report

    def job_over(source: Any) -> Job:
        given = {"job": "j", "into": Notes, "source": source, "milvus": {"uri": str(tmp_path / "x.db")}}
        return Job.check({**given, "state": tmp_path / "state.db", "sync": "mirror"}, "test")

    assert run(KEYS)[0] == 0
    code, report = run(KEYS[2:], whole=False)
    assert (code, report.counts.deleted) == (1 if kind == "rows" else 3, 0)
    verdict = check_job(job_over(MAKERS[kind](folder, KEYS[2:], whole=True)))
    assert verdict.counts == {"missing": 0, "doubled": 0, "stale": 0, "foreign": 2}
    assert run(KEYS[2:])[1].counts.deleted == 2
    assert check_job(job_over(MAKERS[kind](folder, KEYS[2:], whole=True))).right


def _denied() -> Any:
    raise PermissionError(13, "Permission denied")

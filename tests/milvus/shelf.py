"""A shelf of things: a job over rows with generated keys, ways to damage its collection, and what must be there in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from connector.job import Job
from connector.job.loading import load_collection
from connector.milvus.client import Connection, connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Key, Row, Window
from connector.schema import Collection, Field, Vector, VectorField
from connector.sources.rows import RowsSource
from connector.testing.encoders import fake_vector


class Shelf(Collection):
    """Generated keys, words encoded."""

    id: str = Field(primary_key=True, generated=True)
    sku: str = Field(max_length=8)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


ROWS: list[dict[str, Any]] = [{"sku": f"s{number}", "title": f"thing {number}"} for number in range(40)]


def shelf_job(settings: MilvusSettings, rows: list[dict[str, Any]] | None = None, **keys: Any) -> Job:
    """A job that mirrors these rows, forty by default, onto the shelf."""
    source = RowsSource(ROWS if rows is None else rows, key="sku")
    return Job.check({"job": "shelf", "into": Shelf, "milvus": settings, "source": source, "sync": "mirror", "workers": 0, **keys}, "test")


Tamper = Callable[..., None]
"""Damages one document of the shelf, s7 unless another one is named."""


def open_shelf(connection: Connection) -> MilvusSink:
    """The collection, to look at and to damage."""
    return MilvusSink(connection, "shelf__g1", load_collection(Shelf))


def row_of(sink: MilvusSink, sku: str) -> tuple[Key, Row]:
    """One stored row, whole."""
    fields = ["id", "sku", "title", "vector", "connector_namespace", "connector_key", "connector_content"]
    [row] = [row for row in sink.scan(None, fields) if row["sku"] == sku]
    return row["id"], row


def rewrite(sink: MilvusSink, row: Row) -> None:
    """Upserts a row as if somebody else had written it."""
    vector = np.asarray(row.pop("vector"), dtype=np.float32)[None]
    MilvusSink(sink._connection, sink.collection, sink.spec).write(Window([], [row], {"vector": vector}))


def drop(sink: MilvusSink, sku: str = "s7") -> None:
    """A row is lost."""
    sink.delete([row_of(sink, sku)[0]])


def flip(sink: MilvusSink, sku: str = "s7") -> None:
    """The last bit of one number of one vector flips."""
    _, row = row_of(sink, sku)
    row["vector"] = np.array(row["vector"])
    row["vector"][3] = np.nextafter(row["vector"][3], np.float32(9))
    rewrite(sink, row)


def retitle(sink: MilvusSink, sku: str = "s7") -> None:
    """A scalar of one row is another one."""
    _, row = row_of(sink, sku)
    rewrite(sink, {**row, "title": "somebody else's"})


def contents(settings: MilvusSettings) -> dict[str, tuple[str, bool]]:
    """Sku to title, and whether the vector is that title's."""
    with connect(settings) as connection:
        rows = list(open_shelf(connection).scan(None, ["sku", "title", "vector"]))
    assert len(rows) == len({row["sku"] for row in rows})
    return {row["sku"]: (row["title"], np.array_equal(row["vector"], fake_vector(row["title"]))) for row in rows}


GOOD = {row["sku"]: (row["title"], True) for row in ROWS}

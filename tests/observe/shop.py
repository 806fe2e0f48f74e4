"""A small collection, and a job that fills it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector.job import Job
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.faulty_milvus import FaultyMilvus
from connector.testing.sources import ListSource

ROWS = 25


class Shop(Collection):
    """Words encoded; what is called bad is refused."""

    id: str = Field(primary_key=True, generated=True)
    key: str = Field(max_length=20)
    text: str = Field(max_length=60)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", fail_on=("bad",), budget=20)


def rows(count: int = ROWS, *bad: int) -> list[dict[str, Any]]:
    """Texts of two and three words; those with these numbers cannot be encoded."""
    return [
        {"key": f"k{number}", "text": f"{'bad' if number in bad else 'thing'} {number}{' more' * (number % 2)}"} for number in range(count)
    ]


def job_of(items: list[dict[str, Any]], milvus: FaultyMilvus | str, name: str = "shop", **given: Any) -> Job:
    """A job that mirrors these rows."""
    reach = {"uri": milvus} if isinstance(milvus, str) else milvus.settings(timeout=5, retry_deadline=3)
    source = ListSource(items, "listing")
    values = {"job": name, "into": Shop, "source": source, "milvus": reach, "state": Path(f"{name}.state.db"), "sync": "mirror"}
    return Job.check({**values, **given}, "test")

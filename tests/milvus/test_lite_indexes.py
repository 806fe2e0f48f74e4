"""A process that is killed while Milvus Lite writes an index leaves a file that cannot be read; the next command mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

import connector
from connector.errors import SinkError
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.lite_indexes import load
from connector.milvus.settings import MilvusSettings
from connector.schema import Collection, Field, Vector, VectorField


class Things(Collection):
    """Titles."""

    id: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=40)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", revision="1")


def run(count: int) -> connector.RunReport:
    """Writes so many rows, and closes the file, which then builds its indexes."""
    return connector.run([{"id": f"k{number}", "title": f"thing {number}"} for number in range(count)], into=Things, milvus="things.db")


def indexes() -> list[Path]:
    """The index files."""
    return sorted(Path("things.db").glob("collections/*/partitions/*/indexes/*.idx"))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_an_unfinished_index_is_built_anew(share: float) -> None:
    """Wherever writing ended: runs and searches go on, and every row is found."""
    run(30)
    with connect(MilvusSettings(uri="things.db")) as connection:
        Catalog(connection).load("things__g1")
    assert indexes()
    for file in indexes():
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    [hit] = connector.search(Things, "thing 7", milvus="things.db", limit=1)
    assert hit.id == "k7"
    for file in indexes():
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    report = run(31)
    assert (report.exit_code, report.counts.written, report.encoded) == (0, 1, 1)
    assert len(connector.search(Things, "thing 7", milvus="things.db", limit=50)) == 31


def test_what_is_no_index_is_left_alone() -> None:
    """A collection that cannot be loaded for another reason says so, after one more try if there were index files; no data is touched."""
    run(30)
    calls = [0]

    def fails() -> None:
        calls[0] += 1
        raise SinkError("load things__g1: no")

    with connect(MilvusSettings(uri="things.db")) as connection:
        Catalog(connection).load("things__g1")
        data = {path: path.read_bytes() for path in Path("things.db").rglob("data/*") if path.is_file()}
        for wanted in (2, 3):
            with pytest.raises(SinkError, match="no"):
                load(connection, "things__g1", fails)
            assert calls == [wanted]
        assert indexes() == []
        assert data
        assert all(path.read_bytes() == content for path, content in data.items())

"""Tables end to end, into Milvus Lite: keys from the schema, mirrors that delete only what is gone, ready-made vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import connector
from connector.errors import ConfigError, Refused
from connector.job import Job
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField

SCHEMA = '''
from connector.schema import Collection, Field, Vector, VectorField

class Products(Collection):
    """One row a product, vectors ready-made."""
    sku: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=40)
    stock: int = 0
    embedding: Vector = VectorField(dim=3, source="embedding")

class Words(Collection):
    """One row a product, words encoded."""
    sku: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=40)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")

class Numbered(Collection):
    """Generated keys."""
    id: str = Field(primary_key=True, generated=True)
    title: str = Field(max_length=40)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")

class Passages(Collection):
    """Texts of files that a table names."""
    id: str = Field(primary_key=True, generated=True)
    sku: str = Field(max_length=16)
    title: str = Field(max_length=40, default="")
    text: str = Field(max_length=400)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")
'''


@pytest.fixture(autouse=True)
def _schema(tmp_path: Path) -> None:
    (tmp_path / "schema.py").write_text(SCHEMA)


def product(number: int, **changes: Any) -> dict[str, Any]:
    """A row."""
    return {"sku": f"s{number}", "title": f"thing {number}", "stock": number, "embedding": [number, 1.0, 0.5], **changes}


def put(rows: list[Any], name: str = "t.jsonl") -> None:
    """Writes JSON lines; text stands as it is."""
    Path(name).write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def run(into: str = "Products", path: str = "t.jsonl", kind: str = "jsonl", **keys: Any) -> RunReport:
    """Runs a job over a table."""
    keys["source"] = {"kind": kind, "path": path, **keys.get("source", {})}
    return connector.run(Job.check({"job": "t", "into": f"schema.py:{into}", "milvus": {"uri": "t.db"}, **keys}, "t.yaml"))


def stored(into: str = "Products", key: str = "s0", **options: Any) -> dict[Any, dict[str, Any]]:
    """The fields of every row, by primary key, found from one of them."""
    hits = connector.search(f"schema.py:{into}", connector.Key(key), milvus="t.db", limit=100, **options)
    return {hit.id: hit.fields for hit in hits}


def test_a_yaml_job_over_a_table() -> None:
    """The document key comes from the schema's primary key; a second run finds nothing to do; a changed row is made again, alone."""
    put([product(number) for number in range(20)])
    Path("job.yaml").write_text(
        "version: 1\njob: t\nsource: {kind: jsonl, path: '*.jsonl'}\ninto: schema.py:Products\nmilvus: {uri: t.db}\nsync: mirror\n"
    )
    assert connector.run("job.yaml").counts.written == 20
    put([product(99), *(product(number, stock=7 if number == 3 else number) for number in range(20))])
    report = connector.run("job.yaml")
    assert (report.counts.written, report.counts.unchanged, report.counts.deleted, report.exit_code) == (2, 19, 0, 0)
    put([product(number) for number in range(19)])
    report = connector.run("job.yaml")
    assert (report.counts.written, report.counts.unchanged, report.counts.deleted) == (1, 18, 2)
    assert connector.run("job.yaml").counts.unchanged == 19
    assert sorted(stored()) == sorted(f"s{number}" for number in range(19))


def test_map_names_the_key_column() -> None:
    """The primary key's column in the table is the one that `map` says."""
    put([{"article": f"a{number}", "name": "words"} for number in range(3)])
    mapping = {"sku": "article", "title": "name"}
    assert run("Words", map=mapping, sync="mirror").counts.written == 3
    put([{"article": f"a{number}", "name": "words"} for number in range(1, 3)])
    report = run("Words", map=mapping, sync="mirror")
    assert (report.counts.unchanged, report.counts.deleted) == (2, 1)


def test_a_transform_sees_the_columns() -> None:
    """A row in, a row or none out; the listing's keys are the table's own."""
    put([product(number) for number in range(4)])

    def twice(row: dict[str, Any]) -> dict[str, Any] | None:
        return {**row, "title": row["title"] * 2} if row["stock"] % 2 else None

    report = run(transform=twice)
    assert (report.counts.written, report.counts.empty) == (2, 2)
    assert {fields["title"] for fields in stored(key="s1").values()} == {"thing 1thing 1", "thing 3thing 3"}


def test_numbered_rows_are_never_mirrored() -> None:
    """Line numbers change their meaning when a line is inserted: such a mirror is refused before anything is opened."""
    put([product(1)])
    for keys in ({"into": "Numbered"}, {"source": {"key": None}}):
        with pytest.raises(ConfigError, match="sync mirror needs keys that stay"):
            run(sync="mirror", **keys)
    assert not Path("t.db").exists()
    assert run("Numbered").counts.written == 1
    assert run("Numbered", source={"key": "sku"}, sync="mirror", namespace="other").counts.written == 1


def test_a_row_without_a_readable_key_holds_the_sweep() -> None:
    """It may be any of the rows that seem to be gone, so none is deleted, even if rejects are tolerated."""
    put([product(number) for number in range(5)])
    run(sync="mirror")
    put([product(0), product(1), product(2), product(3), '{"sku": "s4", "title": '])
    with pytest.raises(Refused, match="1 rows of the source have no readable key, and may be these"):
        run(sync="mirror", rejects={"fail_over": 1})
    assert "s4" in stored()
    put([product(number) for number in range(4)])
    assert run(sync="mirror").counts.deleted == 2


def test_a_broken_file_holds_the_sweep() -> None:
    """What is behind the break is not known: what came before is written, nothing is deleted, exit code 3."""
    for name, numbers in (("a.csv", range(5)), ("b.csv", range(5, 10))):
        Path(name).write_text("sku,title\n" + "".join(f"s{number},thing {number}\n" for number in numbers))
    assert run("Words", "*.csv", "csv", sync="mirror").counts.written == 10
    Path("a.csv").write_text('sku,title\ns0,new\ns1,"thing 1\ns2,thing 2\n')
    report = run("Words", "*.csv", "csv", sync="mirror")
    assert (report.exit_code, report.counts.written, report.counts.unchanged, report.counts.deleted) == (3, 1, 5, 0)
    assert report.gaps == ["a.csv: line 3: a quote is opened and never closed"]
    assert len(stored("Words")) == 10


def test_one_key_in_two_files() -> None:
    """The first row counts, the later one is named and rejected."""
    put([product(1)], "a.jsonl")
    put([product(1, title="other"), product(2)], "b.jsonl")
    report = run(path="*.jsonl")
    assert (report.counts.written, report.counts.rejected, report.exit_code) == (2, 1, 3)
    assert report.rejects == ["s1: this key is listed twice; the first one is used"]


def test_an_integer_that_does_not_fit_is_rejected_by_name() -> None:
    """Beyond 64 bits a number is not cut or rounded on its way: the field says that it does not fit."""
    put([product(1), product(2, stock=2**63), product(3, stock=2**70), product(4, stock=2**63 - 1)])
    report = run()
    assert report.counts.written == 2
    reasons = sorted(reason.partition("but")[0] for reason in report.rejects)
    assert reasons == [f"s{n} row 0: field `stock`: int {value}, " for n, value in ((2, 2**63), (3, 2**70))]
    assert stored(key="s1")["s4"]["stock"] == 2**63 - 1


def test_typed_columns_of_a_csv() -> None:
    """Text is no number unless the job says so."""
    Path("t.csv").write_text('sku,title,stock,embedding\ns0,a,5,"[1, 2, 3]"\ns1,b,x,"[1, 2, 3]"\n')
    report = run(path="t.csv", kind="csv", source={"types": {"stock": "int", "embedding": "json"}})
    assert report.rejects[0].startswith("t.csv:3: t.csv, line 3: column `stock`: 'x' is no int")
    assert stored()["s0"]["stock"] == 5
    report = run(path="t.csv", kind="csv", source={"types": {"embedding": "json"}})
    assert "field `stock`: str '5', but the field wants an int" in report.rejects[0]


class Items(Collection):
    """Ready-made vectors from a column."""

    id: int = Field(primary_key=True)
    vector: Vector = VectorField(dim=4, source="embedding", metric="L2")


def parquet(vectors: Any, name: str = "t.parquet") -> None:
    """Writes a table of numbered vectors."""
    pq.write_table(pa.table({"id": list(range(len(vectors))), "embedding": vectors}), name)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 4), pa.list_(pa.float64()), pa.list_(pa.float16(), 4)])
def test_ready_made_vectors_from_parquet(kind: pa.DataType) -> None:
    """They are stored as they are and found by key; the second run encodes, reads and writes nothing."""
    vectors = np.arange(40, dtype=np.float16).reshape(10, 4)
    parquet(pa.array(list(vectors), pa.list_(pa.float16())).cast(kind))
    source = connector.source("parquet", path="t.parquet")
    report = connector.run(source, into=Items, milvus="t.db")
    assert (report.counts.written, report.encoded, report.exit_code) == (10, 0, 0)
    assert connector.run(source, into=Items, milvus="t.db", sync="mirror").counts.unchanged == 10
    hits = connector.search(Items, connector.Key(3), milvus="t.db", limit=3)
    assert hits[0].id == 3
    assert {hit.id for hit in hits} == {2, 3, 4}
    parquet(pa.array([*vectors[:9], vectors[9] + 1], pa.list_(pa.float16())).cast(kind))
    assert connector.run(source, into=Items, milvus="t.db").counts.written == 1


def test_unfit_vectors_are_rejected_by_name() -> None:
    """Length, NaN, infinity, None and a missing list: each row says what is wrong with its column, the others land."""
    rows = [[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, float("nan")], None, [1, 2, 3, 1e39], [1, None, 3, 4], []]
    put([{"id": number, "embedding": vector} for number, vector in enumerate(rows)])
    report = connector.run(connector.source("jsonl", path="t.jsonl"), into=Items, milvus="t.db")
    assert report.counts.written == 1
    assert [reason.partition("  hint")[0] for reason in report.rejects] == [
        "1 row 0: field `embedding`: a vector of shape (3,), but the field wants dim 4",
        "2 row 0: field `embedding`: numbers that are not finite in float32",
        "3 row 0: field `embedding`: no vector",
        "4 row 0: field `embedding`: numbers that are not finite in float32",
        "5 row 0: field `embedding`: a vector with None in it",
        "6 row 0: field `embedding`: a vector of shape (0,), but the field wants dim 4",
    ]
    parquet(pa.array(rows, pa.list_(pa.float64())))
    again = connector.run(connector.source("parquet", path="t.parquet"), into=Items, milvus="another.db")
    assert [reason.partition("  hint")[0] for reason in again.rejects] == [reason.partition("  hint")[0] for reason in report.rejects]


class Sparse(Collection):
    """Ready-made sparse vectors."""

    id: int = Field(primary_key=True)
    weights: Vector = VectorField(dtype="sparse", source="weights")


def test_sparse_vectors() -> None:
    """A map column, or a JSON object whose keys are numbers as text; an index that is no number is named."""
    weights = pa.array([{3: 0.5, 9: 1.0}, {7: 2.0}], pa.map_(pa.int32(), pa.float32()))
    pq.write_table(pa.table({"id": [0, 1], "weights": weights}), "t.parquet")
    assert connector.run(connector.source("parquet", path="t.parquet"), into=Sparse, milvus="t.db").counts.written == 2
    put([{"id": 2, "weights": {"3": 0.5}}, {"id": 3, "weights": {"03": 0.5}}, {"id": 4}])
    report = connector.run(connector.source("jsonl", path="t.jsonl"), into=Sparse, milvus="t.db")
    assert report.counts.written == 1
    assert report.rejects[0].startswith("3 row 0: field `weights`: index '03', but the field wants integers")
    assert report.rejects[1].startswith("4 row 0: field `weights`: no vector; the row has: ")
    assert {hit.id for hit in connector.search(Sparse, connector.Key(2), milvus="t.db")} == {0, 2}


def test_ready_made_vectors_need_no_model_library() -> None:
    """Such a run imports neither torch nor a tokenizer."""
    put([product(number) for number in range(3)])
    code = (
        "import sys, connector\n"
        "report = connector.run(connector.source('jsonl', path='t.jsonl'), into='schema.py:Products', milvus='t.db')\n"
        "print(report.counts.written, *(name for name in ('torch', 'tokenizers', 'transformers', 'timm', 'PIL') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3"]


def test_texts_by_a_path_column() -> None:
    """The files that a table names are parsed and split as listed files are; a missing one rejects its row and is tried again."""
    Path("texts").mkdir()
    Path("texts/a.md").write_text("# Title A\n\nwords of a")
    put([{"sku": "a", "file": "a.md"}, {"sku": "b", "file": "b.txt"}, {"sku": "c", "file": "../schema.py"}])
    keys: dict[str, Any] = {"into": "Passages", "root": "texts", "read": ["file"], "source": {"key": "sku"}, "sync": "mirror"}
    report = run(**keys)
    assert report.counts.written == 1
    assert report.rejects[0].startswith("b: column `file`: b.txt: No such file or directory")
    assert report.rejects[1].startswith("c: column `file`: '../schema.py': the path leads out of the root")
    Path("texts/b.txt").write_text("words of b")
    report = run(**keys)
    assert (report.counts.written, report.counts.unchanged, report.counts.rejected) == (1, 1, 1)
    hits = connector.search("schema.py:Passages", "words of b", milvus="t.db")
    assert (hits[0].fields["sku"], hits[0].fields["text"]) == ("b", "words of b")
    assert {hit.fields["title"] for hit in hits} == {"Title A", ""}

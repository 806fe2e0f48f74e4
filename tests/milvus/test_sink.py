"""Rows land exactly once, bad ones alone are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from connector import faults
from connector.errors import SchemaError, Transient
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.reading import vector_of
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.plan import Want, diff
from connector.reconcile.stored import RowDigest
from connector.record import Window
from connector.schema import Collection, CollectionSpec, Field, Vector, VectorField, spec_of
from tests.milvus.tiers import LITE_ONLY

Make = dict[str, Callable[..., Any]]


class Numbers(Collection, name="numbers", dynamic=True):
    """An INT64 key and a dynamic field."""

    id: int = Field(primary_key=True)
    vector: Vector = VectorField(dim=2, source="v")


def applied(connection: Connection, spec: CollectionSpec, **options: Any) -> MilvusSink:
    """A sink into a new collection."""
    catalog, want = Catalog(connection), Want(spec, {})
    catalog.apply(diff(want, catalog.have(spec.name)), want)
    return MilvusSink(connection, f"{spec.name}__g1", spec, **options)


def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The failpoints passed from now on."""
    passed: list[str] = []
    monkeypatch.setattr(faults, "hit", passed.append)
    return passed


def nulls(spec: CollectionSpec) -> dict[str, None]:
    """None for each field that may hold it; Milvus 2.3.5 has no such fields."""
    return dict.fromkeys(field.name for field in spec.fields if field.nullable)


def test_every_value_comes_back_as_it_was(sink: MilvusSink, make: Make, spec: CollectionSpec) -> None:
    """Rule: what is read is what was written, bit by bit: scalars, arrays, JSON, null, dense and sparse vectors."""
    rows = [
        make["row"](0, note="n", title="é" * 10, sizes=[2**62, -1], data={"a": {"b": [1.5, "\u2028", None]}}),
        make["row"](1, tags=[], **nulls(spec)),
    ]
    given = make["vectors"](2)
    assert sink.write(make["window"](rows)).acknowledged == [0, 1]
    names = [*(field.name for field in spec.fields), *(field.name for field in spec.vectors)]
    found = sink.read(["s0", "s1", "s0", "missing"], names)
    assert sorted(found) == ["s0", "s1"]
    for index, row in enumerate(rows):
        back = found[f"s{index}"]
        assert {name: back[name] for name in row} == row
        assert back["vector"].dtype == np.float32
        assert (back["vector"] == given["vector"][index]).all()
        assert "words" not in given or back["words"] == given["words"][index]


def test_writing_again_replaces_and_doubles_nothing(sink: MilvusSink, make: Make, spec: CollectionSpec) -> None:
    """Rule: the same window twice leaves the same state; a changed one replaces, and a value that became None is None."""
    changed: dict[str, Any] = {"title": "new", "data": {}, "count": 7, **nulls(spec)}
    sink.write(make["window"]([make["row"](i) for i in range(3)]))
    sink.write(make["window"]([make["row"](i) for i in range(3)]))
    sink.write(make["window"]([make["row"](1, **changed)]))
    assert sink.count() == 3
    names = ["title", "count", "data"]
    assert sink.read(["s1"], names) == {"s1": {name: changed[name] for name in names}}


def test_bad_rows_of_the_window_are_not_sent(sink: MilvusSink, make: Make) -> None:
    """Rule: what an earlier station refused is not written, and vectors stay with their rows."""
    window = make["window"]([make["row"](i) for i in range(3)])
    window.bad[1] = ("conform", "no")
    receipt = sink.write(window)
    assert (receipt.acknowledged, receipt.rejects) == ([0, 2], {})
    assert sink.count() == 2
    assert sink.read(["s2"], ["vector"])["s2"]["vector"].tolist() == [9.0, 10.0, 11.0, 12.0]


def test_poison_rows_are_refused_alone(sink: MilvusSink, make: Make) -> None:
    """Rule: one bad row never takes another down, whoever notices it: Milvus, our packing, or our look at the vectors."""
    rows = [make["row"](i) for i in range(50)]
    rows[7]["title"] = "x" * 21
    rows[8]["tags"] = [1]
    rows[31]["tags"] = ["x"] * 6
    refused = [7, 8, 31, 40] if sink._connection.server.lite else [7, 8, 40]  # 2.3.5 stores arrays over their capacity
    vectors = make["vectors"](50)
    vectors["vector"][40] = np.nan
    receipt = sink.write(make["window"](rows, vectors))
    assert sorted(receipt.rejects) == refused
    assert re.search("exceeds max.length", receipt.rejects[7])
    assert "`tags`" in receipt.rejects[8]
    assert all(len(reason) < 400 and "things__g1" not in reason for reason in receipt.rejects.values())
    assert receipt.acknowledged == [i for i in range(50) if i not in receipt.rejects]
    assert sink.count() == 50 - len(refused)


def test_of_two_rows_with_one_key_the_last_wins(sink: MilvusSink, make: Make) -> None:
    """Rule: no request holds a key twice; old servers would store both."""
    receipt = sink.write(make["window"]([make["row"](1, title="first"), make["row"](2), make["row"](1, title="last")]))
    assert receipt.acknowledged == [0, 1, 2]
    assert sink.count() == 2
    assert sink.read(["s1"], ["title"]) == {"s1": {"title": "last"}}


@LITE_ONLY
def test_vectors_of_the_wrong_shape_stop_before_anything_is_sent(sink: MilvusSink, make: Make) -> None:
    """Rule: a wrong dimension is the schema's fault, not one row's."""
    vectors = {**make["vectors"](2), "vector": np.ones((2, 3), dtype=np.float32)}
    with pytest.raises(SchemaError):
        sink.write(make["window"]([make["row"](0), make["row"](1)], vectors))
    assert sink.count() == 0


def test_requests_are_bounded(connection: Connection, spec: CollectionSpec, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: a request never has more than its rows and bytes; a single row over the bytes is refused by name, the rest land."""
    applied(connection, spec)
    passed = requests(monkeypatch)
    rows = [make["row"](i) for i in range(10)]
    MilvusSink(connection, "things__g1", spec, max_request_rows=4).write(make["window"](rows))
    assert passed == ["sink.sent"] * 3 + ["sink.acknowledged"]
    passed.clear()
    rows[3]["data"] = {"x": "y" * 3000}
    receipt = MilvusSink(connection, "things__g1", spec, max_request_bytes=2000).write(make["window"](rows))
    assert list(receipt.rejects) == [3]
    assert "2000" in receipt.rejects[3]
    assert len(receipt.acknowledged) == 9
    assert passed.count("sink.sent") > 2


@LITE_ONLY
def test_an_empty_window_sends_nothing(sink: MilvusSink, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: a window of which every row was refused is acknowledged without a request."""
    passed = requests(monkeypatch)
    window: Window = make["window"]([make["row"](0)])
    window.bad[0] = ("conform", "no")
    assert sink.write(window).acknowledged == []
    assert passed == ["sink.acknowledged"]


@LITE_ONLY
def test_rows_that_were_not_counted_are_sent_again(sink: MilvusSink, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: an acknowledgement of fewer rows than were sent is an unknown outcome, not a success."""
    handler = sink._connection.client._get_connection()
    real = handler.upsert
    sent: list[int] = []

    def forgetful(*args: Any, **options: Any) -> Any:
        done = real(*args, **options)
        sent.append(done.upsert_count)
        if len(sent) == 1:
            done._upsert_cnt = 1
        return done

    monkeypatch.setattr(handler, "upsert", forgetful)
    sink.write(make["window"]([make["row"](0), make["row"](1)]))
    assert len(sent) == 2
    monkeypatch.setattr(handler, "upsert", lambda *_, **__: type("Done", (), {"upsert_count": 0}))
    with pytest.raises(Transient, match="0 rows acknowledged of 1"):
        sink.write(make["window"]([make["row"](0)]))


def test_delete_takes_exactly_these_keys(sink: MilvusSink, make: Make) -> None:
    """Rule: only the named keys go, however hostile; unknown keys and an empty list are no error."""
    hostile = "s'] or sku != \"\" or sku in ['"
    sink.write(make["window"]([make["row"](0), make["row"](1), make["row"](2, sku=hostile)]))
    assert sink.delete([]) == 0
    assert sink.delete(["s1", "unknown"]) == 2
    assert sink.delete([hostile]) == 1
    assert [row["sku"] for row in sink.scan(None, ["sku"])] == ["s0"]
    assert sink.delete([f"s{i}" for i in range(2500)]) == 2500
    assert sink.count() == 0


@pytest.mark.parametrize("page", [7, 10_000])
def test_scan_and_count_keep_to_a_namespace(sink: MilvusSink, make: Make, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: a job sees its own rows, all of them, and nobody else's, whether they fit into one page or not."""
    monkeypatch.setattr("connector.milvus.reading._PAGE_ROWS", page)
    sink.write(make["window"]([make["row"](i, connector_namespace="a" if i < 30 else 'b"') for i in range(50)]))
    assert {row["sku"] for row in sink.scan("a", ["sku", "connector_key"])} == {f"s{i}" for i in range(30)}
    assert len(list(sink.scan('b"', ["vector"]))) == 20
    assert len(list(sink.scan(None, ["sku"]))) == 50
    assert (sink.count("a"), sink.count('b"'), sink.count("c"), sink.count()) == (30, 20, 0, 50)
    assert list(sink.scan("c", ["sku"])) == []


def test_a_reopened_file_answers_reads(settings: MilvusSettings, want: Want, make: Make) -> None:
    """Rule: Milvus Lite forgets at closing that a collection was loaded; a read loads it."""
    with connect(settings) as connection:
        applied(connection, want.spec).write(make["window"]([make["row"](0)]))
    with connect(settings) as connection:
        sink = MilvusSink(connection, "things__g1", want.spec)
        assert list(sink.read(["s0"], ["title"])) == ["s0"]
    with connect(settings) as connection:
        sink = MilvusSink(connection, "things__g1", want.spec)
        assert sink.count("ns") == 1
        assert len(list(sink.scan("ns", ["sku"]))) == 1


def test_number_keys_and_the_dynamic_field(connection: Connection) -> None:
    """Rule: INT64 keys work as text keys do; a dynamic key that a new row lacks is gone, also where Milvus merges."""
    sink = applied(connection, spec_of(Numbers))
    lineage = {"connector_namespace": "ns", "connector_key": "k", "connector_content": "c"}
    vector = {"vector": np.ones((1, 2), dtype=np.float32)}
    sink.write(Window(parts=[], rows=[{"id": -7, "old": 1, **lineage}], vectors=dict(vector)))
    sink.write(Window(parts=[], rows=[{"id": -7, "new": "é", **lineage}], vectors=dict(vector)))
    found = connection.call("query", connection.client.query, "numbers__g1", filter="id == -7", output_fields=["*"])
    assert {name for name in found[0] if not name.startswith("connector_")} == {"id", "new", "vector"}
    assert sink.read([-7], ["id", "vector"])[-7]["vector"].tolist() == [1.0, 1.0]
    assert sink.delete([-7]) == 1
    assert sink.count() == 0


@pytest.mark.parametrize(
    ("dtype", "stored", "dim", "found"),
    [
        ("float16", [np.ones(2, dtype=np.float16).tobytes()], 2, [1.0, 1.0]),
        ("int8", [b"\x01\xff"], 2, [1, -1]),
        ("binary", [b"\x01\xff"], 16, [1, 255]),
        ("bfloat16", [b"\x80\x3f"], 1, [0x3F80]),
    ],
)
@LITE_ONLY
def test_narrow_vectors_are_read(spec: CollectionSpec, dtype: str, stored: list[bytes], dim: int, found: list[float]) -> None:
    """Rule: servers answer with bytes for narrow vectors; they come back in the type that a window holds."""
    field = spec.vectors[0].model_copy(update={"dtype": dtype, "dim": dim})
    assert vector_of(field, stored).tolist() == found


def test_digest_survives_the_way_there_and_back(sink: MilvusSink, make: Make) -> None:
    """Every kind of field reads back as it was sent, bit for bit in its stored type: the digest of a row does not change."""
    data = {"n": [1.0, -0.5, 1e300, None], "é": {"b": 1, "a": True}}
    rows = [make["row"](number, price=number / 3, weight=number / 7, data=data) for number in range(9)]
    window = make["window"](rows)
    digest = RowDigest(sink.spec)
    sent = dict(zip((row["sku"] for row in rows), digest.of_rows(window.rows, window.vectors, range(9)), strict=True))
    sink.write(window)
    found = sink.read(list(sent), digest.fields)
    assert {key: digest.of_row(row) for key, row in found.items()} == sent
    assert len(set(sent.values())) == 9

"""Vectors of inputs that did not change are read back from the collection where the cache lacks them, and only those."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.commands.planning import apply_job
from connector.commands.running import run_job
from connector.commands.verifying import verify_job
from connector.encoding.binding import bind
from connector.encoding.probing import Goldens
from connector.encoding.stored_vectors import Place, StoredVectors
from connector.errors import PlanNeeded
from connector.job import Job
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.plan.stamp import Stamp
from connector.reconcile.stored import stored, unstored
from connector.record import Document, Key, Part, Row, Visit, Window
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.sources.rows import RowsSource
from connector.testing.encoders import COUNTS
from connector.testing.oracle import check_job
from connector.testing.sinks import MemorySink
from tests.milvus.tiers import LITE_ONLY

ROWS = 12


class Goods(Collection, name="goods"):
    """A text, a number, and the text's vector."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="text")


class Tagged(Collection, name="goods"):
    """A field more."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    tag: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="text", revision="1")


class Plain(Collection, name="goods"):
    """The same without it."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="text", revision="1")


class Otherwise(Collection, name="goods"):
    """The vector of another column under the same name."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="name")


class Two(Collection, name="goods"):
    """Two encoders; the text that they read is not kept."""

    id: str = Field(primary_key=True, generated=True)
    sku: str = Field(max_length=16)
    first: Vector = VectorField(dim=8, encoder="fake:one", source="text", revision="1")
    second: Vector = VectorField(dim=8, encoder="fake:two", source="text", revision="1")


class NewSecond(Collection, name="goods"):
    """The second encoder is another one."""

    id: str = Field(primary_key=True, generated=True)
    sku: str = Field(max_length=16)
    first: Vector = VectorField(dim=8, encoder="fake:one", source="text", revision="1")
    second: Vector = VectorField(dim=8, encoder="fake:new", source="text", revision="1")


class NewFirst(Collection, name="goods"):
    """The first encoder is another one."""

    id: str = Field(primary_key=True, generated=True)
    sku: str = Field(max_length=16)
    first: Vector = VectorField(dim=8, encoder="fake:new", source="text", revision="1")
    second: Vector = VectorField(dim=8, encoder="fake:two", source="text", revision="1")


class Bytes(Collection, name="goods"):
    """What is stored is not what the encoder gave."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, dtype="int8", encoder="fake:fake", source="text")


class Probed(Collection, name="goods"):
    """An encoder whose name does not pin its weights."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="text", probed=True)


class Exchanged(Collection, name="goods"):
    """A field more, and other weights under the same name."""

    sku: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=60)
    price: float = 0.0
    name: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="text", probed=True, seed="other")


class Shop:
    """A job over rows in memory; `vector_cache` is 0 unless a test says otherwise."""

    def __init__(self, settings: MilvusSettings, folder: Path) -> None:
        self.settings, self.folder, self.opened = settings, folder, 0
        self.rows: list[Row] = [{"sku": f"s{n}", "text": f"thing {n}", "name": f"name {n}", "price": 1.0} for n in range(ROWS)]

    def job(self, into: Any, **given: Any) -> Job:
        """The job."""
        source = RowsSource(self.rows, key="sku")
        block = {"source": source, "milvus": self.settings, "state": self.folder / "state.db", "vector_cache": 0, **given}
        return Job.check({"job": "goods", "into": into, **block}, where="test")

    def run(self, into: Any = Goods, **given: Any) -> RunReport:
        """One run, after which the collection must be what the source says."""
        COUNTS.clear()
        report = run_job(self.job(into, **given))
        self.opened = COUNTS["opened"]
        assert check_job(self.job(into, **given)).right
        assert report.verified is not None
        assert report.verified.good
        return report

    def vectors(self, collection: str, into: Any, name: str = "vector") -> dict[Any, Any]:
        """The stored vectors by `sku`."""
        with connect(self.settings) as connection:
            found = MilvusSink(connection, collection, spec_of(into)).scan(None, ["sku", name])
            return {row["sku"]: np.asarray(row[name]) for row in found}


@pytest.fixture
def shop(settings: MilvusSettings, tmp_path: Path) -> Shop:
    """One on each back end."""
    return Shop(settings, tmp_path)


class Unread(MemorySink):
    """A sink that nobody may read from."""

    def read(self, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Fails."""
        raise AssertionError("read")


def priced(row: Row) -> Row:
    """A transform: another price."""
    return {**row, "price": row["price"] + 1}


def numbers(report: RunReport) -> tuple[int, int, int]:
    """Documents written, inputs encoded, inputs whose vectors were there."""
    return report.counts.written, report.encoded, report.reused


def test_a_changed_scalar_costs_no_encoding(shop: Shop) -> None:
    """A column, a mapping, a transform: the text is the same, so its vector is read back, bit for bit, and no model is opened."""
    assert numbers(shop.run(vector_cache=1 << 20)) == (ROWS, ROWS, 0)
    before = shop.vectors("goods__g1", Goods)
    (shop.folder / "vectors.db").unlink()
    for row in shop.rows:
        row["price"] = 2.0
    assert numbers(shop.run(vector_cache=1 << 20)) == (ROWS, 0, ROWS)
    assert numbers(shop.run(transform=priced)) == (ROWS, 0, ROWS)
    for row in shop.rows:
        row["cost"] = 5.0
    assert numbers(shop.run(map={"price": "cost"})) == (ROWS, 0, ROWS)
    assert shop.opened == 0
    after = shop.vectors("goods__g1", Goods)
    assert all(np.array_equal(after[sku], vector) for sku, vector in before.items())


def test_only_what_changed_is_encoded(shop: Shop) -> None:
    """Rows of another text are encoded, those beside them in the same window are not; one that has no key is no more than rejected."""
    shop.run()
    shop.rows.append({"sku": "none", "text": "new", "price": 1.0})
    keyless = run_job(shop.job(Goods, transform=lambda row: {**row, "sku": None if row["sku"] == "none" else row["sku"]}))
    assert (keyless.counts.rejected, keyless.counts.written) == (1, ROWS)
    shop.rows.pop()
    shop.run()
    for row in shop.rows[:3]:
        row["text"] += " again"
    for row in shop.rows[2:5]:
        row["price"] = 3.0
    assert numbers(shop.run()) == (5, 3, 2)


def test_a_new_field_takes_its_vectors_from_the_live_generation(shop: Shop) -> None:
    """A candidate is filled from the source, and encodes nothing that the live generation has; a new row is encoded."""
    shop.run(Plain)
    before = shop.vectors("goods__g1", Plain)
    for row in shop.rows:
        row["tag"] = "new"
    shop.rows.append({"sku": "more", "text": "one more", "price": 1.0, "tag": "new"})
    apply_job(shop.job(Tagged), allow_replace=True)
    report = shop.run(Tagged)
    assert (report.collection, *numbers(report)) == ("goods__g2", ROWS + 1, 1, ROWS)
    after = shop.vectors("goods__g2", Plain)
    assert all(np.array_equal(after[sku], vector) for sku, vector in before.items())


@LITE_ONLY
@pytest.mark.parametrize(("changed", "kept"), [(NewSecond, "first"), (NewFirst, "second")])
def test_of_two_encoders_only_the_changed_one_is_called(shop: Shop, changed: Any, kept: str) -> None:
    """The text is not kept, but the content is the same, and nothing before the encoders changed, nor how texts are cut."""
    whole: dict[str, Any] = {"split": {"by": "none"}}
    shop.run(Two, **whole)
    before = shop.vectors("goods__g1", Two, kept)
    apply_job(shop.job(changed, **whole), allow_replace=True)
    report = shop.run(changed, **whole)
    assert (report.collection, *numbers(report), shop.opened) == ("goods__g2", ROWS, ROWS, ROWS, 1)
    after = shop.vectors("goods__g2", Two, kept)
    assert all(np.array_equal(after[sku], vector) for sku, vector in before.items())
    assert numbers(shop.run(changed, transform=priced, **whole)) == (ROWS, 2 * ROWS, 0), "it may have changed the text, which is not kept"


@LITE_ONLY
def test_where_an_encoder_may_cut_texts_otherwise_both_are_called(shop: Shop) -> None:
    """A document's content is the same, but its passages may not be."""
    shop.run(Two)
    apply_job(shop.job(NewFirst), allow_replace=True)
    assert numbers(shop.run(NewFirst)) == (ROWS, 2 * ROWS, 0)


def test_a_vector_of_another_column_is_not_taken(shop: Shop) -> None:
    """The text in the row is the same, but its vector was made from another column: the fingerprint in the row's lineage says so."""
    shop.run()
    assert numbers(shop.run(Otherwise)) == (ROWS, ROWS, 0)
    assert numbers(shop.run()) == (ROWS, ROWS, 0)


def test_a_lost_ledger_takes_what_the_rows_themselves_tell(shop: Shop) -> None:
    """Rows of the present settings are known; what the settings were behind another fingerprint is lost, so those are encoded."""
    shop.run()
    (shop.folder / "state.db").unlink()
    for row in shop.rows:
        row["price"] = 2.0
    assert numbers(shop.run()) == (ROWS, 0, ROWS)
    (shop.folder / "state.db").unlink()
    assert numbers(shop.run(transform=priced)) == (ROWS, ROWS, 0)


def test_what_was_altered_is_not_read_back(shop: Shop) -> None:
    """A vector that is no longer what was written is made anew, not kept for good."""
    shop.run()
    with connect(shop.settings) as connection:
        sink = MilvusSink(connection, "goods__g1", spec_of(Goods))
        [row] = sink.read(["s3"], [*(one.name for one in spec_of(Goods).fields), "vector"]).values()
        vector = [float(number) for number in reversed(row.pop("vector").tolist())]
        connection.call("upsert", connection.client.upsert, "goods__g1", data=[{**row, "vector": vector}])
    found = verify_job(shop.job(Goods), full=True, repair=True)
    assert found.exit_code == 3
    assert numbers(shop.run()) == (1, 1, 0)


def test_numbers_that_were_rounded_away_are_not_looked_for() -> None:
    """Of int8 and bits the encoder's own numbers are not kept, so no row is read for them; of half the bytes they come back as they are."""
    [binding] = bind(spec_of(Bytes))
    window = Window([Part(Visit(Document("s1", lambda: pytest.fail("opened")), total=1), 0, 1, 0, last=True)], [{"sku": "s1", "text": "t"}])
    stamp = Stamp(uid="u", owner=None, spec=spec_of(Bytes).normalised(), identity={})
    place = Place(Unread(), stamp, Goldens())
    recall = StoredVectors([place], spec_of(Bytes), "goods", {"vectors": {"vector": ["text", {}]}}, lambda _: None, Goldens())
    assert recall.find(window, [binding], [[0]]) == {}
    numbers = np.array([[0.1, -2.5e-5, 3.0, 1e-7]], dtype=np.float32)
    for dtype in ("float16", "bfloat16", "float32"):
        field = binding.field.model_copy(update={"dtype": dtype, "dim": 4})
        kept = stored(field, numbers)
        assert np.array_equal(stored(field, unstored(field, kept)), kept)


def test_the_probe_comes_with_the_vectors(shop: Shop) -> None:
    """Weights that were exchanged under the encoder's name never stand beside vectors of the old ones."""
    shop.run(Probed)
    apply_job(shop.job(Exchanged), allow_replace=True)
    assert numbers(run_job(shop.job(Exchanged))) == (ROWS, 0, ROWS)
    shop.rows.append({"sku": "more", "text": "one more", "name": "more", "price": 1.0})
    with pytest.raises(PlanNeeded, match="is not what the collection was filled with"):
        run_job(shop.job(Exchanged))

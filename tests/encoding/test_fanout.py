"""One row a token or patch: numbered before anything is encoded, encoded once for all of them, and swept like any other rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import connector
from connector.encoding import Encoding
from connector.encoding.binding import bind
from connector.encoding.fanout import POSITION, FanOut, Shared, fan_out
from connector.errors import ConfigError, SchemaError
from connector.job.loading import load_collection
from connector.record import Window
from connector.schema import Collection, Field, Vector, VectorField
from connector.stations.windows import row_bytes
from connector.testing.encoders import COUNTS, FakeEncoder, fake_vector


class Words(Collection):
    """One row a word, with the vector of the whole text beside it."""

    id: str = Field(primary_key=True, generated=True)
    title: str = Field(max_length=100)
    position: int
    ordinal: int
    word: Vector = VectorField(dim=8, encoder="fake:fake", source="title", pooling="none")
    whole: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


def test_a_text_becomes_a_row_a_word() -> None:
    """Rows hold their position and its vector; one pass over the model fills both fields; a shorter text leaves nothing behind."""
    COUNTS.clear()
    report = connector.run([{"n": "a", "title": "red green blue"}, {"n": "b", "title": "cat"}], into=Words, milvus="w.db", key="n")
    assert (report.rows.upserted, report.counts.written, report.encoded, COUNTS["items"]) == (4, 2, 2, 2)
    with pytest.raises(ConfigError, match="one vector a position"):
        connector.search(Words, "green", milvus="w.db", field="word")
    hits = connector.search(Words, "green", milvus="w.db", field="whole", limit=10)
    assert sorted((hit.fields["title"], hit.fields["position"]) for hit in hits) == [
        ("cat", 0),
        ("red green blue", 0),
        ("red green blue", 1),
        ("red green blue", 2),
    ]
    report = connector.run([{"n": "a", "title": "red"}, {"n": "b", "title": "cat"}], into=Words, milvus="w.db", key="n")
    assert (report.rows.upserted, report.rows.deleted) == (1, 2)


def test_every_position_gets_its_own_vector() -> None:
    """Vector p of the input stands in the row of position p, equal texts of two documents are encoded once."""
    spec = load_collection(Words)
    bindings = bind(spec)
    step = fan_out(bindings)
    assert step is not None
    rows = [one for title in ("red green blue", "cat", "red green blue") for one in step({"title": title})]
    COUNTS.clear()
    with Encoding(bindings, workers=0) as encoding:
        [window] = encoding(iter([Window(parts=[], rows=rows)]))
    assert COUNTS["items"] == 2
    wanted = [fake_vector(word) for word in ("red", "green", "blue", "cat", "red", "green", "blue")]
    np.testing.assert_array_equal(window.vectors["word"], wanted)
    np.testing.assert_array_equal(window.vectors["whole"][1], fake_vector("red green blue"))


def test_what_cannot_be_prepared_stays_one_row() -> None:
    """It is refused where it is encoded, with the encoder's own words."""
    report = connector.run([{"n": "a", "title": " "}, {"n": "b", "title": "cat"}], into=Words, milvus="w.db", key="n")
    assert (report.counts.rejected, report.counts.written) == (1, 1)
    assert "the encoder reads text that is not blank" in report.rejects[0]


def test_a_picture_is_held_once() -> None:
    """The rows of one picture share its bytes, and count them together once, so that windows are not cut into crumbs."""
    encoder = FakeEncoder()
    step = FanOut("image", lambda _: encoder.preparer("document")("a b c d"), lambda prepared: prepared.cost)
    rows = step({"image": bytes(4000)})
    assert [row[POSITION] for row in rows] == [0, 1, 2, 3]
    assert len({id(row["image"]) for row in rows}) == 1
    assert isinstance(rows[0]["image"], Shared)
    assert 4000 <= sum(map(row_bytes, rows)) <= 4200


def test_an_encoder_that_gives_another_number_of_vectors() -> None:
    """A position without a vector is a bad row, never a row with somebody else's vector."""
    bindings = bind(load_collection(Words))
    rows: list[dict[str, Any]] = [{"title": "red green", POSITION: place} for place in range(3)]
    with Encoding(bindings, workers=0) as encoding:
        [window] = encoding(iter([Window(parts=[], rows=rows)]))
    assert {index: reason for index, (_, reason) in window.bad.items()} == {2: "field `word`: position 2, but the encoder gave 2 vectors"}


def test_fields_that_fan_out_differently_are_refused() -> None:
    """A row cannot have the third token of one text and of another."""

    class Two(Collection):
        id: str = Field(primary_key=True, generated=True)
        a: Vector = VectorField(dim=8, encoder="fake:fake", source="x", pooling="none")
        b: Vector = VectorField(dim=8, encoder="fake:fake", source="y", pooling="none")

    with pytest.raises(SchemaError, match="`a` and `b` have one vector a position of different inputs"):
        fan_out(bind(load_collection(Two)))

"""CONFORM: a row comes out exactly as the collection wants it, or is named with a reason; its neighbours do not mind."""

from __future__ import annotations

import math
from typing import Any

import pytest

from connector.record import Document, Part, Payload, Row, Visit, Window, generated_key
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.schema.spec import LINEAGE
from connector.stations.rows import MAX_DOCUMENT_KEY, Conform, lineage


class Generated(Collection):
    """Keys are derived; one column of each way to be left out."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=6)
    price: float = 1.5
    note: str | None
    level: int | None = Field(default=3)
    vector: Vector = VectorField(dim=2, source="v")


class Natural(Collection):
    """Keys are the row's own."""

    id: str = Field(primary_key=True, max_length=8)
    vector: Vector = VectorField(dim=2, source="v")


class Broken:
    """An object of a user's that raises when it is looked at."""

    @property
    def dtype(self) -> Any:
        """Raises."""
        raise RuntimeError("boom")


def window(*documents: tuple[str, list[Row]]) -> Window:
    """A window of whole documents."""
    made = Window([], [])
    for key, rows in documents:
        visit = Visit(Document(key, lambda: Payload({})), content="c" * 32, total=len(rows))
        made.parts.append(Part(visit, len(made.rows), len(made.rows) + len(rows), 0, last=True))
        made.rows += rows
    return made


GENERATED = Conform(spec_of(Generated), "space", "f" * 16)
NATURAL = Conform(spec_of(Natural), "space", "f" * 16)


def test_a_row_becomes_an_entity() -> None:
    """Every declared field, converted; the key derived; lineage; and nothing that is not declared."""
    made = window(("doc", [{"text": "a", "note": None, "level": 5, "extra": "x", "v": [1, 2]}, {"text": "b"}]))
    keys = GENERATED(made)
    assert keys == {0: generated_key("space", "doc", 0), 1: generated_key("space", "doc", 1)}
    origin = {"connector_namespace": "space", "connector_key": "doc", "connector_content": f"{'c' * 32}.{'f' * 16}.2"}
    assert made.rows == [
        {"text": "a", "price": 1.5, "note": None, "level": 5, **origin, "id": keys[0]},
        {"text": "b", "price": 1.5, "note": None, "level": 3, **origin, "id": keys[1]},
    ]
    assert made.bad == {}


def test_keys_count_within_the_document() -> None:
    """A document that continues from the window before goes on counting."""
    made = window(("doc", [{"text": "a"}]))
    made.parts[0].first = 41
    assert GENERATED(made) == {0: generated_key("space", "doc", 41)}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"txt": "a", "z": 1}, "field `text` is missing; the row has: txt, z"),
        ({}, "field `text` is missing; the row has: nothing"),
        ({None: [1], 2: "a"}, "field `text` is missing; the row has: 2, None"),
        ({"text": None}, "field `text`: None, but the field is not nullable"),
        ({"text": 5}, "field `text`: int 5, but the field wants a str"),
        ({"text": "öööö"}, "field `text`: 8 bytes of UTF-8, but max_length is 6"),
        ({"text": "sevenxx"}, "field `text`: 7 bytes of UTF-8, but max_length is 6"),
        ({"text": "\udcff"}, "field `text`: a string that is not valid Unicode (a lone surrogate)"),
        ({"text": "a", "price": math.nan}, "field `price`: float nan, but the field wants a finite number"),
        ({"text": "a", "level": 2.0}, "field `level`: float 2.0, but the field wants an int"),
        ({"text": "a", "price": Broken()}, "RuntimeError: boom"),
    ],
)
def test_a_bad_row_is_named_and_its_neighbours_land(row: Any, reason: str) -> None:
    """Whatever is in a row, the run goes on, and the reason says the field, what was found and what was wanted."""
    made = window(("doc", [{"text": "a"}, row, {"text": "c"}]))
    keys = GENERATED(made)
    assert made.bad == {1: ("conform", reason)}
    assert set(keys) == {0, 2}
    assert made.rows[2]["text"] == "c"


def test_rows_that_are_already_bad_are_left_alone() -> None:
    """The first reason stays."""
    made = window(("doc", [{"text": "a"}, {}]))
    made.bad[1] = ("encode", "no picture")
    assert set(GENERATED(made)) == {0}
    assert made.bad == {1: ("encode", "no picture")}


def test_the_later_of_two_rows_with_one_key_is_rejected() -> None:
    """In a listing the earlier row stands, and the reject names whose key it was."""
    made = window(("first", [{"id": "k"}]), ("second", [{"id": "k"}, {"id": "m"}]), ("third", [{"id": "m"}]))
    assert NATURAL(made) == {0: "k", 2: "m"}
    assert made.bad == {
        1: ("conform", "key 'k' is already taken by an earlier row of `first`"),
        3: ("conform", "key 'm' is already taken by an earlier row of `second`"),
    }


def test_a_key_twice_in_one_document() -> None:
    """Also when its first row was acknowledged in a window before."""
    made = window(("doc", [{"id": "k"}, {"id": "k"}]))
    assert NATURAL(made) == {0: "k"}
    assert made.bad[1][1] == "key 'k' is already taken by an earlier row of `doc`"
    later = window(("doc", [{"id": "k"}]))
    later.parts[0].visit.acknowledged.add("k")
    assert NATURAL(later) == {}
    assert "earlier row of `doc`" in later.bad[0][1]


def test_a_bad_row_takes_no_key() -> None:
    """A row that is not written cannot keep another one out."""
    made = window(("first", [{"id": "much too long"}]), ("second", [{"id": "k"}]))
    made.rows[0]["id"] = "k" * 9
    assert NATURAL(made) == {1: "k"}


def test_in_a_cursor_source_the_last_row_wins() -> None:
    """A change feed says the state in order: both rows pass, and the sink keeps the later one."""
    made = window(("first", [{"id": "k"}]), ("second", [{"id": "k"}]))
    assert Conform(spec_of(Natural), "space", "f" * 16, last_wins=True)(made) == {0: "k", 1: "k"}
    assert made.bad == {}


def test_an_empty_key_is_no_key() -> None:
    """Milvus would take it; a lookup by it means nothing."""
    made = window(("doc", [{"id": ""}]))
    assert NATURAL(made) == {}
    assert "empty string" in made.bad[0][1]


def test_the_callers_row_is_not_changed() -> None:
    """Rows come from users' lists: a second run over the same list sees what the first one saw."""
    row: Row = {"text": "a"}
    GENERATED(window(("doc", [row])))
    assert row == {"text": "a"}


def test_lineage_fits_its_fields() -> None:
    """The longest namespace, key and content that can be are within the lengths that the fields are declared with."""
    visit = Visit(Document("k" * MAX_DOCUMENT_KEY, lambda: Payload({})), content="c" * 32, total=10**9)
    made = lineage("n" * 255, visit, "f" * 16)
    lengths = {field.name: field.max_length or 0 for field in spec_of(Natural).fields}
    assert list(made) == list(LINEAGE)
    assert all(len(value) <= lengths[name] for name, value in made.items())

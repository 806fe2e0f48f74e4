"""Filters with values in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import connector
from connector.errors import ConfigError
from connector.milvus.filters import complete, within
from connector.milvus.settings import MilvusSettings
from connector.schema import Collection, Field, Vector, VectorField


@pytest.mark.parametrize(
    ("expression", "params", "made"),
    [
        ("price < {max}", {"max": 100}, "price < 100"),
        ("price < { max } and name in {names}", {"max": -1.5, "names": ["a", 'b"']}, 'price < -1.5 and name in ["a", "b\\""]'),
        ('title == "{max}" or sold == {yes}', {"yes": True}, 'title == "{max}" or sold == true'),
        ("title == 'it\\'s (1' and x in {x}", {"x": (1, 2)}, "title == 'it\\'s (1' and x in [1, 2]"),
        ("a == {a} and b == {a}", {"a": "\\"}, 'a == "\\\\" and b == "\\\\"'),
        ('data["a"][0] > {n}', {"n": np.float32(0.5)}, 'data["a"][0] > 0.5'),
        ("", {}, ""),
    ],
)
def test_values_go_in_by_name(expression: str, params: dict[str, Any], made: str) -> None:
    """A value is a literal of its type wherever its name stands outside of a string."""
    assert complete(expression, params) == made


@pytest.mark.parametrize(
    ("expression", "params", "said"),
    [
        ("price < {max}", {}, "no value for {max}"),
        ("price < {max}", {"mx": 1}, "no value for {max}"),
        ("price < 1", {"max": 1}, "nothing is called {max}"),
        ("price < {max}", {"max": float("nan")}, "wanted text"),
        ("price < {max}", {"max": 1 << 63}, "wanted text"),
        ("price < {max}", {"max": None}, "NoneType"),
        ("price < {max}", {"max": {"a": 1}}, "wanted text"),
        ("price in {list}", {"list": []}, "empty list"),
        ("price < 1) or (price > 1", {}, "`)` closes nothing"),
        ("(price < 1", {}, "`(` is never closed"),
        ("a[0) or (1]", {}, "`)` closes nothing"),
        ("title == 'x", {}, "a string that does not end"),
        ('title == "x\n"', {}, "a string that does not end"),
        ("price < {1}", {}, "begins no name"),
        ("price < }", {}, "begins no name"),
    ],
)
def test_what_does_not_stand_by_itself_is_refused(expression: str, params: dict[str, Any], said: str) -> None:
    """A missing, spare or odd value, and an expression that could reach beyond its brackets, are told."""
    with pytest.raises(ConfigError, match="filter: ") as caught:
        complete(expression, params)
    assert said in caught.value.message


def test_what_must_hold_stands_before() -> None:
    """An `or` of the expression stays within its brackets; without one of the two the other stands alone."""
    assert within('t == "a"', "x or y") == 't == "a" and (x or y)'
    assert (within('t == "a"', " "), within("", "x or y"), within("", "")) == ('t == "a"', "x or y", "")


class Typed(Collection):
    """A column of every type that values go to."""

    id: str = Field(primary_key=True, max_length=8)
    name: str = Field(max_length=100)
    count: int
    price: float
    sold: bool
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="id")


HOSTILE = "it's \"quoted\" \\ {name} ) or (1 == 1\n\t'é😀"


def test_servers_read_values_as_they_are(settings: MilvusSettings) -> None:
    """Text of any signs, negative and tiny numbers, bools and lists select exactly the rows that have them."""
    rows = [
        {"id": "a", "name": HOSTILE, "count": -5, "price": 1e-07, "sold": True},
        {"id": "b", "name": "plain", "count": (1 << 63) - 1, "price": -2.5, "sold": False},
        {"id": "c", "name": "", "count": 0, "price": 1e300, "sold": False},
    ]
    connector.run(rows, into=Typed, milvus=settings)
    for expression, value, wanted in (
        ("name == {x}", HOSTILE, "a"),
        ("name != {x}", HOSTILE, "bc"),
        ("name in {x}", [HOSTILE, "plain"], "ab"),
        ("name == {x}", "", "c"),
        ("count == {x}", -5, "a"),
        ("count >= {x}", (1 << 63) - 1, "b"),
        ("count in {x}", [0, -5], "ac"),
        ("price <= {x}", 1e-07, "ab"),
        ("price < {x}", 0, "b"),
        ("price > {x}", 1e299, "c"),
        ("sold == {x}", True, "a"),
        ("not (sold == {x})", True, "bc"),
    ):
        hits = connector.search(Typed, "a", milvus=settings, filter=expression, params={"x": value})
        assert "".join(sorted(str(hit.id) for hit in hits)) == wanted, (expression, value)

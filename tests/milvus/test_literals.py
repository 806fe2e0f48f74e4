"""Values in filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.milvus.client import connect
from connector.milvus.literals import equals, in_filter, literal, quote
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink

HOSTILE = ("'", '"', "\\", '\\"', "\n", "\r", "\t", "\0", "%", "{x}", "[1]", "😀", "\u2028", "\x85", "a' or id != '", '"] or id', "\\n")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A collection of VARCHAR keys in Milvus Lite that one row never leaves."""
    path: Path = tmp_path_factory.mktemp("literals") / "keys.db"
    with connect(MilvusSettings(uri=str(path))) as connection:
        client = connection.client
        schema = client.create_schema(auto_id=False)
        from pymilvus import DataType

        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=1000)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
        client.create_collection("keys", schema=schema)
        client.load_collection("keys")
        client.upsert("keys", [{"id": "bystander", "v": [1.0, 0.0]}])
        yield client


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda key: key != "bystander"))
@example("".join(HOSTILE))
@example("\\")
@example('"')
def test_any_key_is_found_and_deleted_exactly(client: Any, key: str) -> None:
    """Rule: a hostile key finds itself and only itself, and never deletes another row."""
    client.upsert("keys", [{"id": key, "v": [1.0, 0.0]}])
    assert [row["id"] for row in client.query("keys", filter=in_filter("id", [key]), output_fields=["id"])] == [key]
    client.delete("keys", filter=in_filter("id", [key]))
    assert [row["id"] for row in client.query("keys", filter='id != ""', output_fields=["id"])] == ["bystander"]


def test_many_hostile_keys_stand_in_one_filter(client: Any) -> None:
    """Rule: keys in one list do not disturb each other."""
    client.upsert("keys", [{"id": key, "v": [1.0, 0.0]} for key in HOSTILE])
    assert {row["id"] for row in client.query("keys", filter=in_filter("id", HOSTILE), output_fields=["id"])} == set(HOSTILE)
    client.delete("keys", filter=in_filter("id", HOSTILE))


def test_hostile_keys_find_themselves_on_both(sink: MilvusSink, make: dict[str, Callable[..., Any]]) -> None:
    """Rule: what Milvus Lite reads back exactly, a server does, too: each key alone and all at once, read and deleted."""
    sink.write(make["window"]([make["row"](number, sku=key) for number, key in enumerate(HOSTILE)]))
    assert set(sink.read(HOSTILE, ["price"])) == set(HOSTILE)
    for number, key in enumerate(HOSTILE):
        assert sink.read([key], ["price"]) == {key: {"price": number / 2}}
        sink.delete([key])
        assert sink.count() == len(HOSTILE) - number - 1


def test_numbers_are_not_quoted() -> None:
    """Rule: INT64 keys are compared as numbers."""
    assert in_filter("id", [1, -2]) == "id in [1,-2]"
    assert literal(True) == "1"
    assert equals("a", 'x"') == 'a == "x\\""'
    assert quote("") == '""'


def test_an_empty_list_is_refused() -> None:
    """Rule: nothing asks Milvus for an empty list, which some versions refuse and none should see in a delete."""
    with pytest.raises(ValueError, match="empty"):
        in_filter("id", [])

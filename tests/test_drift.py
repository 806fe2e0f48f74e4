"""What somebody changes by hand in Milvus is seen by the plan and told by the run, on Milvus Lite and on the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from tests.commands.test_switching import NEW_MODEL, Place, place
from tests.workfolder import SCHEMA

__all__ = ["place"]


def indexed(kind: str) -> str:
    """The schema with an index on its text."""
    return SCHEMA.replace("max_length=4000", f"max_length=4000, index={kind}()").replace("import Coll", f"import {kind}, Coll")


def by_hand(place: Place, act: Callable[[Any], object]) -> None:
    """Somebody at work with plain pymilvus."""
    with connect(place.settings) as connection:
        act(connection.client)


def drop_index(field: str) -> Callable[[Any], object]:
    """Takes an index away."""

    def act(client: Any) -> None:
        client.release_collection("notes__g1")
        client._get_connection().drop_index("notes__g1", field, field, timeout=30, context=client._generate_call_context())

    return act


def other_index(client: Any) -> None:
    """Builds another index in the place of one."""
    drop_index("vector")(client)
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index("notes__g1", params)
    client.load_collection("notes__g1")


def with_a_field(client: Any) -> None:
    """The collection as a tool makes it anew, with its properties and rows, and one field more."""
    from pymilvus import DataType

    described = client.describe_collection("notes__g1")
    client.load_collection("notes__g1")
    rows = client.query("notes__g1", filter='id != ""', output_fields=["*"], consistency_level="Strong")
    client.drop_alias("notes")
    client.drop_collection("notes__g1")
    schema = client.create_schema()
    for field in described["fields"]:
        schema.add_field(field["name"], field["type"], is_primary=bool(field.get("is_primary")), **field["params"])
    schema.add_field("by_hand", DataType.INT64, default_value=1)
    client.create_collection("notes__g1", schema=schema, properties=described["properties"], consistency_level="Strong")
    params = client.prepare_index_params()
    params.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_index("notes__g1", params)
    client.load_collection("notes__g1")
    client.insert("notes__g1", [{**row, "by_hand": 7} for row in rows])
    client.create_alias("notes__g1", "notes")


def drop_alias(client: Any) -> None:
    """Takes the public name away."""
    client.drop_alias("notes")


def set_life(client: Any) -> None:
    """Lets rows expire."""
    client.alter_collection_properties("notes__g1", {"collection.ttl.seconds": "777777"})


def drop_collection(client: Any) -> None:
    """Drops what the alias leads to; newer servers want the alias gone first, 2.3.5 leaves it dangling."""
    client.drop_collection("notes__g1")


TABLE: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "vector index dropped": (drop_index("vector"), "CreateIndex", "drift: notes__g1: vector: index in its stamp only"),
    "scalar index dropped": (drop_index("text"), "CreateIndex", "drift: notes__g1: text: index in its stamp only"),
    "index changed": (other_index, "Drift", "drift: notes__g1: vector: index type FLAT live, AUTOINDEX in its stamp"),
    "property changed": (set_life, "Drift", "drift: notes__g1: collection: collection.ttl.seconds 777777 live, none in its stamp"),
    "alias dropped": (drop_alias, "CreateAlias", "drift: the alias notes is not there any more"),
    "collection dropped": (drop_collection, "CreateCollection", "drift: notes__g1, which the last run wrote to, is not there any more"),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_was_changed_by_hand_is_planned_told_and_mended(place: Place, case: str) -> None:
    """Rule: the plan has a step (exit 10), the run says it, and after an apply there is nothing to say; no document is lost by it."""
    act, step, said = TABLE[case]
    place.put("schema.py", indexed("INVERTED" if place.settings.lite else "TRIE"))
    place.write(2)
    place.ok("run", "job.yaml")
    by_hand(place, act)
    code, out, err = place.call("plan", "job.yaml", "--json")
    document = json.loads(out)
    assert (code, step in {one["action"] for one in document["changes"]}) == (10, True), out + err
    told = " ".join([*document["notes"], *(one["description"] for one in document["changes"])])
    assert said.removeprefix("drift: notes__g1: ") in told
    notes = place.ok("run", "job.yaml")["notes"]
    assert any(said in note for note in notes), notes
    place.ok("apply", "job.yaml")
    assert place.call("plan", "job.yaml")[:2] == (0, "no changes: the live collection is what the code says\n")
    report = place.ok("run", "job.yaml")
    assert (report["counts"]["unchanged"], report["notes"]) == (2, [])


def test_a_field_that_was_added_by_hand_is_told(place: Place) -> None:
    """Rule: the plan says it, and a run writes nothing, since a row without it is refused, or kills the server (seen on 2.3.5)."""
    place.write(2)
    place.ok("run", "job.yaml")
    by_hand(place, with_a_field)
    code, out, _ = place.call("plan", "job.yaml")
    assert (code, "by_hand: field live only" in out) == (10, True), out
    place.write(1)
    code, _, err = place.call("run", "job.yaml")
    assert (code, "drift: notes__g1 has a field `by_hand`" in err, "nothing was written" in err) == (2, True, True), err
    with connect(place.settings) as connection:
        live = Catalog(connection).live("notes")
    assert live is not None
    assert "by_hand" in live.fields


def test_an_alias_that_was_moved_by_hand_is_told(place: Place) -> None:
    """Rule: a candidate that no promote made live is named, by plan and by the run of either code; a promoted one is not."""
    place.candidate()
    place.ok("run", "job.yaml")
    by_hand(place, lambda client: client.alter_alias("notes__g2", "notes"))
    said = "drift: the alias leads to notes__g2, and no promote made it live: somebody moved it"
    assert said in place.call("plan", "job.yaml")[1]
    assert said in place.ok("run", "job.yaml")["notes"]
    by_hand(place, lambda client: client.alter_alias("notes__g1", "notes"))
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"
    assert place.ok("run", "job.yaml")["notes"] == []
    by_hand(place, lambda client: client.alter_alias("notes__g1", "notes"))
    assert "pending promote: notes__g2" in place.call("plan", "job.yaml")[1]
    assert "pending promote: notes__g2" in place.ok("run", "job.yaml")["notes"][0]


def test_an_alias_that_was_moved_to_a_stranger_stops_everything(place: Place) -> None:
    """Rule: nothing is written or made while the public name leads to what connector did not make; the way back is told."""
    place.write(1)
    place.ok("run", "job.yaml")
    by_hand(place, lambda client: client.create_collection("theirs", dimension=2))
    by_hand(place, lambda client: client.alter_alias("theirs", "notes"))
    for command in ("plan", "run", "apply"):
        code, _, err = place.call(command, "job.yaml")
        assert (code, "`notes` leads to `theirs`" in err, "alter_alias('notes__g1', 'notes')" in err) == (2, True, True), err
    by_hand(place, lambda client: client.alter_alias("notes__g1", "notes"))
    assert place.ok("run", "job.yaml")["counts"]["unchanged"] == 1


def test_a_live_generation_that_was_dropped_is_told(place: Place) -> None:
    """Rule: an older generation that is left is not taken for the live one; the plan says what is gone and makes it anew."""
    place.candidate(NEW_MODEL)
    place.ok("run", "job.yaml")
    place.ok("promote", "job.yaml")
    by_hand(place, lambda client: client.drop_collection("notes__g2"))
    code, out, _ = place.call("plan", "job.yaml")
    assert (code, "drift: notes__g2, which the last run wrote to, is not there any more" in out) == (10, True), out
    report = place.ok("run", "job.yaml")
    assert (report["collection"], report["counts"]["written"], place.live) == ("notes__g2", 3, "notes__g2")
    assert "notes__g2, which the last run wrote to" in report["notes"][0]

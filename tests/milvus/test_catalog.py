"""Collections are made once, completely, and carry their stamp."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.errors import BadRows, ConfigError, PlanNeeded, SchemaError, Transient
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.describe import live_fields, live_index, schema_of
from connector.milvus.features import routes
from connector.milvus.settings import MilvusSettings
from connector.plan import (
    STAMP,
    CreateAlias,
    CreateCollection,
    CreateIndex,
    Drift,
    LoadCollection,
    Want,
    diff,
    drift,
    fields_of,
    indexes_of,
    target,
)
from connector.schema import CollectionSpec
from tests.milvus.tiers import LITE_ONLY

APPLY = """
import sys
sys.path.insert(0, sys.argv[2])
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.plan import Want, diff
from connector.schema import Collection, Field, Vector, VectorField, spec_of, INVERTED

class Small(Collection):
    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=10, index=INVERTED())
    vector: Vector = VectorField(dim=2, source="v")

with connect(MilvusSettings(uri=sys.argv[1])) as connection:
    catalog = Catalog(connection)
    want = Want(spec_of(Small), {})
    catalog.apply(diff(want, catalog.have("small")), want)
    print(len(diff(want, catalog.have("small"))), catalog.have("small").alias_target, sorted(catalog.have("small").live.indexes))
"""


@pytest.fixture
def catalog(connection: Connection) -> Catalog:
    """The collections of an empty file."""
    return Catalog(connection)


def test_the_first_apply_makes_a_generation_and_its_alias(catalog: Catalog, want: Want) -> None:
    """Rule: after an apply nothing is left to do, and what was made is what the code says."""
    actions = diff(want, catalog.have("things"))
    catalog.apply(actions, want)
    have = catalog.have("things")
    assert diff(want, have) == ()
    assert have.alias_target == "things__g1"
    assert have.live is not None
    assert target(want, have) == have.live
    assert drift(have.live) == ()
    wanted = indexes_of(want.spec.normalised())
    if catalog.connection.server.lite:  # it tells parameters of dense vectors only
        wanted = {name: one if name == "vector" else {"type": one["type"], "metric": one["metric"]} for name, one in wanted.items()}
    assert have.live.indexes == wanted
    assert have.live.epoch == 0
    assert catalog.resolve("things") == catalog.resolve("things__g1") == "things__g1"


def test_every_field_is_made_as_declared(catalog: Catalog, want: Want) -> None:
    """Rule: types, lengths, keys and null are those of the declaration (Milvus Lite forgets the length of array elements only)."""
    catalog.apply(diff(want, catalog.have("things")), want)
    live = catalog.have("things").generations[0].fields
    wanted = fields_of(want.spec.normalised())
    if catalog.connection.server.lite:
        wanted["tags"]["max_length"] = None
    elif not routes(catalog.connection.server):
        wanted["tenant"]["partition_key"] = None
    assert live == wanted


def test_defaults_are_sent_in_the_type_of_their_field(spec: CollectionSpec) -> None:
    """Rule: servers refuse a 64-bit default on a narrower field; pymilvus would send one for any int."""
    sent = {field.name: field.default_value.WhichOneof("data") for field in schema_of(spec).fields if field.default_value is not None}
    assert sent == {"tenant": "string_data", "price": "double_data", "weight": "float_data", "level": "int_data", "sold": "bool_data"}


def test_the_stamp_is_read_back_as_it_was_written(catalog: Catalog, want: Want) -> None:
    """Rule: what the stamp says survives the way through Milvus, and each collection has its own uid."""
    catalog.apply(diff(want, catalog.have("things")), want)
    stamp = catalog.stamp("things__g1")
    assert stamp is not None
    assert (stamp.owner, stamp.identity, stamp.probe) == ("ns", want.identity, None)
    assert len(stamp.uid) == 36
    catalog.apply((CreateCollection("things__g2"),), want)
    other = catalog.stamp("things__g2")
    assert other is not None
    assert other.uid != stamp.uid


def test_the_stamp_and_the_epoch_survive_a_reopening(settings: MilvusSettings, want: Want) -> None:
    """Rule: counting a run leaves the stamp, and both are on disk."""
    with connect(settings) as connection:
        catalog = Catalog(connection)
        catalog.apply(diff(want, catalog.have("things")), want)
        before = catalog.stamp("things__g1")
        catalog.write_epoch("things__g1", 41)
        catalog.write_epoch("things__g1", 42)
    with connect(settings) as connection:
        catalog = Catalog(connection)
        assert catalog.epoch("things__g1") == 42
        assert catalog.stamp("things__g1") == before
        assert catalog.have("things").generations[0].epoch == 42
        assert diff(want, catalog.have("things")) == ()


def test_an_apply_may_be_repeated(catalog: Catalog, want: Want) -> None:
    """Rule: every step looks whether it was done, so an old plan carried out again changes nothing."""
    actions = diff(want, catalog.have("things"))
    catalog.apply(actions, want)
    before = catalog.stamp("things__g1")
    again = tuple(action for action in actions if not isinstance(action, CreateCollection))
    catalog.apply(again, want)
    assert catalog.stamp("things__g1") == before
    assert diff(want, catalog.have("things")) == ()


def test_a_collection_made_by_someone_else_meanwhile_is_not_taken_over(catalog: Catalog, want: Want) -> None:
    """Rule: two applies at once end with one owner of the collection; the other is told to look again."""
    catalog.apply((CreateCollection("things__g1"),), want)
    with pytest.raises(Transient, match="someone else"):
        catalog.apply((CreateCollection("things__g1"),), want)


def test_steps_that_are_left_are_found(catalog: Catalog, want: Want) -> None:
    """Rule: an apply that stopped anywhere is continued from what is there."""
    plan = diff(want, catalog.have("things"))
    needless = LoadCollection if catalog.connection.server.lite else ()  # Lite loads when it is read
    for number, expected in enumerate(plan):
        if isinstance(expected, needless):
            continue
        step = diff(want, catalog.have("things"))[0]
        assert step == expected
        catalog.apply((step,), want)
        left = [one for one in plan[number + 1 :] if not isinstance(one, needless)]
        assert list(diff(want, catalog.have("things"))) == left
    assert [type(step) for step in plan] == [CreateCollection, CreateIndex, CreateIndex, CreateIndex, LoadCollection, CreateAlias]


@pytest.mark.parametrize("point", ["apply.created:1", "apply.indexed:1", "apply.indexed:2", "apply.aliased:1"])
def test_an_apply_killed_anywhere_is_finished_by_the_same_command(tmp_path: Path, point: str) -> None:
    """Rule: re-running the same command is the recovery, and leaves one generation, whole."""
    command = [sys.executable, "-c", APPLY, str(tmp_path / "x.db"), str(tmp_path)]
    killed = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "CONNECTOR_FAILPOINT": f"{point}:kill"})
    assert killed.returncode == -9
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "small__g1", "['text',", "'vector']"]


def test_what_the_server_cannot_hold_is_refused_before_anything_is_made(catalog: Catalog, want: Want) -> None:
    """Rule: a refused declaration leaves nothing behind."""
    vector = want.spec.vectors[0].model_copy(update={"dtype": "float16"})
    wrong = Want(want.spec.model_copy(update={"vectors": (vector,)}), {})
    with pytest.raises(SchemaError, match="float16"):
        catalog.apply(diff(wrong, catalog.have("things")), wrong)
    assert catalog.have("things").generations == ()


@LITE_ONLY
def test_what_the_server_silently_drops_is_noticed(catalog: Catalog, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: a collection that came out otherwise than declared is taken away again, and the difference is told."""
    dropped = {"note": {"type": "VARCHAR", "nullable": False}}
    monkeypatch.setattr("connector.milvus.catalog.describe.live_fields", lambda described: {**live_fields(described), **dropped})
    with pytest.raises(SchemaError, match="note: nullable false live, true in its stamp"):
        catalog.apply(diff(want, catalog.have("things")), want)
    assert catalog.have("things").generations == ()


@LITE_ONLY
def test_a_refused_step_is_an_error_of_the_declaration(catalog: Catalog, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: what would be a bad row in a write is a wrong schema here, never a rejected document."""
    catalog.apply((CreateCollection("things__g1"),), want)

    def refuse(*_: Any, **__: Any) -> None:
        raise BadRows("invalid index type")

    monkeypatch.setattr(catalog._client, "create_index", refuse)
    with pytest.raises(SchemaError, match="invalid index type"):
        catalog.apply((CreateIndex("things__g1", "vector"),), want)


def test_a_collection_with_the_aliass_name_blocks(catalog: Catalog, connection: Connection, want: Want) -> None:
    """Rule: a collection of the user's own is never touched; the plan says why it cannot go on."""
    connection.call("create", connection.client.create_collection, "things", dimension=2)
    with pytest.raises(ConfigError, match="collection of its own"):
        diff(want, catalog.have("things"))
    assert catalog.resolve("things") == "things"


def test_an_alias_of_someone_else_blocks(catalog: Catalog, connection: Connection, want: Want) -> None:
    """Rule: an alias that we did not make is not moved."""
    connection.call("create", connection.client.create_collection, "theirs", dimension=2)
    connection.call("alias", connection.client.create_alias, "theirs", "things")
    with pytest.raises(ConfigError, match="alias of `theirs`"):
        diff(want, catalog.have("things"))


def test_a_missing_alias_is_told_with_the_next_command(catalog: Catalog) -> None:
    """Rule: asking for a collection that was never applied names the command that makes it."""
    with pytest.raises(PlanNeeded, match="connector apply"):
        catalog.resolve("things")


def test_an_index_changed_by_hand_is_said_and_mended(catalog: Catalog, connection: Connection, want: Want) -> None:
    """Rule: drift is shown, and an apply brings the index back to what the stamp says."""
    catalog.apply(diff(want, catalog.have("things")), want)
    client = connection.client
    for step in (client.release_collection, lambda name, timeout: client.drop_index(name, "vector", timeout=timeout)):
        connection.call("by hand", step, "things__g1")
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="L2")
    connection.call("by hand", client.create_index, "things__g1", params)
    said = Drift("things__g1", ("vector: index metric L2 live, COSINE in its stamp", "vector: index type FLAT live, HNSW in its stamp"))
    assert diff(want, catalog.have("things"))[0] == said
    catalog.apply(diff(want, catalog.have("things")), want)
    assert diff(want, catalog.have("things")) == ()
    assert catalog.have("things").generations[0].indexes["vector"]["type"] == "HNSW"


def test_a_foreign_property_is_kept_and_a_broken_stamp_is_told(catalog: Catalog, connection: Connection, want: Want) -> None:
    """Rule: a stamp that is no stamp stops the plan instead of being taken for a new collection."""
    spec = want.spec.model_copy(update={"properties": {"collection.ttl.seconds": "3600"}})
    want = Want(spec, want.identity, want.owner)
    catalog.apply(diff(want, catalog.have("things")), want)
    assert catalog._properties("things__g1")["collection.ttl.seconds"] == "3600"
    assert diff(want, catalog.have("things")) == ()
    connection.call("by hand", connection.client.alter_collection_properties, "things__g1", {STAMP: "{}"})
    with pytest.raises(ConfigError, match="does not hold a stamp"):
        catalog.have("things")


def test_drop_takes_the_alias_along(catalog: Catalog, want: Want) -> None:
    """Rule: newer servers refuse to drop a collection that an alias points to, older ones leave the alias dangling."""
    catalog.apply(diff(want, catalog.have("things")), want)
    catalog.drop("things__g1")
    assert catalog.have("things").generations == ()
    assert catalog.have("things").alias_target is None


def test_indexes_of_servers_are_brought_into_one_form() -> None:
    """Rule: a server's text numbers, missing metric and build progress make no difference."""
    progress = {"state": "Finished", "total_rows": 3, "index_name": "x"}
    told = {"M": "8", "metric_type": "COSINE", "index_type": "HNSW", "field_name": "v"}
    assert live_index(told | progress) == {"type": "HNSW", "metric": "COSINE", "M": "8"}
    assert live_index({"index_type": "Trie", "metric_type": "", "field_name": "s"}) == {"type": "Trie", "metric": None}


def test_waiting_for_a_load_is_tried_again(catalog: Catalog, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: DDL right after a server's start is flaky and is tried again."""
    catalog.apply(diff(want, catalog.have("things")), want)
    real: Callable[..., Any] = catalog._client.load_collection
    tries: list[str] = []

    def flaky(name: str, **options: Any) -> Any:
        from pymilvus.exceptions import MilvusException

        tries.append(name)
        if len(tries) == 1:
            raise MilvusException(65535, "unrecoverable error")
        return real(name, **options)

    monkeypatch.setattr(catalog._client, "load_collection", flaky)
    catalog.load("things__g1")
    assert tries == ["things__g1", "things__g1"]

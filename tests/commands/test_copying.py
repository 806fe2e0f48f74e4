"""A candidate is filled from the live generation: nothing is encoded that need not be, and the run that follows finds nothing to do."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest

from connector.milvus.client import connect
from connector.milvus.sink import MilvusSink
from tests.commands.test_switching import NEW_MODEL, Place, cut, place
from tests.workfolder import SCHEMA

__all__ = ["cut", "place"]

SHARDS = SCHEMA.replace("(Collection)", "(Collection, shards=2)")


def rows(place: Place, name: str) -> list[dict[str, Any]]:
    """Every row of a generation, in order."""
    fields = ["id", "path", "text", "vector", "connector_namespace", "connector_key", "connector_content"]
    from connector.job.loading import load_collection

    with connect(place.settings) as connection:
        found = MilvusSink(connection, name, load_collection("schema.py:Notes")).scan(None, fields)
        return sorted(({**row, "vector": row["vector"].tolist()} for row in found), key=lambda row: str(row["id"]))


@pytest.mark.parametrize("schema", [SHARDS, SCHEMA.replace("dim=8,", 'dim=8, metric="IP",')], ids=["shards", "metric"])
def test_what_the_encoder_did_not_change_is_copied(place: Place, schema: str) -> None:
    """Rule: bit by bit the same rows, no encoder call in the copy or in the run after it, and it can be promoted."""
    place.candidate(schema)
    copied = place.ok("copy", "job.yaml")
    assert (copied["rows"], copied["encoded"], copied["candidate"]) == (3, 0, "notes__g2")
    assert rows(place, "notes__g2") == rows(place, "notes__g1")
    report = place.ok("run", "job.yaml")
    assert (report["collection"], report["encoded"], report["counts"]["unchanged"]) == ("notes__g2", 0, 3)
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"
    assert place.call("plan", "job.yaml")[0] == 0


def test_an_index_is_changed_without_a_pause(place: Place) -> None:
    """Rule: what could be altered in place can be made beside the live one instead, and copied: no reload, no encoder call."""
    place.write(3)
    place.ok("run", "job.yaml")
    graph = SCHEMA.replace('"fake:fake"', '"fake:fake", index=HNSW(M=8)').replace("import Coll", "import HNSW, Coll")
    place.put("schema.py", graph)
    assert json.loads(place.call("plan", "job.yaml", "--json")[1])["changes"][0]["action"] == "RebuildIndex"
    assert place.call("plan", "job.yaml", "--beside", "--out", "plan.json")[0] == 10
    assert "--allow-replace" in place.refused("apply", "job.yaml", "--plan", "plan.json")
    place.ok("apply", "job.yaml", "--plan", "plan.json", "--allow-replace")
    assert place.ok("copy", "job.yaml")["encoded"] == 0
    done = place.ok("promote", "job.yaml")
    assert (done["now"], any("recall@10 of HNSW" in check for check in done["checks"])) == ("notes__g2", True)
    assert place.ok("run", "job.yaml")["counts"]["unchanged"] == 3


def test_another_model_is_filled_without_the_source(place: Place) -> None:
    """Rule: the texts are in the collection, so they are encoded from there; it may be promoted though the source is gone."""
    place.candidate()
    shutil.move(place.root / "notes", place.root / "elsewhere")
    copied = place.ok("copy", "job.yaml")
    assert (copied["rows"], copied["encoded"]) == (3, 3)
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"
    [hit] = json.loads(place.call("search", "job.yaml", "note 2 says 14", "--limit", "1", "--json")[1])
    assert hit["distance"] == pytest.approx(1.0, abs=1e-4)
    shutil.move(place.root / "elsewhere", place.root / "notes")
    report = place.ok("run", "job.yaml")
    assert (report["encoded"], report["counts"]["unchanged"]) == (0, 3)


PROBED = SCHEMA.replace('"fake:fake"', '"fake:fake", probed=True')


def test_the_probe_of_an_encoder_goes_with_its_vectors(place: Place) -> None:
    """Rule: weights that were exchanged under the encoder's name are refused by the candidate as by the live one, from its first run on."""
    place.put("schema.py", PROBED)
    place.candidate(PROBED.replace("(Collection)", "(Collection, shards=2)"))
    place.ok("copy", "job.yaml")
    live, candidate = place.state().generations
    assert candidate.stamp.probe == live.stamp.probe
    place.put("schema.py", PROBED.replace("probed=True", 'probed=True, seed="other"').replace("(Collection)", "(Collection, shards=2)"))
    place.write(1)
    code, _, err = place.call("run", "job.yaml")
    assert (code, "is not what the collection was filled with" in err) == (2, True), err


def test_an_encoder_of_a_copy_is_probed(place: Place) -> None:
    """Rule: what a copy encodes is stamped like what a run encodes."""
    place.candidate(NEW_MODEL.replace('"fake:other"', '"fake:other", probed=True'))
    place.ok("copy", "job.yaml")
    probe = place.state().generations[1].stamp.probe
    assert probe is not None
    assert set(probe["vectors"]) == {"vector"}


def test_a_new_field_takes_its_default_until_the_next_run(place: Place) -> None:
    """Rule: what only the source has is not invented; the run after the copy makes those documents again."""
    place.candidate(SCHEMA + '    name: str = Field(max_length=50, default="none")\n')
    assert "does not have name" in place.ok("copy", "job.yaml")["notes"][0]
    assert place.ok("run", "job.yaml")["counts"]["written"] == 3
    [hit] = json.loads(place.call("search", "job.yaml", "note 2 says 14", "--limit", "1", "--json")[1])
    assert "name" not in hit["fields"], "the live one is the old one still"
    place.ok("promote", "job.yaml")
    [hit] = json.loads(place.call("search", "job.yaml", "note 2 says 14", "--limit", "1", "--json")[1])
    assert hit["fields"]["name"] == "2.txt"


def test_a_copy_that_was_interrupted_is_not_promoted_and_can_be_repeated(place: Place, cut: Any) -> None:
    """Rule: half a copy is known to be half; the next one finishes it, and takes away what the live one has lost since."""
    place.candidate(SHARDS)
    cut(place, "copy.page", "copy", "job.yaml")
    assert "no run has filled notes__g2" in place.refused("promote", "job.yaml")
    with connect(place.settings) as connection:
        connection.call("by hand", connection.client.delete, "notes__g1", filter='path == "1.txt"')
    assert place.ok("copy", "job.yaml")["deleted"] == 1
    assert len(rows(place, "notes__g2")) == 2
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"


def test_a_copy_that_lags_is_refused(place: Place) -> None:
    """Rule: a copy is as fresh as the live generation was when it began."""
    place.candidate(SHARDS)
    place.put("old_schema.py", SCHEMA)
    place.put("old.yaml", place.job.replace("schema.py", "old_schema.py") + "state: old.db\n")
    place.ok("copy", "job.yaml")
    time.sleep(1.1)
    place.write(1)
    place.ok("run", "old.yaml")
    assert "lags" in place.refused("promote", "job.yaml")
    assert place.ok("copy", "job.yaml")["rows"] == 4
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (SCHEMA + "    other: str = Field(max_length=9)\n", "notes__g1 has no such field other, and it has no default"),
        (SCHEMA.replace("max_length=60", "max_length=3"), "field path"),
        (
            SCHEMA.replace(
                "id: str = Field(primary_key=True, generated=True)", "path: str = Field(primary_key=True, max_length=60)"
            ).replace("    path: str = Field(max_length=60)\n", "", 1),
            "another primary key",
        ),
        (
            NEW_MODEL.replace('encoder="fake:other"', 'encoder="fake:other", source="body"'),
            "encoded from body, which notes__g1 does not hold",
        ),
        (SCHEMA.replace('encoder="fake:fake"', 'source="ready"'), "does not have the ready-made vectors vector"),
    ],
    ids=["field", "length", "key", "source", "ready"],
)
def test_what_the_live_one_cannot_give_is_refused(place: Place, schema: str, said: str) -> None:
    """Rule: exit 2, the field is named, the live one is as it was, and the candidate cannot be promoted."""
    place.candidate(schema)
    code, _, err = place.call("copy", "job.yaml")
    assert (code, said in err) == (2, True), err
    assert place.live == "notes__g1"
    place.refused("promote", "job.yaml")


def test_nothing_waits(place: Place) -> None:
    """Rule: without a candidate there is nothing to fill, and the live one is not copied onto itself."""
    place.write(1)
    place.ok("run", "job.yaml")
    assert place.ok("copy", "job.yaml")["rows"] == 0
    place.put("schema.py", NEW_MODEL)
    assert place.call("copy", "job.yaml")[0] == 2

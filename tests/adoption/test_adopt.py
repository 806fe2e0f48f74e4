"""A collection that somebody else made is read as it is, taken over in place or by copy, and never written to before."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import pytest

import connector
from connector import faults
from connector.commands.adoption.adopting import FROM
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.testing.encoders import fake_vector
from tests.adoption import handmade
from tests.adoption.conftest import Site

ALL = bool(os.environ.get("CONNECTOR_ALL_FAILPOINTS"))
POINTS = ["copy.page", "adopt.moved"]
LITE = pytest.mark.parametrize("site", ["lite"], indirect=True)
"""Of what is decided before a server is asked for anything that could differ."""

OURS = '''
from connector.schema import Collection, Field, Vector, VectorField

class Texts(Collection, name="texts"):
    """Texts of a shop."""
    sku: str = Field(primary_key=True, max_length=40)
    title: str = Field(max_length=200)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")
'''
"""Filled by runs."""

DYNAMIC = OURS.replace('name="texts"', 'name="texts", dynamic=True')
PINNED = DYNAMIC.replace('source="title"', 'source="title", revision="1"')
"""With an encoder that is told apart by more than its name."""

FOREIGN = OURS.replace('name="texts"', 'name="texts", dynamic=True, lineage=False, consistency="Bounded"')
"""As it is there."""


def rows(count: int = 5) -> list[dict[str, Any]]:
    """What somebody's script inserted: texts with the vectors of their encoder, and keys of the dynamic field."""
    titles = {f"s{number}": f"thing {number}" for number in range(count)}
    return [{"sku": sku, "title": title, "vector": vector(title), "colour": f"red {sku}"} for sku, title in titles.items()]


def vector(title: str) -> list[float]:
    """The encoder's vector of a text."""
    found: list[float] = fake_vector(title).tolist()
    return found


def everything(site: Site, name: str) -> dict[str, Any]:
    """All rows of a collection by key, the dynamic field too."""

    def read(client: Any) -> dict[str, Any]:
        client.load_collection(name)
        found = client.query(name, filter='sku != ""', output_fields=["*"], consistency_level="Strong")
        return {row["sku"]: dict(row) for row in found}

    found: dict[str, Any] = site.by_hand(read)
    return found


def without_lineage(found: dict[str, Any]) -> dict[str, Any]:
    """The same rows without lineage, vectors bit by bit."""
    return {sku: {key: value for key, value in row.items() if not key.startswith("connector_")} for sku, row in found.items()}


def source(site: Site, given: list[dict[str, Any]]) -> None:
    """The table that the collection was once made from."""
    site.put("rows.jsonl", "".join(json.dumps({key: row[key] for key in ("sku", "title")}) + "\n" for row in given))


def cut(site: Site, monkeypatch: pytest.MonkeyPatch, point: str, *words: str) -> None:
    """Stops a command at a failpoint."""
    monkeypatch.setattr(faults, "_hits", Counter())
    monkeypatch.setenv("CONNECTOR_FAILPOINT", f"{point}:1:raise")
    with pytest.raises(RuntimeError, match="failpoint"):
        site.call(*words)
    monkeypatch.delenv("CONNECTOR_FAILPOINT")


def test_it_is_read_and_never_written_to(site: Site) -> None:
    """Rule: compared, searched by a row, documented; refused with 6 by everything that would write, and nothing is changed by any of it."""
    site.by_hand(handmade.texts, rows())
    site.job_into(FOREIGN)
    source(site, rows())
    assert site.call("plan", "job.yaml")[0] == 0
    for words in (["run", "job.yaml"], ["run", "job.yaml", "--dry-run"], ["check", "job.yaml"], ["verify", "job.yaml"]):
        said = site.unchanged(6, *words)
        assert "`texts` is declared with lineage=False" in said
        assert "connector adopt" in said
    with connect(site.settings) as connection:
        Catalog(connection).load("texts")
    code, out, err = site.call("search", "job.yaml", "--like", "s3", "--limit", "1", "--json")
    assert code == 0, err
    [hit] = json.loads(out)
    assert (hit["id"], hit["fields"]["title"]) == ("s3", "thing 3")
    assert "no query can be encoded" in site.unchanged(2, "search", "job.yaml", "thing 3")
    assert "Filled by somebody else" in site.call("schema", "docs", "schema.py:Texts")[1]
    site.unchanged(0, "apply", "job.yaml")


def test_a_collection_that_is_not_there_cannot_be_read(site: Site) -> None:
    """Rule: nothing is made for a class that says that somebody else makes it."""
    site.job_into(FOREIGN)
    for words in (["plan"], ["apply"], ["adopt", "--in-place"], ["promote"], ["copy"]):
        site.unchanged(2, words[0], "job.yaml", *words[1:])
    site.job_into(OURS)
    assert "no collection `old`" in site.unchanged(2, "adopt", "job.yaml", "--copy", "--from", "old")


def test_in_place_and_on_to_a_collection_of_our_own(site: Site) -> None:
    """The whole way: stamped, searched by words, replaced by a copy with lineage, kept by a mirror, rolled back; no row touched before."""
    site.by_hand(handmade.texts, rows())
    before = everything(site, "texts")
    site.job_into(FOREIGN)
    done = site.ok("adopt", "job.yaml", "--in-place")
    assert (done["collection"], done["source"], done["rows"]) == ("texts__g1", "texts", None)
    assert done["proofs"] == ["vector: verified: 5 rows encoded again from title, least cosine 1.0000"]
    assert everything(site, "texts") == everything(site, "texts__g1") == before
    assert site.call("plan", "job.yaml")[0] == 0
    [hit] = json.loads(site.call("search", "job.yaml", "thing 3", "--limit", "1", "--json")[1])
    assert (hit["id"], hit["distance"]) == ("s3", pytest.approx(1.0, abs=1e-4))
    assert "lineage=False" in site.unchanged(6, "run", "job.yaml")
    site.unchanged(0, "adopt", "job.yaml", "--in-place")

    site.job_into(DYNAMIC, more="sync: mirror\n")
    source(site, rows()[1:])
    code, out, _ = site.call("plan", "job.yaml")
    assert (code, "replace: texts__g1" in out, "connector_key: field in code only" in out) == (10, True, True)
    site.ok("apply", "job.yaml", "--allow-replace")
    copied = site.ok("copy", "job.yaml")
    assert (copied["source"], copied["candidate"], copied["rows"], copied["encoded"]) == ("texts__g1", "texts__g2", 5, 0)
    assert without_lineage(everything(site, "texts__g2")) == before
    assert site.ok("copy", "job.yaml")["rows"] == 5
    assert site.ok("promote", "job.yaml")["now"] == "texts__g2"
    report = site.ok("run", "job.yaml")
    assert (report["counts"]["written"], report["counts"]["deleted"], report["collection"]) == (4, 1, "texts__g2")
    assert site.ok("run", "job.yaml")["counts"]["unchanged"] == 4
    assert site.ok("rollback", "job.yaml")["now"] == "texts__g1"
    assert everything(site, "texts") == before


def test_by_copy_under_another_name(site: Site) -> None:
    """Rule: the old one stays as it is; what is copied is bit by bit the same, is owned by the next mirror run, and is not encoded."""
    site.by_hand(handmade.texts, rows(), "old")
    before, snapshot = everything(site, "old"), site.snapshot()["old"]
    site.job_into(PINNED, more="sync: mirror\n")
    changed = [*rows()[1:4], {"sku": "s4", "title": "another text"}, {"sku": "s9", "title": "a new text"}]
    source(site, changed)
    done = site.ok("adopt", "job.yaml", "--copy", "--from", "old", "--keep-vectors")
    assert (done["collection"], done["source"], done["rows"]) == ("texts__g1", "old", 5)
    assert without_lineage(everything(site, "texts")) == before
    assert site.call("plan", "job.yaml")[0] == 0
    assert site.ok("adopt", "job.yaml", "--copy", "--from", "old")["rows"] == 0
    report = site.ok("run", "job.yaml")
    assert (report["counts"]["written"], report["counts"]["deleted"], report["encoded"]) == (5, 1, 2)
    assert sorted(everything(site, "texts")) == ["s1", "s2", "s3", "s4", "s9"]
    assert site.ok("run", "job.yaml")["counts"]["unchanged"] == 5
    assert (everything(site, "old"), site.snapshot()["old"]) == (before, snapshot)


@LITE
def test_without_a_word_for_it_every_vector_is_made_again(site: Site) -> None:
    """Rule: a sample cannot prove that each vector is its text's, so the first run encodes them, unless told that they are."""
    site.by_hand(handmade.texts, rows(), "old")
    site.job_into(DYNAMIC)
    source(site, rows())
    assert not any("not copied" in note for note in site.ok("adopt", "job.yaml", "--copy", "--from", "old")["notes"])
    report = site.ok("run", "job.yaml")
    assert (report["counts"]["written"], report["encoded"]) == (5, 5)


@LITE
def test_what_stays_behind_is_named(site: Site) -> None:
    """Rule: a column that the code does not have is not in the copy, and nobody finds out by its absence."""
    site.by_hand(handmade.texts, rows(), "old")
    site.job_into(DYNAMIC.replace("    title: str = Field(max_length=200)\n", ""))
    done = site.ok("adopt", "job.yaml", "--copy", "--from", "old")
    assert "not copied: title: the code has no such field" in done["notes"]
    assert "title" not in everything(site, "texts")["s1"]


GENERATED = DYNAMIC.replace(
    "sku: str = Field(primary_key=True, max_length=40)", "id: str = Field(primary_key=True, generated=True)\n    sku: int"
)


def test_a_key_that_milvus_made_becomes_one_of_ours(site: Site) -> None:
    """Rule: with a generated key the old one is the document's, so a run whose documents are called so owns the rows."""
    site.by_hand(handmade.texts, [{key: row[key] for key in row if key != "sku"} for row in rows()], "old", auto_id=True)
    site.job_into(GENERATED, "{kind: jsonl, path: rows.jsonl, key: sku}", more="sync: mirror\n")
    assert site.ok("adopt", "job.yaml", "--copy", "--from", "old")["rows"] == 5

    def read(client: Any) -> list[dict[str, Any]]:
        client.load_collection("texts")
        found = client.query("texts", filter='id != ""', output_fields=["*"], consistency_level="Strong")
        return sorted((dict(row) for row in found), key=lambda row: str(row["title"]))

    copied = site.by_hand(read)
    assert [row["connector_key"] for row in copied] == [str(row["sku"]) for row in copied]
    source(site, copied)
    report = site.ok("run", "job.yaml")
    assert (report["counts"]["written"], report["counts"]["deleted"]) == (5, 0)
    again = site.by_hand(read)
    assert [(row["id"], row["sku"]) for row in again] == [(row["id"], row["sku"]) for row in copied]


def test_the_same_name_needs_another_one_for_the_old(site: Site) -> None:
    """Rule: no alias can have the name of a collection; the old one is renamed only when the copy is whole."""
    site.by_hand(handmade.texts, rows())
    before = everything(site, "texts")
    site.job_into(DYNAMIC)
    assert "--rename-to texts_before" in site.unchanged(6, "adopt", "job.yaml", "--copy", "--from", "texts")
    site.by_hand(handmade.texts, [], "taken")
    assert "`taken` is there" in site.unchanged(6, "adopt", "job.yaml", "--copy", "--from", "texts", "--rename-to", "taken")
    done = site.ok("adopt", "job.yaml", "--copy", "--from", "texts", "--rename-to", "texts_before")
    assert (done["collection"], done["rows"]) == ("texts__g1", 5)
    assert everything(site, "texts_before") == without_lineage(everything(site, "texts")) == before
    assert site.call("plan", "job.yaml")[0] == 0
    site.by_hand(lambda client: client.alter_alias("taken", "texts"))
    words = ["adopt", "job.yaml", "--copy", "--from", "texts_before", "--rename-to", "texts_old"]
    assert "taken is live now" in site.unchanged(6, *words)


@LITE
@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (OURS, "old has a dynamic field, and the code has none"),
        (DYNAMIC.replace("max_length=40", "max_length=40, generated=True").replace("sku", "id"), None),
        (DYNAMIC.replace("sku", "key"), "another primary key, sku"),
        (DYNAMIC + "    size: int\n", "has no such field size, and it has no default"),
        (DYNAMIC.replace("max_length=200", "max_length=3"), "document s0: field title"),
        (DYNAMIC.replace('"fake:fake", source="title"', '"fake:fake", source="body"'), None),
        (DYNAMIC.replace("dim=8", "dim=8, dtype='int8'"), None),
        (FOREIGN, "a copy is ours, and carries lineage"),
    ],
    ids=["dynamic", "generated", "key", "field", "length", "unverified", "int8", "foreign"],
)
def test_what_a_copy_cannot_have(site: Site, schema: str, said: str | None) -> None:
    """Rule: exit 2 names the field, and the name never leads to half a copy; what can only be unverified goes on and says so."""
    site.by_hand(handmade.texts, rows(), "old")
    site.job_into(schema)
    code, out, err = site.call("adopt", "job.yaml", "--copy", "--from", "old")
    if said is None:
        assert (code, "unverified" in out or "verified" in out) == (2 if "int8" in schema else 0, "int8" not in schema), out + err
        return
    assert (code, said in err) == (2, True), err
    with connect(site.settings) as connection:
        assert Catalog(connection).have("texts").live is None


@LITE
@pytest.mark.parametrize("way", [["--in-place"], ["--copy", "--from", "texts", "--rename-to", "texts_before"]], ids=["in place", "copy"])
@pytest.mark.parametrize("wrong", ["model", "one text"])
def test_vectors_of_another_model_are_refused(site: Site, way: list[str], wrong: str) -> None:
    """Rule: the name of an encoder is not believed: one text that does not give its vector stops it, and nothing is changed."""
    given = rows()
    for row in given if wrong == "model" else given[3:4]:
        row["vector"] = vector(f"another {row['title']}")
    site.by_hand(handmade.texts, given)
    site.job_into(FOREIGN if way == ["--in-place"] else DYNAMIC)
    said = site.unchanged(6, "adopt", "job.yaml", *way)
    assert "vector: the stored vectors are not those of fake:fake: 5 rows encoded again from title, least cosine" in said
    assert wrong == "model" or "'s3'" in said


@LITE
def test_what_cannot_be_compared_is_called_unverified(site: Site) -> None:
    """Rule: without the text in the collection nothing is claimed, and the claim that is not made stays with the collection."""
    site.by_hand(handmade.texts, rows())
    site.job_into(FOREIGN.replace('source="title"', 'source="body"'))
    [proof] = site.ok("adopt", "job.yaml", "--in-place")["proofs"]
    assert proof == "vector: unverified: the collection has no text column `body`"
    with connect(site.settings) as connection:
        [one] = Catalog(connection).have("texts").generations
    assert json.loads(one.properties[FROM]) == {"from": "texts", "proofs": [proof]}


@pytest.mark.parametrize("point", ["adopt.renamed", "adopt.aliased", "adopt.stamped"] if ALL else ["adopt.renamed"])
def test_an_adoption_in_place_that_was_killed_is_finished(site: Site, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Rule: the same command again, and all is as if it had not been interrupted."""
    site.by_hand(handmade.texts, rows())
    before = everything(site, "texts")
    site.job_into(FOREIGN)
    cut(site, monkeypatch, point, "adopt", "job.yaml", "--in-place")
    assert site.ok("adopt", "job.yaml", "--in-place")["collection"] == "texts__g1"
    assert everything(site, "texts") == before
    assert site.call("plan", "job.yaml")[0] == 0


@pytest.mark.parametrize("point", [*POINTS, "apply.created", "adopt.copied", "adopt.switched"] if ALL else POINTS)
def test_an_adoption_by_copy_that_was_killed_is_finished(site: Site, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Rule: until the copy is whole the name leads to the old collection; the same command again finishes it."""
    site.by_hand(handmade.texts, rows())
    before = everything(site, "texts")
    site.job_into(DYNAMIC)
    words = ["adopt", "job.yaml", "--copy", "--from", "texts", "--rename-to", "texts_before"]
    cut(site, monkeypatch, point, *words)
    if point not in {"adopt.moved", "adopt.switched"}:
        assert everything(site, "texts") == before
    assert site.ok(*words)["collection"] == "texts__g1"
    assert without_lineage(everything(site, "texts")) == everything(site, "texts_before") == before
    assert site.call("plan", "job.yaml")[0] == 0


def test_it_is_adopted_behind_its_alias(site: Site) -> None:
    """Rule: whoever used the alias or the collection's own name goes on under both."""
    site.by_hand(handmade.texts, rows(), "texts_v3")
    site.by_hand(lambda client: client.create_alias("texts_v3", "texts"))
    before = everything(site, "texts")
    site.job_into(FOREIGN)
    assert site.ok("adopt", "job.yaml", "--in-place")["source"] == "texts_v3"
    assert everything(site, "texts") == everything(site, "texts_v3") == everything(site, "texts__g1") == before


@LITE
def test_what_is_ours_is_not_adopted(site: Site) -> None:
    """Rule: a collection with a stamp of ours is not somebody else's, whatever the code says."""
    site.job_into(OURS)
    source(site, rows())
    site.ok("run", "job.yaml")
    assert "carry no lineage" in site.unchanged(2, "adopt", "job.yaml", "--in-place")
    assert "collection of ours" in site.unchanged(2, "adopt", "job.yaml", "--copy", "--from", "texts")
    site.job_into(FOREIGN)
    assert "collection of ours already" in site.unchanged(6, "adopt", "job.yaml", "--in-place")
    assert "lineage" in site.call("plan", "job.yaml")[1]
    site.unchanged(2, "adopt", "job.yaml")
    site.unchanged(2, "adopt", "job.yaml", "--in-place", "--keep-vectors")


def test_rows_that_share_a_key_are_told(site: Site) -> None:
    """Rule: a server may leave other rows out of a scan beside a doubled key, so nothing goes live that was not counted."""
    site.by_hand(handmade.texts, rows(), "old")
    site.by_hand(lambda client: client.insert("old", rows(2)))
    site.job_into(DYNAMIC)
    code, _, err = site.call("adopt", "job.yaml", "--copy", "--from", "old")
    if site.lite:  # it keeps one row a key
        assert (code, len(everything(site, "texts"))) == (0, 5)
        return
    assert (code, "old counts 7 rows and lists" in err) == (1, True), err
    with connect(site.settings) as connection:
        assert Catalog(connection).have("texts").live is None


@LITE
def test_from_python(site: Site) -> None:
    """Rule: the same two ways by one call; a row's neighbours are found in a collection that is not adopted."""
    site.by_hand(handmade.texts, rows())
    where = json.loads(site.job.partition("milvus: ")[2])
    site.put("schema.py", FOREIGN)
    with connect(site.settings) as connection:
        Catalog(connection).load("texts")
    assert connector.search("schema.py:Texts", connector.Key("s2"), milvus=where, limit=1)[0].id == "s2"
    assert connector.adopt("schema.py:Texts", milvus=where).collection == "texts__g1"
    site.put("copy.py", DYNAMIC.replace('name="texts"', 'name="mine"'))
    assert connector.adopt("copy.py:Texts", "texts", milvus=where).rows == 5

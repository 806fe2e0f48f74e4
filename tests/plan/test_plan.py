"""Plans are a pure function of what the code wants and what Milvus has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConfigError, Refused
from connector.plan import (
    Action,
    CreateAlias,
    CreateCollection,
    CreateIndex,
    Drift,
    Generation,
    Have,
    LoadCollection,
    Replace,
    Stamp,
    Want,
    diff,
    differences,
    drift,
    fields_of,
    generation_name,
    generation_number,
    indexes_of,
    render,
    target,
)
from connector.plan.actions import AlterProperty, RebuildIndex
from connector.schema import FLAT, HNSW, INVERTED, Collection, Field, Vector, VectorField, spec_of

GOLDEN = Path(__file__).parent.parent / "golden" / "stamp.v1.json"


class Products(Collection, name="products"):
    """Catalogue."""

    sku: str = Field(primary_key=True, max_length=64)
    title: str = Field(max_length=512, index=INVERTED())
    tags: list[str] = Field(max_length=16, max_capacity=4)
    image: Vector = VectorField(dim=384, source="path", index=HNSW(M=16))


MODEL = {"kind": "clip", "weights": "aaa", "preprocessing": {"size": (224, 224)}}
IDENTITY: dict[str, dict[str, Any]] = {"image": {"model": MODEL, "head": {"layer": None}}}
WANT = Want(spec_of(Products), IDENTITY, "shop")


def stamp(want: Want = WANT) -> Stamp:
    """The stamp that an apply of `want` leaves, as it comes back from Milvus."""
    return Stamp.from_json(Stamp("u1", want.owner, want.spec.normalised(), want.identity).to_json())


def generation(number: int = 1, want: Want = WANT, **changed: Any) -> Generation:
    """A generation that is complete and as stamped, but for what is changed."""
    spec = want.spec.normalised()
    made = Generation(generation_name("products", number), number, stamp(want), 0, fields_of(spec), indexes_of(spec), loaded=True)
    return replace(made, **changed)


def have(*generations: Generation, alias: str | None = "products__g1") -> Have:
    """What Milvus has."""
    return Have(alias, generations)


def altered(**fields: Any) -> Want:
    """The code after an edit of its vector field."""
    image = WANT.spec.vectors[0].model_copy(update=fields)
    return replace(WANT, spec=WANT.spec.model_copy(update={"vectors": (image,)}))


def encoded(**parts: Any) -> Want:
    """The code after its encoder changed."""
    return replace(WANT, identity={"image": {**IDENTITY["image"], **parts}})


def created(name: str) -> tuple[Action, ...]:
    """The steps that make a generation."""
    return (CreateCollection(name), CreateIndex(name, "image"), CreateIndex(name, "title"), LoadCollection(name))


WIDER = altered(dim=512)
G1, G2, G3 = "products__g1", "products__g2", "products__g3"
EVERYTHING = (*created(G1), CreateAlias("products", G1))
SECOND = created(G2)
WIDER_LIVE = ("image: dim 512 live, 384 in code",)
BY_HAND = ("image: index type FLAT live, HNSW in its stamp",)
TTL_BY_HAND = ("collection: collection.ttl.seconds 60 live, none in its stamp",)
NO_INDEXES: dict[str, dict[str, Any]] = {}
ONE_INDEX = {"image": indexes_of(WANT.spec.normalised())["image"]}
LINEAGE_ONLY = ("connector_namespace", "connector_key", "connector_content")
TABLE: list[tuple[str, Have, tuple[Action, ...]]] = [
    ("nothing there", Have(), EVERYTHING),
    ("all there", have(generation()), ()),
    ("killed after create", have(generation(indexes=NO_INDEXES, loaded=False), alias=None), EVERYTHING[1:]),
    ("killed after one index", have(generation(indexes=ONE_INDEX, loaded=False), alias=None), EVERYTHING[2:]),
    ("killed before load", have(generation(loaded=False), alias=None), EVERYTHING[3:]),
    ("killed before alias", have(generation(), alias=None), EVERYTHING[4:]),
    ("released", have(generation(loaded=False)), (LoadCollection(G1),)),
    ("a candidate, complete", have(generation(1, WIDER), generation(2)), ()),
    ("a candidate, not loaded", have(generation(1, WIDER), generation(2, loaded=False)), (LoadCollection("products__g2"),)),
    ("other code live", have(generation(1, WIDER)), (Replace(G1, G2, ("image: dim 512 live, 384 in code",)), *SECOND)),
    ("other code live and waiting", have(generation(1, WIDER), generation(2, WIDER)), (Replace(G1, G3, WIDER_LIVE), *created(G3))),
    ("a leftover of other code, never live", have(generation(1, WIDER), alias=None), (*SECOND, CreateAlias("products", G2))),
    (
        "live without a stamp",
        have(generation(stamp=None)),
        (Replace(G1, G2, ("products__g1 carries no stamp: it was not made by connector",)), *SECOND),
    ),
    (
        "index changed by hand",
        have(generation(indexes={**indexes_of(WANT.spec.normalised()), "image": {"type": "FLAT", "metric": "COSINE"}})),
        (Drift(G1, BY_HAND), RebuildIndex(G1, "image", BY_HAND), LoadCollection(G1)),
    ),
    (
        "a life time set by hand",
        have(generation(properties={"collection.ttl.seconds": "60"})),
        (Drift(G1, TTL_BY_HAND), AlterProperty(G1, "collection.ttl.seconds", "60", None)),
    ),
    ("a life time switched off, a property of the server", have(generation(properties={"collection.ttl.seconds": "0", "x": "y"})), ()),
]


@pytest.mark.parametrize(("there", "actions"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_done_in_every_state(there: Have, actions: tuple[Action, ...]) -> None:
    """Rule: the plan follows from the live state alone, so what an interrupted apply left is what the next plan holds."""
    assert diff(WANT, there) == actions


@given(st.integers(0, len(EVERYTHING)))
def test_an_apply_that_stops_anywhere_goes_on_there(done: int) -> None:
    """Rule: after any prefix of a plan was carried out, the new plan is the rest of it."""
    steps = EVERYTHING[:done]
    built = {step.field for step in steps if isinstance(step, CreateIndex)}
    indexes = {name: index for name, index in indexes_of(WANT.spec.normalised()).items() if name in built}
    made = generation(indexes=indexes, loaded=LoadCollection(G1) in steps)
    there = have(*([made] if done else []), alias=G1 if EVERYTHING[-1] in steps else None)
    assert diff(WANT, there) == EVERYTHING[done:]


def test_the_live_generation_is_preferred_to_an_equal_candidate() -> None:
    """Rule: a run writes to the generation whose stamp equals its code, the live one first, else the newest."""
    one, two, three = generation(1), generation(2), generation(3)
    assert target(WANT, have(one, two)) == one
    assert target(WANT, have(one, two, alias="products__g2")) == two
    assert target(WANT, have(generation(1, WIDER), two, three)) == three
    assert target(WIDER, have(one, two)) is None
    assert target(WANT, Have()) is None


@pytest.mark.parametrize(
    ("want", "sentences"),
    [
        (WANT, ()),
        (WIDER, ("image: dim 384 live, 512 in code",)),
        (altered(metric="L2"), ("image: metric COSINE live, L2 in code",)),
        (altered(index=HNSW(M=32)), ("image: index M 16 live, 32 in code",)),
        (
            altered(index=FLAT()),
            (
                "image: index M 16 live, none in code",
                "image: index efConstruction 200 live, none in code",
                "image: index type HNSW live, FLAT in code",
            ),
        ),
        (altered(encoder="clip:elsewhere", source="other"), ()),
        (encoded(model={**MODEL, "weights": "bbb"}), ("image: encoder model.weights aaa live, bbb in code",)),
        (encoded(head={"layer": 3}), ("image: encoder head.layer none live, 3 in code",)),
        (replace(WANT, identity={}), ("image: encoder live only",)),
        (replace(WANT, spec=WANT.spec.model_copy(update={"shards": 2})), ("collection: shards 1 live, 2 in code",)),
        (
            replace(WANT, spec=WANT.spec.model_copy(update={"fields": WANT.spec.fields[:1]})),
            (*(f"{name}: field live only" for name in ("title", "tags", *LINEAGE_ONLY)), "title: index live only"),
        ),
        (replace(WANT, spec=WANT.spec.model_copy(update={"description": "new words", "where": "elsewhere.py"})), ()),
    ],
)
def test_differences_name_the_field_and_what_was_found(want: Want, sentences: tuple[str, ...]) -> None:
    """Rule: a mismatch is told field by field, found against wanted; words and paths are no difference."""
    assert differences(want, stamp()) == sentences


def test_a_second_namespace_is_refused_where_keys_are_natural() -> None:
    """Rule: two jobs with natural keys would overwrite each other's rows; the owner is named."""
    other = replace(WANT, owner="outlet")
    with pytest.raises(Refused, match="belongs to namespace `shop`, this job's is `outlet`"):
        diff(other, have(generation()))
    with pytest.raises(Refused):
        target(other, have(generation()))
    with pytest.raises(Refused):
        diff(replace(WIDER, owner="outlet"), have(generation()))


def test_generated_keys_have_no_owner() -> None:
    """Rule: collections with generated keys are shared between jobs."""
    shared = replace(WANT, owner=None)
    assert diff(shared, have(generation(want=shared))) == ()


def test_a_name_that_is_taken_stops_the_plan() -> None:
    """Rule: nothing of the user's own is replaced by us."""
    with pytest.raises(ConfigError, match="collection of its own"):
        diff(WANT, Have(blocking="products"))
    with pytest.raises(ConfigError, match="alias of `other`"):
        diff(WANT, Have("other"))


def test_what_a_server_does_not_report_is_no_drift() -> None:
    """Rule: Milvus Lite reports no build parameters and no element lengths; older and newer ones report extra ones."""
    fields = fields_of(WANT.spec.normalised())
    fields["tags"]["max_length"] = None
    indexes = {"image": {"type": "HNSW", "metric": "COSINE"}, "title": {"type": "INVERTED", "metric": None}}
    assert drift(generation(fields=fields, indexes=indexes)) == ()
    full = generation()
    loud = generation(indexes={**full.indexes, "image": {**full.indexes["image"], "mmap.enabled": "true"}})
    assert drift(loud) == ()


def test_a_changed_field_is_drift() -> None:
    """Rule: a collection made anew by hand under the old stamp is noticed."""
    fields = fields_of(WANT.spec.normalised())
    gone = {name: field for name, field in fields.items() if name != "title"}
    assert drift(generation(fields=gone)) == ("title: field in its stamp only",)
    assert drift(generation(fields={**fields, "image": {**fields["image"], "dim": 3}})) == ("image: dim 3 live, 384 in its stamp",)
    more = {**indexes_of(WANT.spec.normalised()), "tags": {"type": "INVERTED", "metric": None}}
    assert drift(generation(indexes=more)) == ("tags: index live only",)


def test_the_stamp_of_format_1_stays_readable() -> None:
    """Rule: the stamp is frozen: what version 1 wrote is read, and written the same, by every later version."""
    text = GOLDEN.read_text().strip()
    assert Stamp("5f0c4c0e-0000-4000-8000-000000000000", "shop", WANT.spec.normalised(), IDENTITY, None).to_json() == text
    assert Stamp.from_json(text).to_json() == text
    assert differences(WANT, Stamp.from_json(text)) == ()


def test_a_stamp_of_a_newer_format_is_refused() -> None:
    """Rule: an old version does not guess at what a newer one wrote."""
    newer = json.dumps({**json.loads(GOLDEN.read_text()), "format": 2})
    with pytest.raises(ConfigError, match="upgrade connector"):
        Stamp.from_json(newer)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1}', '{"format": "x"}', '{"format": 1, "uid": "u", "odd": 1}'])
def test_what_is_no_stamp_is_told(text: str) -> None:
    """Rule: a property that somebody overwrote is not taken for an old stamp."""
    with pytest.raises(ConfigError, match="stamp"):
        Stamp.from_json(text)


NOT_GENERATIONS = ("products__g0", "products__g01", "products", "xproducts__g1", "products__g1__g2", "products__gx")


GENERATIONS = {"products__g1": 1, "products__g12": 12, **dict.fromkeys(NOT_GENERATIONS)}


@pytest.mark.parametrize(("name", "number"), GENERATIONS.items())
def test_names_of_generations(name: str, number: int | None) -> None:
    """Rule: the names of generations are frozen, and nothing else is taken for one."""
    assert generation_number("products", name) == number


def test_a_plan_reads_line_by_line() -> None:
    """Rule: a plan is reviewed by people: one step a line, reasons beneath."""
    assert render(()) == "no changes: the live collection is what the code says"
    assert render(EVERYTHING).splitlines() == [
        "+ create collection products__g1",
        "+ create index on products__g1.image",
        "+ create index on products__g1.title",
        "+ load products__g1",
        "+ create alias products -> products__g1",
    ]
    assert render((Replace(G1, G2, ("image: dim 384 live, 512 in code",)), Drift(G1, ("a: b",)))).splitlines() == [
        "! replace: products__g1 is not altered into this; products__g2 is made beside it   [replacement]",
        "    image: dim 384 live, 512 in code",
        "~ drift: products__g1 is not what its stamp says",
        "    a: b",
    ]

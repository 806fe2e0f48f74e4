"""What Milvus can alter in place is altered, and nothing else: pure, over stamps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector.errors import PlanNeeded
from connector.plan import diff, steps
from connector.plan.actions import (
    Action,
    AddField,
    AlterProperty,
    CreateIndex,
    DropIndex,
    LoadCollection,
    RebuildIndex,
    Replace,
    Restamp,
    WidenField,
)
from connector.plan.altering import alterations
from connector.plan.generations import ADD_FIELD, WIDEN, Generation, Have, Want
from connector.plan.stamp import Stamp, fields_of, indexes_of
from connector.schema import FLAT, HNSW, INVERTED, Collection, Field, Vector, VectorField, spec_of
from connector.schema.spec import CollectionSpec, FieldSpec


class Goods(Collection, name="goods", properties={"collection.ttl.seconds": "3600"}):
    """Catalogue."""

    sku: str = Field(primary_key=True, max_length=64)
    title: str = Field(max_length=512, index=INVERTED())
    image: Vector = VectorField(dim=8, source="path", index=HNSW(M=16))


G1 = "goods__g1"
SPEC, IDENTITY = spec_of(Goods), {"image": {"model": {"weights": "a"}, "head": {}}}
NEW_FIELD = FieldSpec(name="note", type="VARCHAR", nullable=True, max_length=9)
TTL, MMAP = "collection.ttl.seconds", "mmap.enabled"


def stamp(spec: CollectionSpec = SPEC) -> Stamp:
    """As it comes back from Milvus."""
    return Stamp.from_json(Stamp("u", "shop", spec.normalised(), IDENTITY).to_json())


def changed(**parts: Any) -> CollectionSpec:
    """The code after an edit."""
    return SPEC.model_copy(update=parts)


def title(**parts: Any) -> CollectionSpec:
    """The code after an edit of `title`."""
    fields = (SPEC.fields[0], SPEC.fields[1].model_copy(update=parts), *SPEC.fields[2:])
    return changed(fields=fields)


def image(**parts: Any) -> CollectionSpec:
    """The code after an edit of `image`."""
    return changed(vectors=(SPEC.vectors[0].model_copy(update=parts),))


def with_field(field: FieldSpec) -> CollectionSpec:
    """The code with one field more, before those of lineage."""
    return changed(fields=(*SPEC.fields[:2], field, *SPEC.fields[2:]))


ALL = frozenset({ADD_FIELD, WIDEN})
M32 = RebuildIndex(G1, "image", ("image: index M 16 live, 32 in code",))
RELOAD = LoadCollection(G1)
TABLE: list[tuple[str, CollectionSpec, frozenset[str], tuple[Action, ...]]] = [
    ("nothing", SPEC, ALL, ()),
    ("index parameter", image(index=HNSW(M=32)), frozenset(), (M32, RELOAD)),
    (
        "index type",
        image(index=FLAT()),
        frozenset(),
        (
            RebuildIndex(
                G1,
                "image",
                (
                    "image: index M 16 live, none in code",
                    "image: index efConstruction 200 live, none in code",
                    "image: index type HNSW live, FLAT in code",
                ),
            ),
            RELOAD,
        ),
    ),
    ("index dropped", title(index=None), frozenset(), (DropIndex(G1, "title"), RELOAD)),
    ("shorter life", changed(properties={TTL: "60"}), frozenset(), (AlterProperty(G1, TTL, "3600", "60", "loses data"),)),
    ("longer life", changed(properties={TTL: "7200"}), frozenset(), (AlterProperty(G1, TTL, "3600", "7200", "in place"),)),
    ("endless life", changed(properties={}), frozenset(), (AlterProperty(G1, TTL, "3600", None, "in place"),)),
    (
        "mapped into memory",
        changed(properties={TTL: "3600", MMAP: "true"}),
        frozenset(),
        (AlterProperty(G1, MMAP, None, "true", "needs reload"), RELOAD),
    ),
    ("nullable field, a new server", with_field(NEW_FIELD), ALL, (AddField(G1, "note"),)),
    ("nullable field, an old server", with_field(NEW_FIELD), frozenset(), ()),
    ("required field", with_field(NEW_FIELD.model_copy(update={"nullable": False})), ALL, ()),
    ("longer varchar, a new server", title(max_length=600), ALL, (WidenField(G1, "title", 512, 600),)),
    ("longer varchar, an old server", title(max_length=600), frozenset(), ()),
    ("shorter varchar", title(max_length=500), ALL, ()),
    ("longer, and nullable", title(max_length=600, nullable=True), ALL, ()),
    ("field dropped", changed(fields=(SPEC.fields[0], *SPEC.fields[2:])), ALL, ()),
    ("dimension", image(dim=16), ALL, ()),
    ("metric", image(metric="L2"), ALL, ()),
    ("shards", changed(shards=2), ALL, ()),
    ("index and dimension", image(dim=16, index=HNSW(M=32)), ALL, ()),
]


@pytest.mark.parametrize(("spec", "can", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_altered_in_place(spec: CollectionSpec, can: frozenset[str], expected: tuple[Action, ...]) -> None:
    """Rule: the steps, and the new stamp after them; nothing at all where anything is left over."""
    assert alterations(G1, stamp(), spec.normalised(), IDENTITY, can) == (*expected, *((Restamp(G1),) if expected else ()))


def test_a_new_index_is_built_without_a_reload() -> None:
    """Rule: a scalar index comes to a loaded collection."""
    bare = stamp(title(index=None))
    assert alterations(G1, bare, SPEC.normalised(), IDENTITY, ALL) == (CreateIndex(G1, "title"), Restamp(G1))


def test_another_model_is_never_altered_in_place() -> None:
    """Rule: vectors of two models do not stand in one collection."""
    other = {"image": {"model": {"weights": "b"}, "head": {}}}
    assert alterations(G1, stamp(), SPEC.normalised(), other, ALL) == ()
    assert alterations(G1, stamp(), image(index=FLAT()).normalised(), other, ALL) == ()


def generation(number: int, spec: CollectionSpec, **parts: Any) -> Generation:
    """Complete and as stamped."""
    plain = spec.normalised()
    made = Generation(
        f"goods__g{number}", number, stamp(spec), 0, fields_of(plain), indexes_of(plain), loaded=True, properties=spec.properties
    )
    return replace(made, **parts)


def test_a_waiting_candidate_is_altered_before_a_third_is_made() -> None:
    """Rule: what was encoded for the candidate is not encoded again for an index; what was live before is left as it is."""
    want = Want(image(dim=16, index=HNSW(M=32)), IDENTITY)
    old, waiting = generation(1, SPEC), generation(2, image(dim=16))
    assert diff(want, Have(G1, (old, waiting)))[0] == replace(M32, collection="goods__g2")
    assert isinstance(diff(want, Have("goods__g3", (old, waiting, generation(3, SPEC))))[0], Replace)


def test_the_steps_are_the_same_until_the_stamp_is_written() -> None:
    """Rule: an apply that was interrupted anywhere finds the steps that it was at."""
    want = Want(image(index=HNSW(M=32)), IDENTITY)
    whole = diff(want, Have(G1, (generation(1, SPEC),)))
    halfway = replace(generation(1, SPEC), indexes={"title": {"type": "INVERTED", "metric": None}}, loaded=False)
    assert diff(want, Have(G1, (halfway,))) == whole == (M32, RELOAD, Restamp(G1))
    assert diff(want, Have(G1, (generation(1, want.spec),))) == ()


def test_a_run_alters_nothing_by_itself() -> None:
    """Rule: a run makes what is missing; what exists is changed by whoever looked at the plan."""
    with pytest.raises(PlanNeeded, match="index M 16 live, 32 in code"):
        steps(Want(image(index=HNSW(M=32)), IDENTITY), Have(G1, (generation(1, SPEC),)))
    drifted = generation(1, SPEC, properties={TTL: "5"})
    assert steps(Want(SPEC, IDENTITY), Have(G1, (drifted,))) == ()
    assert len(diff(Want(SPEC, IDENTITY), Have(G1, (drifted,)))) == 2

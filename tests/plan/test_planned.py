"""A saved plan is carried out as it was looked at, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from connector.errors import ConfigError, Refused
from connector.plan.actions import (
    Action,
    AddField,
    AlterProperty,
    CreateAlias,
    CreateCollection,
    CreateIndex,
    Drift,
    DropIndex,
    LoadCollection,
    RebuildIndex,
    Replace,
    Restamp,
    WidenField,
    from_json,
    to_json,
)
from connector.plan.generations import Generation, Have, Want
from connector.plan.planned import Cost, Plan, costs_of, state_of, unchanged
from connector.plan.stamp import Stamp
from connector.schema import Collection, Field, Vector, VectorField, spec_of

ACTIONS: tuple[Action, ...] = (
    Drift("g", ("a: b", "c: d")),
    Replace("g", "h", ("why",)),
    CreateCollection("g"),
    CreateIndex("g", "f"),
    RebuildIndex("g", "f", ("why",)),
    DropIndex("g", "f"),
    AlterProperty("g", "k", None, "v", "loses data"),
    AddField("g", "f"),
    WidenField("g", "f", 1, 2),
    LoadCollection("g"),
    CreateAlias("a", "g"),
    Restamp("g"),
)
PLAN = Plan("goods", ACTIONS, {1: Cost(20_000, 20_000, 190.0, 30_720_000), 4: Cost(20_000)}, ("look out",), "s1", "c1")


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_every_step_comes_back_from_a_file(action: Action) -> None:
    """Rule: nothing is lost between the plan that is read and the one that is carried out."""
    assert from_json(json.loads(json.dumps(to_json(action)))) == action


def test_a_plan_says_risk_and_cost() -> None:
    """Rule: what a step risks and costs stands on its line."""
    text = str(PLAN).splitlines()
    assert text[3:5] == [
        f"! replace: g is not altered into this; h is made beside it   [replacement, {PLAN.costs[1]}]",
        "    why",
    ]
    assert str(PLAN.costs[1]) == "20,000 rows, 20,000 inputs to encode, about 3 min, 30.7 MB of vectors"
    assert "~ rebuild index on g.f   [needs reload, 20,000 rows, nothing to encode]" in text
    assert "~ set k of g: none -> v   [loses data]" in text
    assert text[-1] == "note: look out"


class Goods(Collection):
    """Two encoders."""

    sku: str = Field(primary_key=True, max_length=8)
    title: Vector = VectorField(dim=4, encoder="fake:one", source="title")
    story: Vector = VectorField(dim=8, encoder="fake:two", source="story")


def test_only_what_has_another_encoder_costs_encoding() -> None:
    """Rule: rows once, inputs for each encoder that changed, their time by the measured speed, disk for all vectors of the candidate."""
    live = {"title": {"head": {"layers": [1, 2]}}, "story": {"model": "old"}}
    want = Want(spec_of(Goods), {"title": {"head": {"layers": (1, 2)}}, "story": {"model": "new"}})
    assert unchanged(want, live) == ("title",)
    steps = (Replace("g", "h", ("why",)), CreateCollection("h"), CreateIndex("h", "title"))
    assert costs_of(steps, want, 20_000, 50.0, live) == {0: Cost(20_000, 20_000, 400.0, 20_000 * 4 * (4 + 8))}
    assert costs_of(steps, want, 20_000, 50.0, {})[0] == Cost(20_000, 40_000, 800.0, 20_000 * 4 * (4 + 8))
    assert costs_of(steps, want, 20_000, None, live)[0].seconds is None
    same = Want(want.spec, {"title": want.identity["title"]})
    assert str(costs_of(steps, same, 20_000, 50.0, live)[0]) == "20,000 rows, nothing to encode, 1.0 MB of vectors"
    rebuilt = (RebuildIndex("g", "title", ("why",)), LoadCollection("g"))
    assert costs_of(rebuilt, want, 20_000, 50.0, live) == {0: Cost(20_000)}


def test_a_saved_plan_is_read_back(tmp_path: Path) -> None:
    """Rule: the file holds the steps and what they were planned against."""
    PLAN.save(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == replace(PLAN, costs={}, notes=())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "changes": [{}]}', '{"format": 1, "changes": [1]}'])
def test_what_is_no_plan_is_told(tmp_path: Path, text: str) -> None:
    """Rule: a file that is something else is named, with the command that makes a plan."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError) as told:
        Plan.read(tmp_path / "x.json")
    assert "connector plan" in told.value.hint


def test_a_plan_that_cannot_be_written_or_read_is_told(tmp_path: Path) -> None:
    """Rule: the file is named."""
    with pytest.raises(ConfigError, match="nowhere"):
        PLAN.save(tmp_path / "nowhere" / "plan.json")
    with pytest.raises(ConfigError, match=r"gone\.json"):
        Plan.read(tmp_path / "gone.json")


def test_a_stale_plan_is_refused() -> None:
    """Rule: other code, another collection, or another state that needs other steps: nothing is done."""
    PLAN.check(PLAN)
    for other in (replace(PLAN, code="c2"), replace(PLAN, collection="x")):
        with pytest.raises(Refused, match="other code"):
            PLAN.check(other)
    with pytest.raises(Refused, match="changed since"):
        PLAN.check(replace(PLAN, state="s2", actions=(DropIndex("g", "title"), *ACTIONS[1:])))
    with pytest.raises(Refused, match="changed since"):
        PLAN.check(replace(PLAN, state="s2", actions=(DropIndex("g", "title"), *ACTIONS)))


def test_an_interrupted_apply_goes_on_with_its_plan() -> None:
    """Rule: the state has changed because half of this very plan was done, and what is left stands in it, in its order."""
    for left in range(len(ACTIONS) + 1):
        PLAN.check(replace(PLAN, state="s2", actions=ACTIONS[left:]))
    PLAN.check(replace(PLAN, state="s2", actions=(*ACTIONS[3:9], *ACTIONS[10:])))
    with pytest.raises(Refused, match="changed since"):
        PLAN.check(replace(PLAN, state="s2", actions=(ACTIONS[4], ACTIONS[3])))


def test_what_every_run_changes_is_no_other_state() -> None:
    """Rule: the old deployment may run between the plan and its apply; an index changed by hand is another state."""
    stamp = Stamp("u", None, {}, {})
    one = Generation("goods__g1", 1, stamp, 3, {}, {"v": {"type": "HNSW"}}, loaded=True)
    state = state_of(Have("goods__g1", (one,)))
    ran = replace(one, epoch=4, stamp=replace(stamp, probe={"v": 1}), properties={"connector.run.x": "y"}, loaded=False)
    assert state_of(Have("goods__g1", (ran,))) == state
    for other in (
        Have(None, (one,)),
        Have("goods__g1", (replace(one, indexes={"v": {"type": "FLAT"}}),)),
        Have("goods__g1", (replace(one, properties={"collection.ttl.seconds": "1"}),)),
        Have("goods__g1", (replace(one, stamp=replace(stamp, uid="w")),)),
    ):
        assert state_of(other) != state

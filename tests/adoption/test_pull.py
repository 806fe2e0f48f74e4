"""A collection that somebody made by hand becomes a schema file, and that file says what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType

from connector.commands.adoption.pulling import pull
from connector.errors import SchemaError
from connector.job.loading import load_collection
from tests.adoption import handmade
from tests.adoption.conftest import Site
from tests.workfolder import SCHEMA

GOLDEN = Path(__file__).parent.parent / "golden"
MADE: dict[str, Callable[..., None]] = {"quick": handmade.quick, "shop": handmade.shop, "special": handmade.special}
CLASS = "class: the field itself: no class can have a column of this name"
LOST = {
    ("lite", "shop"): [CLASS],
    ("lite", "special"): ["text: enable_match = true"],
    ("server", "shop"): ["price: an index that the server has not named", CLASS],
    ("server", "special"): ["the partitions autumn, spring; rows are read from all of them"],
}


@pytest.fixture
def env(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The address of Milvus where commands look for it that no job tells."""
    monkeypatch.setenv("MILVUS_URI", site.settings.uri)
    if site.settings.token:
        monkeypatch.setenv("MILVUS_TOKEN", site.settings.token.get_secret_value())
    return site


def at(site: Site, name: str) -> list[str]:
    """Words that pull a collection of the test's own database, which only a job can name."""
    site.put(f"{name}.yaml", site.job.replace("schema.py:Notes", f"schemas/none.py:{name.capitalize()}"))
    return ["schema", "pull", f"{name}.yaml"]


def plan_of(site: Site, reference: str) -> tuple[int, str]:
    """Exit code and text of a plan of a class."""
    site.put("plan.yaml", site.job.replace("schema.py:Notes", reference))
    code, out, err = site.call("plan", "plan.yaml")
    return code, out + err


@pytest.mark.parametrize("name", MADE)
def test_what_was_made_by_hand_is_pulled_and_planned_as_equal(site: Site, name: str) -> None:
    """Rule: the file is what is there, parameter by parameter; what it cannot say stands in it as a comment, and on stderr."""
    site.by_hand(MADE[name])
    before = site.snapshot()
    code, _, err = site.call(*at(site, name), "--out", f"schemas/{name}.py")
    lost = LOST.get(("lite" if site.lite else "server", name), [])
    assert (code, err.splitlines()) == (0, [f"not in the file: {one}" for one in lost])
    text = (site.root / "schemas" / f"{name}.py").read_text()
    golden = GOLDEN / f"pulled_{name}_{'lite' if site.lite else 'server'}.py"
    assert text == golden.read_text(), f"{golden}: if this is wanted, write it anew"
    code, said = plan_of(site, f"schemas/{name}.py:{name.capitalize()}")
    assert (code, said.startswith("no changes")) == (0, True), said
    assert all(f"not in the code: {one}" in said for one in lost)
    assert all(one.partition(": ")[2] or one in text for one in lost)
    assert site.snapshot() == before


def test_an_alias_is_pulled_under_its_own_name(site: Site) -> None:
    """Rule: whoever uses an alias gets a class of that name, and reads in it what the collection is really called."""
    site.by_hand(handmade.shop)
    site.ok(*at(site, "store"), "--out", "store.py")
    text = (site.root / "store.py").read_text()
    assert "class Store(" in text
    assert "# The collection itself is called shop." in text
    assert plan_of(site, "store.py:Store")[0] == 0


def test_a_pulled_file_is_never_written_over(site: Site) -> None:
    """Rule: a schema that somebody has edited stays, unless they say so; nothing else is written either."""
    site.by_hand(handmade.quick)
    words = [*at(site, "quick"), "--out", "quick.py"]
    site.ok(*words)
    (site.root / "quick.py").write_text("# mine\n")
    assert "quick.py exists" in site.unchanged(6, *words)
    assert (site.root / "quick.py").read_text() == "# mine\n"
    site.ok(*words, "--force")
    assert load_collection("quick.py:Quick").name == "quick"


def test_pulled_to_stdout_by_name(env: Site) -> None:
    """Rule: without --out the file is printed; a name that is not there is told with those that are."""
    if not env.lite:
        env.settings = env.settings.model_copy(update={"database": ""})
    env.by_hand(handmade.quick)
    try:
        code, out, err = env.call("schema", "pull", "quick")
        assert (code, err) == (0, "")
        assert out == (GOLDEN / f"pulled_quick_{'lite' if env.lite else 'server'}.py").read_text()
        code, out, err = env.call("schema", "pull", "quack")
        assert (code, out) == (2, "")
        assert "did you mean `quick`?" in err
    finally:
        env.by_hand(lambda client: client.drop_collection("quick"))


def test_our_own_collection_is_pulled_with_its_encoder(site: Site) -> None:
    """Rule: a lost schema file comes back from the stamp, encoder and all, and the code is what is live."""
    given = SCHEMA.replace("4000)", '4000, description="what it says")').replace(
        '"fake:fake"', '"fake:fake", max_tokens=9, index=HNSW(M=8)'
    )
    site.put("schema.py", given.replace("import Coll", "import HNSW, Coll"))
    site.write(2)
    site.ok("run", "job.yaml")
    site.put("notes.yaml", site.job)
    site.ok("schema", "pull", "notes.yaml", "--out", "again.py")
    text = (site.root / "again.py").read_text()
    assert "lineage=False" not in text
    assert "connector_" not in text
    code, said = plan_of(site, "again.py:Notes")
    assert (code, said) == (0, "no changes: the live collection is what the code says\n")
    site.put("job.yaml", site.job.replace("schema.py", "again.py"))
    assert site.ok("run", "job.yaml")["counts"]["unchanged"] == 2


def test_a_class_that_says_something_else_is_told(site: Site) -> None:
    """Rule: for every part that a declaration has, a difference is a sentence with what is found and what is wanted; nothing is altered."""
    site.by_hand(handmade.shop)
    site.ok(*at(site, "shop"), "--out", "shop.py")
    text = (site.root / "shop.py").read_text()
    edits = [
        ("dim=4", "dim=8", "v: dim 4 live, 8 in code"),
        ('metric="L2"', 'metric="IP"', "v: metric L2 live, IP in code"),
        ("IVF_FLAT(nlist=", "IVF_SQ8(nlist=", "v: index type IVF_FLAT live, IVF_SQ8 in code"),
        ("max_length=100", "max_length=99", "title: max_length 100 live, 99 in code"),
        ("level: Int8", "level: Int16", "level: type INT8 live, INT16 in code"),
        ("stock: int", "stock: int | None", "stock: nullable none live, true in code"),
        ("auto_id=True", "auto_id=False", "pk: auto_id true live, none in code"),
        ("partition_key=True, ", "", "tenant: partition_key true live, none in code"),
        ("max_capacity=7", "max_capacity=8", "sizes: max_capacity 7 live, 8 in code"),
        ("default=0.1", "default=0.2", "price: default 0.1"),
        ("dynamic=True", "dynamic=False", "collection: dynamic true live, false in code"),
        ('"360000"', '"9"', "collection: properties"),
        ("    data: dict[str, Any]\n", "", "data: field live only"),
        ("    data: dict[str, Any]\n", "    data: dict[str, Any]\n    more: int\n", "more: field in code only"),
    ]
    told = [("nlist=64", "nlist=65", "v: index nlist 64 live, 65 in code"), ("shards=2", "shards=3", "shards 2 live, 3 in code")]
    for old, new, said in edits if site.lite else [*edits[:3], *told]:
        assert old in text
        edited = text.replace(old, new).replace("IVF_FLAT, ", "IVF_FLAT, IVF_SQ8, ").replace("Int8, ", "Int8, Int16, ")
        edited = edited.replace("    partitions=64,\n", "") if "partition_key" in old else edited
        site.put("edited.py", edited)
        code, found = plan_of(site, "edited.py:Shop")
        assert (code, said in found) == (10, True), found
    assert "not ours to alter" in site.unchanged(6, "apply", "plan.yaml")


def test_what_cannot_be_declared_at_all_is_refused(site: Site) -> None:
    """Rule: no file is better than one that lies: a key that no class can have is told by name."""

    def odd(client: Any) -> None:
        schema = client.create_schema()
        schema.add_field("from", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
        client.create_collection("odd", schema=schema)

    site.by_hand(odd)
    with pytest.raises(SchemaError, match="no primary key, or no vector, that can be declared") as caught:
        pull(site.settings, "odd")
    assert "from: the field itself" in caught.value.hint

"""Searches of several vector fields on Milvus Lite, against its own hybrid search and against single searches."""

from __future__ import annotations

import inspect
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import connector
from connector.commands.retrieval.fusing import DEPTH, nearness
from connector.encoding.queries import Image, Key
from connector.errors import ConfigError
from connector.milvus.client import Connection, connect
from connector.milvus.search import Hit
from connector.milvus.settings import MilvusSettings
from connector.schema import BM25, Collection, Field, Vector, VectorField
from connector.testing.encoders import COUNTS, fake_vector
from tests.workfolder import Folder

WORDS = ("red", "blue", "green", "shoe", "cup", "tea", "running", "old", "wool", "sea")
QUERY = "red running shoe"


class Products(Collection):
    """Found by meaning, by words, by a picture of somebody else's making, within scalar filters."""

    sku: str = Field(primary_key=True, max_length=8)
    title: str = Field(max_length=80)
    price: float = 0.0
    colour: str = Field(max_length=10)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")
    short: Vector = VectorField(dim=4, truncate_dim=4, encoder="fake:fake", source="title", metric="L2")
    keywords: Vector = BM25("title")
    cover: Vector = VectorField(dim=2, source="cover")


SCHEMA = f"from connector.schema import BM25, Collection, Field, Vector, VectorField\n\n{inspect.getsource(Products)}"


def rows(count: int = 60) -> Iterator[dict[str, Any]]:
    """Products of random words."""
    dice = random.Random(7)  # noqa: S311 - data, not a secret
    for number in range(count):
        words = dice.choices(WORDS, k=dice.randint(2, 5))
        yield {"sku": f"s{number:03}", "title": " ".join(words), "price": float(number), "colour": words[0], "cover": [1.0, number]}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Milvus Lite file that holds them, and the folder of their job."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "schema.py").write_text(SCHEMA)
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows()))
    place = str(folder / "shop.db")
    assert connector.run(rows(), into=Products, milvus=place, state=folder / "shop-state.db").counts.written == 60
    return place


def find(shop: str, query: Any = QUERY, **options: Any) -> list[Hit]:
    """A search."""
    return connector.search(Products, query, milvus=shop, **options)


def ids(hits: list[Hit]) -> list[str]:
    """Their keys."""
    return [str(hit.id) for hit in hits]


def by_milvus(connection: Connection, expression: str, limit: int) -> list[tuple[str, float]]:
    """The same hybrid search done by Milvus itself."""
    from pymilvus import AnnSearchRequest, RRFRanker

    client = connection.client
    client.load_collection("products__g1")
    dense = AnnSearchRequest([fake_vector(QUERY)], "vector", {"metric_type": "COSINE"}, DEPTH, expr=expression)
    words = AnnSearchRequest([QUERY], "keywords", {"metric_type": "BM25"}, DEPTH, expr=expression)
    return [(hit["sku"], hit["distance"]) for hit in client.hybrid_search("products__g1", [dense, words], RRFRanker(60), limit=limit)[0]]


@pytest.mark.parametrize("expression", ["", "price < 30 and colour != 'tea'"])
def test_fusing_is_what_milvus_does(shop: str, expression: str) -> None:
    """Every score equals that of the server's own reciprocal rank fusion, and rows of equal scores are the same ones."""
    hits = find(shop, fields=["vector", "keywords"], limit=60, filter=expression)
    with connect(MilvusSettings(uri=shop)) as connection:
        theirs = by_milvus(connection, expression, 60)
    assert [hit.distance for hit in hits] == pytest.approx([score for _, score in theirs], abs=1e-7)
    groups: tuple[defaultdict[int, set[str]], ...] = (defaultdict(set), defaultdict(set))
    for group, found in zip(groups, ([(str(hit.id), hit.distance) for hit in hits], theirs), strict=True):
        for key, score in found:
            group[round(score * 1e7)].add(key)
    assert groups[0] == groups[1]
    assert any(set(hit.by_field) == {"vector", "keywords"} for hit in hits)


def test_fields_of_one_model_share_a_forward_pass(shop: str) -> None:
    """The query goes through the model once for both, and each field is asked as if it were searched alone."""
    alone = {name: {hit.id: hit.distance for hit in find(shop, field=name, limit=60)} for name in ("vector", "short", "keywords")}
    COUNTS.clear()
    hits = find(shop, fields=["vector", "short", "keywords"], limit=60)
    assert (COUNTS["opened"], COUNTS["items"]) == (1, 1)
    assert len(hits) == 60
    for hit in hits:
        for name, distance in hit.by_field.items():
            assert distance == pytest.approx(alone[name][hit.id], abs=1e-5)


def test_weights_decide(shop: str) -> None:
    """A field of weight 0 has no say, and scores are the weighted sums; weights may name their fields."""
    only = ids(find(shop, field="vector", limit=5))
    assert ids(find(shop, fields=["vector", "keywords"], rank="weighted", weights=[1.0, 0.0], limit=5)) == only
    [best] = find(shop, weights={"vector": 0.3, "keywords": 0.7}, limit=1)
    parts = {"vector": 0.3 * nearness("COSINE", best.by_field["vector"]), "keywords": 0.7 * nearness("BM25", best.by_field["keywords"])}
    assert best.distance == pytest.approx(sum(parts.values()), abs=1e-6)


def test_which_fields(shop: str) -> None:
    """With a rank and no names, every field that takes the query; a named field that does not take it is refused by its name."""
    hits = find(shop, rank="rrf", limit=60)
    assert set().union(*(hit.by_field for hit in hits)) == {"vector", "short", "keywords"}
    [first, *_] = find(shop, Key("s007"), rank="rrf", limit=60)
    assert (first.id, set(first.by_field)) == ("s007", {"vector", "short", "keywords", "cover"})
    for query, options, said in (
        (QUERY, {}, "which vector field"),
        (QUERY, {"fields": ["vector", "cover"]}, "cover holds ready-made vectors"),
        (QUERY, {"fields": ["vector", "vectr"]}, "no vector field `vectr`"),
        (QUERY, {"fields": ["vector", "vector"]}, "named twice"),
        (QUERY, {"field": "vector", "fields": ["short"]}, "both given"),
        (Image("x.jpg"), {"rank": "rrf"}, "which vector field"),
        (Image("x.jpg"), {"fields": ["keywords", "vector"]}, "keywords is searched by text, not by image"),
        (Key("nobody"), {"rank": "rrf"}, "no row has the key"),
    ):
        with pytest.raises(ConfigError, match=said):
            find(shop, query, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": "borda"}, "no rank `borda`"),
        ({"rank": "weighted"}, "needs weights"),
        ({"rank": "rrf", "weights": [1, 1]}, "takes no weights"),
        ({"weights": [1]}, "weights for 1 numbers"),
        ({"weights": [1, -1]}, "finite numbers"),
        ({"weights": [0, 0]}, "finite numbers"),
        ({"weights": ["0.5", 1]}, "finite numbers"),
        ({"weights": {"vector": 1, "cover": 1}}, "weights for vector, cover"),
        ({"radius": 0.5}, "a radius is a distance in one field"),
        ({"limit": 0}, "limit is 0"),
        ({"offset": -1}, "offset -1"),
        ({"output": ["titel"]}, "no field `titel` to give out"),
        ({"output": ["keywords"]}, "no field `keywords` to give out"),
        ({"group_by": "shade"}, "no field `shade`"),
    ],
)
def test_what_does_not_go_together_is_told(shop: str, options: dict[str, Any], said: str) -> None:
    """A wish that cannot be met is refused by name, and is not read over."""
    with pytest.raises(ConfigError, match=said):
        find(shop, **{"fields": ["vector", "keywords"], **options})


@pytest.mark.parametrize("fields", [["vector"], ["vector", "keywords"]])
def test_pages_make_the_whole(shop: str, fields: list[str]) -> None:
    """Pages by offset, one behind the other, are the long answer."""
    whole = find(shop, fields=fields, limit=50)
    pages = [hit for offset in range(0, 50, 20) for hit in find(shop, fields=fields, limit=20, offset=offset)]
    assert ids(pages)[:50] == ids(whole)


def test_a_radius_cuts_what_is_farther(shop: str) -> None:
    """By score where more is nearer, by distance where less is."""
    for field in ("vector", "short", "keywords"):
        whole = find(shop, field=field, limit=60)
        edge = whole[9].distance
        near = [hit for hit in whole if (hit.distance <= edge if field == "short" else hit.distance >= edge)]
        assert ids(find(shop, field=field, limit=60, radius=edge)) == ids(near)
        assert 10 <= len(near) < len(whole)


@pytest.mark.parametrize("fields", [["vector"], ["vector", "keywords"]])
def test_one_row_a_group(shop: str, fields: list[str]) -> None:
    """The first row of each colour in the answer, and no colour twice."""
    whole = find(shop, fields=fields, limit=60)
    grouped = find(shop, fields=fields, limit=4, group_by="colour")
    colours = [hit.fields["colour"] for hit in grouped]
    assert len(set(colours)) == len(colours) == 4
    if len(fields) == 1:
        firsts = {hit.fields["colour"]: hit.id for hit in reversed(whole)}
        assert ids(grouped) == list(dict.fromkeys(str(firsts[hit.fields["colour"]]) for hit in whole))[:4]


def test_the_fields_that_were_asked_for(shop: str) -> None:
    """Columns by default; by name also lineage and vectors, and nothing else."""
    [hit] = find(shop, field="vector", limit=1)
    assert set(hit.fields) == {"sku", "title", "price", "colour"}
    [hit] = find(shop, field="vector", limit=1, output=["connector_key", "cover"], group_by="colour")
    assert (hit.fields["connector_key"], hit.fields["cover"].tolist()) == (hit.id, [1.0, float(str(hit.id)[1:])])
    assert set(hit.fields) == {"connector_key", "cover"}


def test_from_the_command_line(shop: str, tmp_path: Path) -> None:
    """Every option arrives."""
    folder = Folder(tmp_path)
    place = Path(shop).parent
    source = {"kind": "jsonl", "path": str(place / "rows.jsonl")}
    job = {"job": "products", "source": source, "into": f"{place}/schema.py:Products", "milvus": {"uri": shop}}
    folder.put("job.yaml", json.dumps(job))
    wish = ("--field", "vector", "--field", "keywords", "--rank", "weighted", "--weights", "0.3,0.7")
    narrowed = ("--filter", "price < {max} and colour in {colours}", "--param", "max=40", "--param", 'colours=["red", "old"]')
    page = ("--limit", "3", "--offset", "1", "--output", "title", "--output", "cover", "--group-by", "title", "--consistency", "bounded")
    code, out, err = folder.call("search", "job.yaml", QUERY, *wish, *narrowed, *page, "--json")
    assert code == 0, err
    same = find(
        shop,
        weights={"vector": 0.3, "keywords": 0.7},
        filter="price < 40 and colour in ['red', 'old']",
        limit=3,
        offset=1,
        output=["title"],
        group_by="title",
    )
    found = json.loads(out)
    assert [one["id"] for one in found] == ids(same)
    assert [set(one["fields"]) for one in found] == [{"title", "cover"}] * 3
    assert isinstance(found[0]["fields"]["cover"], list)
    for words, said in (
        (("--field", "vector", "--param", "max"), "--param max"),
        (("--field", "vector", "--weights", "a,b"), "--weights a,b"),
        (("--field", "vector", "--consistency", "strng"), "did you mean `Strong`"),
        (("--field", "vector", "--filter", "price < {max}"), "no value for {max}"),
    ):
        code, _, err = folder.call("search", "job.yaml", QUERY, *words)
        assert (code, said in err) == (2, True), err

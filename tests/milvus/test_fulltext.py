"""BM25 on Milvus Lite: the server computes the vectors, rows are found by their words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import connector
from connector.encoding.queries import Image, Key
from connector.errors import ConfigError, PlanNeeded, SchemaError
from connector.job import Job
from connector.milvus.columns import check_vectors, upsert_request
from connector.milvus.describe import schema_of
from connector.schema import BM25, Collection, Field, Vector, VectorField, spec_of
from tests.milvus.test_columns import by_pymilvus, bytes_of, fields

TEXTS = [
    "red running shoe",
    "roasted coffee beans, the best beans of all coffee beans",
    "a red cup for coffee",
    "Green tea",
    "",
]


class Goods(Collection):
    """Found by words and by meaning."""

    sku: str = Field(primary_key=True, max_length=8)
    text: str = Field(max_length=200)
    words: Vector = BM25("text")
    meaning: Vector = VectorField(dim=8, encoder="fake:fake", source="label")


def rows(texts: list[str]) -> list[dict[str, Any]]:
    """A row a text."""
    return [{"sku": str(number), "text": text, "label": f"label {number}"} for number, text in enumerate(texts)]


@pytest.fixture
def milvus(tmp_path: Path) -> str:
    """A Milvus Lite file that holds the texts."""
    place = str(tmp_path / "goods.db")
    assert connector.run(rows(TEXTS), into=Goods, milvus=place).counts.written == 5
    return place


def found(query: Any, milvus: str, **options: Any) -> list[str]:
    """Keys of the hits in the field of words."""
    return [str(hit.id) for hit in connector.search(Goods, query, field="words", milvus=milvus, **options)]


def test_rows_are_found_by_their_words(milvus: str) -> None:
    """Rule: a word finds the texts that hold it, the ones that say it most first; no word, no hit."""
    assert found("beans", milvus) == ["1"]
    assert found("Coffee!", milvus) == ["1", "2"]
    assert sorted(found("red tea", milvus)) == ["0", "2", "3"]
    assert found("chocolate", milvus) == []
    assert found("coffee", milvus, filter='sku != "1"', limit=1) == ["2"]


def test_scores_are_those_of_bm25(milvus: str) -> None:
    """Rule: a score is BM25's with the declared k1 and b, above zero, larger for nearer, on Milvus Lite too."""
    [hit] = connector.search(Goods, "tea", field="words", milvus=milvus)
    lengths = [len(text.replace(",", "").split()) for text in TEXTS]
    mean, k1, b = sum(lengths) / len(TEXTS), 1.2, 0.75
    idf = math.log(1 + (len(TEXTS) - 1 + 0.5) / (1 + 0.5))
    assert hit.distance == pytest.approx(idf * (k1 + 1) / (1 + k1 * (1 - b + b * lengths[3] / mean)), rel=0.05)
    hits = connector.search(Goods, "coffee", field="words", milvus=milvus)
    assert hits[0].distance > hits[1].distance > 0


def test_a_changed_text_is_found_by_its_new_words(milvus: str) -> None:
    """Rule: an upsert computes the vector anew, and a row that is written again is not there twice."""
    changed = ["blue suede shoe", *TEXTS[1:]]
    assert connector.run(rows(changed), into=Goods, milvus=milvus).counts.written == 1
    assert found("running", milvus) == []
    assert found("suede", milvus) == ["0"]


def test_more_like_this_asks_with_the_text(milvus: str) -> None:
    """Rule: such a vector cannot be read back from a server, so the row's own text is the query."""
    assert found(Key("2"), milvus)[0] == "2"
    assert set(found(Key("2"), milvus)) == {"0", "1", "2"}


def test_which_field_and_which_query(milvus: str) -> None:
    """Rule: where words can be searched for in two ways the field is asked for, and a picture is none of them."""
    with pytest.raises(ConfigError, match="which vector field"):
        connector.search(Goods, "coffee", milvus=milvus)
    with pytest.raises(ConfigError, match="searched by text, not by image"):
        found(Image("x.jpg"), milvus)
    assert connector.search(Goods, "label 3", field="meaning", milvus=milvus, limit=1)[0].id == "3"


def test_bm25_alone(tmp_path: Path) -> None:
    """Rule: no encoder is needed: a collection may be searched by words only, and then nobody has to name the field."""

    class Words(Collection):
        id: str = Field(primary_key=True, generated=True)
        text: str = Field(max_length=200)
        words: Vector = BM25("text", analyzer={"tokenizer": "standard", "filter": [{"type": "stop", "stop_words": ["a", "the"]}]})

    report = connector.run(({"text": text} for text in TEXTS[:4]), into=Words, milvus=str(tmp_path / "a.db"), key="text")
    assert report.counts.written == 4
    [hit] = connector.search(Words, "the tea", milvus=str(tmp_path / "a.db"))
    assert hit.fields["text"] == "Green tea"


def test_another_analyzer_is_a_change_of_plan(milvus: str) -> None:
    """Rule: what the live words were cut by is stamped; another source or analyzer is named and not mixed in."""

    class Other(Collection, name="goods"):
        sku: str = Field(primary_key=True, max_length=8)
        text: str = Field(max_length=200)
        words: Vector = BM25("text", analyzer={"tokenizer": "standard"}, b=0.5)
        meaning: Vector = VectorField(dim=8, encoder="fake:fake", source="label")

    with pytest.raises(PlanNeeded, match="words: analyzer") as caught:
        connector.run(rows(TEXTS), into=Other, milvus=milvus)
    assert "words: index bm25_b 0.75 live, 0.5 in code" in caught.value.message


def test_what_lite_does_not_do_is_refused_before_creation(tmp_path: Path) -> None:
    """Rule: Milvus Lite reads over the filters that it does not know; such an analyzer is refused by name."""

    class English(Collection):
        id: str = Field(primary_key=True, generated=True)
        text: str = Field(max_length=200)
        words: Vector = BM25("text", analyzer={"type": "english"})

    with pytest.raises(SchemaError, match=r"English\.words: Milvus Lite .* does not have such an analyzer"):
        connector.run([{"text": "x"}], into=English, milvus=str(tmp_path / "a.db"), key="text")


def test_the_request_that_a_server_gets() -> None:
    """Rule: the collection is made with the function and its analyzer; the vector is not in what is written, as pymilvus has it."""
    from pymilvus.client.prepare import Prepare
    from pymilvus.grpc_gen import schema_pb2

    class Notes(Collection):
        sku: str = Field(primary_key=True, max_length=8)
        text: str = Field(max_length=200)
        words: Vector = BM25("text", analyzer={"type": "english"})

    spec = spec_of(Notes)
    made = schema_pb2.CollectionSchema()
    made.ParseFromString(Prepare.create_collection_request("notes", schema_of(spec)).schema)
    [function] = made.functions
    assert (list(function.input_field_names), list(function.output_field_names)) == (["text"], ["words"])
    assert function.type == schema_pb2.FunctionType.BM25
    text = next(field for field in made.fields if field.name == "text")
    assert {one.key: one.value for one in text.type_params} == {
        "max_length": "200",
        "enable_analyzer": "true",
        "analyzer_params": '{"type":"english"}',
    }
    rows_sent = [{field.name: "x" for field in spec.fields}]
    sent = fields(upsert_request("notes", spec, rows_sent, {}))
    assert list(sent) == [field.name for field in spec.fields]
    assert bytes_of(sent) == bytes_of(by_pymilvus(spec, rows_sent))
    assert check_vectors(spec, {}, 1) == {}


def test_a_trial_run_knows_nothing_of_the_vector(tmp_path: Path) -> None:
    """Rule: `connector check` shows the row as it would be sent, without the vector that the server makes."""
    from connector.commands.checking import check_job

    settings = {
        "job": "goods",
        "into": Goods,
        "milvus": {"uri": str(tmp_path / "a.db")},
        "source": connector.source("rows", rows=rows(TEXTS), key="sku"),
    }
    result = check_job(Job.check(settings, where="test"))
    assert result.first is not None
    assert "words" not in result.first
    assert "meaning" in result.first

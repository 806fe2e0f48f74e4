"""A vector that the server computes is declared beside the text that it is computed from."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import SchemaError
from connector.schema import BM25, SPARSE_INVERTED_INDEX, Collection, CollectionSpec, Field, Vector, VectorField, spec_of
from connector.schema.fulltext import analyzers


def declare(**columns: tuple[Any, Any]) -> CollectionSpec:
    """A collection with a key and these columns: type and declaration."""
    body: dict[str, Any] = {"__module__": __name__, "__annotations__": {"id": str}, "id": Field(primary_key=True, generated=True)}
    for name, (hint, declared) in columns.items():
        body["__annotations__"][name] = hint
        body[name] = declared
    return spec_of(type("Declared", (Collection,), body))


TEXT = (str, Field(max_length=100))


def test_bm25_is_a_sparse_vector_of_a_text() -> None:
    """It has the metric and an index with its two numbers; it is neither sent nor expected ready-made."""
    spec = declare(text=TEXT, words=(Vector, BM25("text", k1=1.5)), dense=(Vector, VectorField(dim=4, source="v")))
    words = spec.vectors[0]
    assert (words.dtype, words.dim, words.metric, words.source, words.computed) == ("sparse", None, "BM25", "text", True)
    assert words.index == SPARSE_INVERTED_INDEX(bm25_k1=1.5, bm25_b=0.75)
    assert words.row_bytes == 0
    assert [one.name for one in spec.sent] == [one.name for one in spec.ready] == ["dense"]
    assert analyzers(spec.vectors) == {"text": {}}


def test_source_and_analyzer_are_part_of_the_specification() -> None:
    """Another text or another way to cut it into words is another collection; other vectors are stamped as ever."""
    texts = {"text": TEXT, "title": TEXT}
    made = [BM25("text"), BM25("title"), BM25("text", analyzer={"type": "english"}), BM25("text", b=0.5)]
    specs = [declare(**texts, words=(Vector, one), dense=(Vector, VectorField(dim=4, source="v"))).normalised() for one in made]
    assert len({repr(spec) for spec in specs}) == 4
    assert specs[2]["vectors"][0]["analyzer"] == {"type": "english"}
    assert set(specs[0]["vectors"][1]) == {"name", "dtype", "dim", "metric", "nullable"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"words": (Vector, BM25("text"))}, r"\.words: the server computes BM25 from a `str` column, `text` is no column"),
        ({"text": (int, Field()), "words": (Vector, BM25("text"))}, "`text` is INT64"),
        ({"text": (str | None, Field()), "words": (Vector, BM25("text"))}, "`text` is VARCHAR or None"),
        (
            {"text": TEXT, "words": (Vector, BM25("text")), "more": (Vector, BM25("text", analyzer={"type": "english"}))},
            r"\.words: `text` has another analyzer already",
        ),
        ({"text": TEXT, "words": (Vector, VectorField(dtype="sparse", metric="BM25", source="text"))}, "the server computes"),
    ],
)
def test_wrong_declarations(columns: dict[str, Any], words: str) -> None:
    """A text that is missing, may be None or is cut in two ways is told when the file is imported."""
    with pytest.raises(SchemaError, match=words) as caught:
        declare(**columns)
    assert caught.value.hint


@pytest.mark.parametrize("numbers", [{"k1": 0.0}, {"k1": 4.0}, {"b": 1.1}, {"b": -0.1}])
def test_numbers_out_of_range(numbers: dict[str, float]) -> None:
    """k1 and b are checked before a server sees them."""
    with pytest.raises(SchemaError, match="bm25_"):
        BM25("text", **numbers)  # type: ignore[arg-type]  # the key says which

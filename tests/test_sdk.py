"""The SDK on a real Milvus Lite file: any iterable of dicts in, hits out, errors raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.errors import ConfigError
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.encoders import fake_vector


class Shop(Collection):
    """Natural keys, words encoded."""

    sku: str = Field(primary_key=True, max_length=8)
    title: str = Field(max_length=20)
    price: float = 0.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


class Numbered(Collection):
    """Generated keys."""

    id: str = Field(primary_key=True, generated=True)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


ROWS: list[dict[str, Any]] = [{"sku": f"s{number}", "title": f"thing {number}", "price": number / 2} for number in range(10)]


def rows() -> Iterator[dict[str, Any]]:
    """A generator can be read once; that is enough."""
    yield from ROWS


def test_any_iterable_lands(tmp_path: Path) -> None:
    """A list and a generator are sources; the second run finds nothing to do; a changed row is replaced under its key."""
    assert connector.run(ROWS, into=Shop, milvus="shop.db").counts.written == 10
    assert connector.run(rows(), into=Shop, milvus="shop.db").counts.unchanged == 10
    changed = [{**row, "price": 99.0} if row["sku"] == "s3" else row for row in ROWS]
    report = connector.run(changed, into=Shop, milvus="shop.db")
    assert (report.counts.written, report.counts.unchanged, report.exit_code) == (1, 9, 0)
    [hit] = connector.search(Shop, "thing 3", milvus="shop.db", limit=1)
    assert (hit.id, hit.fields["price"]) == ("s3", 99.0)


def test_mirror_through_the_sdk(tmp_path: Path) -> None:
    """What the iterable no longer has goes, also with the SDK."""
    connector.run(ROWS, into=Shop, milvus="shop.db")
    report = connector.run(ROWS[:-2], into=Shop, milvus="shop.db", sync="mirror")
    assert report.counts.deleted == 2
    hits = connector.search(Shop, connector.Key("s0"), milvus="shop.db", limit=20)
    assert sorted(hit.id for hit in hits) == [f"s{number}" for number in range(8)]


def test_numbered_rows_are_not_mirrored(tmp_path: Path) -> None:
    """Line numbers are no identity: a removed first line would look like a change of all."""
    with pytest.raises(ConfigError, match="numbered by line"):
        connector.run([{"title": "x"}], into=Numbered, milvus="n.db", sync="mirror")


def test_bad_rows_are_named_and_the_rest_lands(tmp_path: Path) -> None:
    """Missing field, wrong type, NaN, one byte too long, a key twice: each is rejected with its reason."""
    bad: list[Any] = [
        {"sku": "no-title"[:8]},
        {"sku": "type", "title": 5},
        {"sku": "nan", "title": "x", "price": float("nan")},
        {"sku": "long", "title": "é" * 10 + "x"},
        {"sku": "s1", "title": "second s1"},
        {"title": "no key"},
        "no dict",
    ]
    report = connector.run([*ROWS, *bad], into=Shop, milvus="shop.db")
    assert (report.exit_code, report.counts.written, report.counts.rejected) == (3, 10, 7)
    reasons = "\n".join(report.rejects)
    for said in (
        "`title` is missing",
        "int 5, but the encoder reads text",
        "finite",
        "21 bytes",
        "listed twice",
        "no column `sku`",
        "found str",
    ):
        assert said in reasons, reasons
    assert len(connector.search(Shop, "x", milvus="shop.db", limit=50)) == 10


def test_two_namespaces_share_a_collection(tmp_path: Path) -> None:
    """Generated keys of two jobs never meet, and one job's mirror leaves the other's rows alone."""
    connector.run([{"title": "a"}, {"title": "b"}], into=Numbered, milvus="n.db", namespace="one")
    source = connector.source("rows", rows=[{"k": "x", "title": "c"}], key="k")
    connector.run(source, into=Numbered, milvus="n.db", namespace="two", sync="mirror")
    assert len(connector.search(Numbered, "a", milvus="n.db", limit=10)) == 3


def test_natural_keys_have_one_owner(tmp_path: Path) -> None:
    """A second namespace could overwrite the first one's rows, so it is refused."""
    connector.run(ROWS, into=Shop, milvus="shop.db")
    with pytest.raises(connector.ConnectorError, match="belongs to namespace `shop`"):
        connector.run(ROWS, into=Shop, milvus="shop.db", namespace="other")


def test_search_words_are_encoded_as_queries(tmp_path: Path) -> None:
    """The distance to its own text is that of equal vectors."""
    connector.run(ROWS, into=Shop, milvus="shop.db")
    hits = connector.search(Shop, "thing 7", milvus="shop.db", limit=2, filter="price > 1")
    assert hits[0].id == "s7"
    assert hits[0].distance == pytest.approx(1.0, abs=1e-5)
    expected = float(fake_vector("thing 7") @ fake_vector(str(hits[1].fields["title"])))
    assert hits[1].distance == pytest.approx(expected, abs=1e-5)


def test_encoder_alone() -> None:
    """An encoder is one line."""
    with connector.encoder("fake:fake", dim=4) as encoder:
        vectors = encoder.encode(["a", "b", "a"])
    assert vectors.shape == (3, 4)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_where_is_milvus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MILVUS_URI is the default; without it the error says what to pass."""
    with pytest.raises(ConfigError, match="where is Milvus"):
        connector.run(ROWS, into=Shop)
    monkeypatch.setenv("MILVUS_URI", str(tmp_path / "env.db"))
    assert connector.run(ROWS, into=Shop).counts.written == 10


@pytest.mark.parametrize("data", [5, {"sku": "a"}, b"bytes"])
def test_no_source(data: Any) -> None:
    """What cannot be read is refused before anything is made."""
    with pytest.raises(ConfigError, match="cannot read from"):
        connector.run(data, into=Shop, milvus="shop.db")


def test_public_names() -> None:
    """`__all__` is what is really there."""
    assert all(getattr(connector, name) is not None for name in connector.__all__)
    assert set(connector.__all__) <= set(dir(connector))

"""Rows without a vector, from the source to the sink: they land where the field is nullable, and are rejected by name where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.commands.keeping import KeepingSink
from connector.commands.retrieval.asking import alike
from connector.commands.retrieval.live import Live, LiveField
from connector.encoding import Encoding, bind
from connector.encoding.queries import Key
from connector.errors import ConfigError
from connector.record import Row, Window
from connector.report import RunReport
from connector.schema import Collection, CollectionSpec, Field, Vector, VectorField, spec_of
from connector.testing.encoders import COUNTS, fake_vector
from connector.testing.sinks import MemorySink
from tests.test_pipeline import Bench

WORKERS = pytest.mark.parametrize("workers", [0, 2])


class Shop(Collection):
    """Words for every product; a caption, its short form and a ready-made vector for some."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=20)
    words: Vector = VectorField(dim=8, encoder="fake:fake", source="text")
    caption: Vector | None = VectorField(dim=8, encoder="fake:other", source="caption")
    short: Vector | None = VectorField(dim=4, truncate_dim=4, encoder="fake:other", source="caption")
    given: Vector | None = VectorField(dim=2, source="v")
    weights: Vector | None = VectorField(dtype="sparse", source="w")


class Strict(Collection):
    """Two fields of one source, of which only one may do without it."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=20)
    loose: Vector | None = VectorField(dim=8, encoder="fake:fake", source="caption")
    firm: Vector = VectorField(dim=8, encoder="fake:other", source="caption")


FULL = {"caption": "a red shoe", "v": [1.0, 2.0], "w": {3: 0.5}}


def encoding_of(spec: CollectionSpec, workers: int) -> Encoding:
    """ENCODE for a collection, with its own encoders."""
    return Encoding(bind(spec), {}, ready=[field for field in spec.vectors if field.encoder is None], workers=workers)


def run(bench: Bench, documents: list[Any], workers: int) -> RunReport:
    """One run."""
    with encoding_of(bench.spec, workers) as encoding:
        return bench.run(documents, encode=encoding, workers=workers)


def rows_of(row: Row) -> list[Row]:
    """A document's rows as they are."""
    return [dict(one) for one in row["texts"]]


@WORKERS
def test_rows_with_and_without_vectors_land_together(tmp_path: Path, workers: int) -> None:
    """A source that is None, or is not there, is no vector and no reject; the others are as ever, and nothing is encoded for it."""
    bench = Bench(tmp_path, spec_of(Shop), rows_of)
    rows = [{"text": "full", **FULL}, {"text": "none", **dict.fromkeys(FULL)}, {"text": "missing"}, {"text": "half", "v": [3.0, 4.0]}]
    COUNTS.clear()
    report = run(bench, [(f"d{index}", "1", [row]) for index, row in enumerate(rows * 3)], workers)
    assert (report.counts.written, report.counts.rejected, len(bench.sink.rows)) == (12, 0, 12)
    for row in bench.sink.rows.values():
        text = row["text"]
        np.testing.assert_array_equal(row["words"], fake_vector(text))
        assert {name for name in ("caption", "short", "given", "weights") if row[name] is None} == {
            "full": set(),
            "none": {"caption", "short", "given", "weights"},
            "missing": {"caption", "short", "given", "weights"},
            "half": {"caption", "short", "weights"},
        }[text]
        if text == "full":
            np.testing.assert_array_equal(row["caption"], fake_vector("a red shoe"))
            assert row["weights"] == {3: 0.5}
        if text == "half":
            np.testing.assert_array_equal(row["given"], [3.0, 4.0])


def test_a_vector_comes_and_goes_with_its_source(tmp_path: Path) -> None:
    """An update that brings a source brings its vector; one that takes it away takes the vector, too."""
    bench = Bench(tmp_path, spec_of(Shop), rows_of)
    seen = []
    for version, row in enumerate([{"text": "a"}, {"text": "a", **FULL}, {"text": "a"}]):
        run(bench, [("d", str(version), [row])], 0)
        [found] = bench.sink.rows.values()
        seen.append([found[name] is not None for name in ("caption", "given", "weights")])
    assert seen == [[False] * 3, [True] * 3, [False] * 3]


@WORKERS
def test_a_source_that_one_field_needs_is_needed(tmp_path: Path, workers: int) -> None:
    """Where another field of the same source is not nullable, the row is rejected by the rule of that one."""
    bench = Bench(tmp_path, spec_of(Strict), rows_of)
    report = run(bench, [("good", "1", [{"text": "a", "caption": "b"}]), ("bad", "1", [{"text": "c", "caption": None}])], workers)
    assert bench.texts == ["a"]
    assert "field `caption` is missing" in str(report.rejects)


def test_a_bad_source_is_rejected_all_the_same(tmp_path: Path) -> None:
    """No vector is one thing, a wrong one another: blank text, a wrong length and a wrong index spoil their row."""
    bench = Bench(tmp_path, spec_of(Shop), rows_of)
    wrong: list[Row] = [{"caption": " "}, {"v": [1.0]}, {"v": []}, {"w": {-1: 0.5}}]
    run(bench, [(f"d{index}", "1", [{"text": "t", **row}]) for index, row in enumerate(wrong)], 0)
    assert not bench.sink.rows


def test_a_row_without_a_vector_can_be_shown() -> None:
    """`check` shows the first row that would be written, also where it has no vector."""
    spec = spec_of(Shop)
    with encoding_of(spec, 0) as encoding:
        [window] = encoding(iter([Window([], [{"text": "a"}])]))
    sink = KeepingSink(spec)
    assert sink.write(window).acknowledged == [0]
    assert sink.first is not None
    assert (sink.first["caption"], sink.first["weights"]) == ("none", "none")
    assert sink.first["words"].startswith("[")


def test_nothing_is_like_a_row_without_a_vector() -> None:
    """Searching by the vector of a row that has none is told, instead of sent; one of several fields that nobody named is left out."""
    spec = spec_of(Shop)
    sink: Any = MemorySink(rows={"a": {"words": [1.0], "caption": None}})

    def asked(*fields: int, named: bool) -> list[Any]:
        live = Live("shop__g1", spec, tuple(LiveField(spec.vectors[place], None, {}) for place in fields), None, ())
        return alike(sink, live, Key("a"), None, named=named)

    for fields, named in (((1,), True), ((1,), False), ((0, 1), True)):
        with pytest.raises(ConfigError, match="the row 'a' has no vector in `caption`"):
            asked(*fields, named=named)
    assert asked(0, 1, named=False) == [[1.0], None]

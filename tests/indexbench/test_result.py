"""The sentence that recommends, the table and the plot follow from the numbers."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from connector.commands.indexbench.choices import choices, label, searches
from connector.commands.indexbench.plot import svg
from connector.commands.indexbench.result import IndexBench, Measured, Point
from connector.commands.indexbench.sizes import estimate
from connector.milvus import features
from connector.milvus.client import parse_version
from connector.schema import AUTOINDEX, FLAT, HNSW, IVF_FLAT, IVF_SQ8, SCANN
from connector.schema.spec import VectorFieldSpec

LITE, OLD, NEW = parse_version("milvus_lite-3.2.2"), parse_version("v2.3.5"), parse_version("v2.6.1")


def field(dtype: Any = "float32", index: Any = None, dim: int | None = 64) -> VectorFieldSpec:
    """A vector field."""
    metric = {"binary": "HAMMING", "sparse": "IP"}.get(dtype, "COSINE")
    return VectorFieldSpec(name="v", dtype=dtype, dim=dim, metric=metric, index=index or HNSW(M=24))


@pytest.mark.parametrize(
    ("dtype", "server", "types"),
    [
        ("float32", LITE, "HNSW FLAT HNSW HNSW IVF_FLAT IVF_SQ8 AUTOINDEX"),
        ("float32", OLD, "HNSW FLAT HNSW HNSW IVF_FLAT IVF_SQ8 IVF_PQ SCANN DISKANN AUTOINDEX"),
        ("binary", OLD, "BIN_FLAT BIN_IVF_FLAT AUTOINDEX"),
        ("sparse", LITE, "SPARSE_INVERTED_INDEX"),
        ("sparse", OLD, ""),
        ("sparse", NEW, "SPARSE_INVERTED_INDEX AUTOINDEX"),
    ],
)
def test_what_is_tried_is_what_the_server_builds(dtype: str, server: Any, types: str) -> None:
    """Rule: the declared index first, then what there is for such vectors; Milvus Lite takes other names and searches without an index."""
    tried = choices(field(dtype, None if dtype == "float32" else AUTOINDEX()), 20_000, features.built(field(dtype), server))
    found = [one.index.type for one in tried]
    expected = types.split()
    if dtype != "float32" and "AUTOINDEX" in expected:
        expected = ["AUTOINDEX", *expected[:-1]]
    assert found == expected
    assert [one.declared for one in tried if one.declared] == ([True] if dtype == "float32" or "AUTOINDEX" in expected else [])


def test_search_parameters_fit_the_index() -> None:
    """Rule: none first, as a plain search; no more lists than there are; lists grow with the root of the rows."""
    assert searches(IVF_FLAT(nlist=64)) == ({}, {"nprobe": 1}, {"nprobe": 4}, {"nprobe": 16}, {"nprobe": 64})
    assert searches(FLAT()) == ({},)
    assert {"ef": 64} in searches(HNSW())
    ivf = next(one.index for one in choices(field(), 20_000, {"IVF_FLAT"}) if one.index.type == "IVF_FLAT")
    assert ivf == IVF_FLAT(nlist=512)
    assert label(HNSW(M=16)) == "HNSW(M=16, ef_construction=200)"


def test_sizes_by_formula() -> None:
    """Rule: as the documentation states them; what nobody knows is not made up."""
    assert estimate(FLAT(), field(), 1000, 0) == 256_000
    assert estimate(IVF_SQ8(nlist=16), field(), 1000, 0) == 64_000 + 16 * 256
    assert estimate(HNSW(M=16), field(), 1000, 0) == round(1000 * (256 + 4 * (32 + 16 / 15) + 8))
    assert estimate(SCANN(nlist=16), field(), 1000, 0) == 1000 * (16 + 256) + 16 * 256
    assert estimate(AUTOINDEX(), field(), 1000, 0) is None


def measured(index: str, *points: tuple[dict[str, Any], float, float], declared: bool = False) -> Measured:
    """An index with (parameters, recall, queries a second)."""
    made = [Point(params=params, recall=recall, qps=qps, p50_ms=1000 / qps, p99_ms=2000 / qps) for params, recall, qps in points]
    return Measured(
        index=index, declared=declared, exact=index.startswith("FLAT"), build_s=1.5, load_s=2.25, bytes=1 << 21, estimated=True, points=made
    )


def bench(*indexes: Measured, declared: str = "HNSW(M=16)") -> IndexBench:
    """A measurement."""
    about: dict[str, Any] = {"job": "j", "collection": "c__g1", "field": "v", "dtype": "float32", "dim": 64, "metric": "COSINE"}
    rest: dict[str, Any] = {"server": "Milvus 2.3.5", "live_rows": 5000, "rows": 4000, "queries": 100, "declared": declared}
    return IndexBench(**about, **rest, indexes=list(indexes))


FLAT_ONE = measured("FLAT()", ({}, 1.0, 100.0))
GOOD = measured("HNSW(M=16)", ({}, 0.9, 500.0), ({"ef": 64}, 0.99, 310.0), ({"ef": 128}, 1.0, 200.0), declared=True)


def test_the_declared_index_is_kept_if_nothing_is_better() -> None:
    """Rule: the fastest of enough recall, held against exact search; within a tenth the declared one wins."""
    said = "HNSW(M=16) with ef=64: recall 0.990 at 3.1x the queries/s of exact search; that is what is declared"
    assert bench(GOOD, FLAT_ONE).recommendation == said
    assert bench(FLAT_ONE, measured("IVF()", ({"nprobe": 4}, 0.96, 330.0)), GOOD).recommendation == said


def test_a_better_index_is_named_beside_the_declared_one() -> None:
    """Rule: what to take, and what the declared one does."""
    better = measured("IVF()", ({"nprobe": 4}, 0.96, 400.0))
    assert bench(FLAT_ONE, GOOD, better).recommendation == (
        "IVF() with nprobe=4: recall 0.960 at 4.0x the queries/s of exact search; "
        "declared is HNSW(M=16) with ef=64: recall 0.990 at 3.1x the queries/s of exact search"
    )


def test_exact_search_is_recommended_where_an_index_gains_nothing() -> None:
    """Rule: of equally fast ones the exact one; a declared one that finds too little, or was not measured, is told."""
    blind = measured("HNSW(M=16)", ({}, 0.6, 900.0), declared=True)
    same = measured("IVF()", ({"nprobe": 4}, 0.99, 105.0))
    assert bench(FLAT_ONE, same, blind).recommendation == (
        "FLAT(): recall 1.000 at 100 queries/s; declared is HNSW(M=16), which does not reach a recall of 0.95"
    )
    assert bench(FLAT_ONE, declared="SCANN()").recommendation.endswith("; declared is SCANN(), which was not measured")
    assert bench(blind).recommendation == "nothing that was measured reaches a recall of 0.95"


def test_the_table_has_every_number() -> None:
    """Rule: one line a search parameter; the declared index and estimated sizes are marked; what was left out is said with its reason."""
    found = bench(GOOD, FLAT_ONE)
    found.left_out["DISKANN()"] = "index type not supported"
    lines = str(found).splitlines()
    assert lines[0] == "c__g1.v  float32 vectors of 64, COSINE; 4,000 of 5,000 rows, 100 others searched for; Milvus 2.3.5"
    assert re.fullmatch(r"HNSW\(M=16\) \* +1\.5 s +2\.2 s +~2\.1 MB +- +0\.900 +500\.0 +2\.0 ms +4\.0 ms", lines[2])
    assert re.fullmatch(r" +ef=64 +0\.990 +310\.0 +3\.2 ms +6\.5 ms", lines[3])
    assert "left out: DISKANN(): index type not supported" in lines
    assert lines[-1] == found.recommendation == found.document()["recommendation"]


def test_the_plot_shows_every_point() -> None:
    """Rule: well-formed XML, a dot a point at its place, a line an index in the order of its parameters, names escaped."""
    tree = ET.fromstring(svg(bench(GOOD, FLAT_ONE, measured("<&>", ({"nprobe": 4}, 0.5, 50.0)))))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    titles = [one.findtext(f"{space}title") for one in tree.iter(f"{space}circle")]
    assert [one for one in titles if one] == [
        "HNSW(M=16) : recall 0.900, 500.0 queries/s",
        "HNSW(M=16) ef=64: recall 0.990, 310.0 queries/s",
        "HNSW(M=16) ef=128: recall 1.000, 200.0 queries/s",
        "FLAT() : recall 1.000, 100.0 queries/s",
        "<&> nprobe=4: recall 0.500, 50.0 queries/s",
    ]
    dots = [one for one in tree.iter(f"{space}circle") if one.find(f"{space}title") is not None]
    across, up = ([float(one.attrib[name]) for one in dots] for name in ("cx", "cy"))
    assert across[4] < across[0] < across[1] < across[2] == across[3]
    assert up[0] < up[1] < up[2] < up[3] < up[4]
    assert "HNSW(M=16) (declared)" in [one.text for one in tree.iter(f"{space}text")]
    assert svg(bench()).endswith("</svg>\n")

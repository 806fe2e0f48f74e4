"""Index declarations: Milvus's names, Milvus's parameters, checked where they are written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connector import schema
from connector.errors import SchemaError
from connector.schema import AUTOINDEX, BIN_FLAT, DISKANN, FLAT, HNSW, INVERTED, IVF_PQ, SCANN, SPARSE_INVERTED_INDEX, TRIE
from connector.schema.indexes import DENSE, METRICS, ScalarIndex, VectorIndex, default_index


@pytest.mark.parametrize(
    ("index", "kind", "params"),
    [
        (FLAT(), "FLAT", {}),
        (HNSW(), "HNSW", {"M": 16, "efConstruction": 200}),
        (HNSW(M=4, ef_construction=8), "HNSW", {"M": 4, "efConstruction": 8}),
        (IVF_PQ(m=8), "IVF_PQ", {"nlist": 128, "m": 8, "nbits": 8}),
        (SCANN(nlist=1), "SCANN", {"nlist": 1, "with_raw_data": True}),
        (DISKANN(), "DISKANN", {}),
        (AUTOINDEX(), "AUTOINDEX", {}),
        (BIN_FLAT(), "BIN_FLAT", {}),
        (SPARSE_INVERTED_INDEX(), "SPARSE_INVERTED_INDEX", {}),
        (SPARSE_INVERTED_INDEX(drop_ratio_build=0.2), "SPARSE_INVERTED_INDEX", {"drop_ratio_build": 0.2}),
        (TRIE(), "Trie", {}),
        (INVERTED(), "INVERTED", {}),
    ],
)
def test_names_and_parameters_are_those_of_milvus(index: VectorIndex | ScalarIndex, kind: str, params: dict[str, Any]) -> None:
    """What is sent is spelled as Milvus spells it, defaults included."""
    assert (index.type, index.params) == (kind, params)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (HNSW, {"M": 1}, "index HNSW: `M`: Input should be greater than or equal to 2"),
        (HNSW, {"ef": 1}, "index HNSW: `ef`: Extra inputs are not permitted"),
        (IVF_PQ, {}, "index IVF_PQ: `m`: Field required"),
        (SCANN, {"nlist": 65_537}, "index SCANN: `nlist`: Input should be less than or equal to 65536"),
        (SPARSE_INVERTED_INDEX, {"drop_ratio_build": 1.0}, "index SPARSE_INVERTED_INDEX: `drop_ratio_build`: Input should be less than 1"),
    ],
)
def test_wrong_parameters_are_refused_where_they_are_written(kind: Any, given: dict[str, Any], said: str) -> None:
    """A parameter out of Milvus's range is an error of the schema file, not of the first run."""
    with pytest.raises(SchemaError) as caught:
        kind(**given)
    assert caught.value.message == said


def test_indexes_do_not_change() -> None:
    """A specification is frozen, and so are its indexes."""
    index = HNSW()
    with pytest.raises(ValidationError):
        index.M = 3
    assert index == HNSW()
    assert hash(index) == hash(HNSW())


def test_every_public_index_indexes_something() -> None:
    """An index class that fits no type could not be used."""
    kinds = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, VectorIndex | ScalarIndex)]
    assert len(kinds) == 18
    for kind in kinds:
        assert kind.kinds if issubclass(kind, VectorIndex) else kind.scalars


@pytest.mark.parametrize("kind", METRICS)
def test_every_vector_type_has_a_metric_and_an_index(kind: Any) -> None:
    """A field that declares neither gets ones that fit."""
    assert METRICS[kind]
    assert kind in default_index(kind).kinds


def test_dense_types() -> None:
    """Dense types share their metrics, COSINE first."""
    assert all(METRICS[kind] == ("COSINE", "L2", "IP") for kind in DENSE)

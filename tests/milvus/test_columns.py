"""The column-wise request is the one that pymilvus would send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pymilvus.client.prepare import Prepare

from connector.errors import BadRows, SchemaError
from connector.milvus.columns import check_vectors, take, upsert_request
from connector.milvus.describe import schema_of
from connector.record import Row
from connector.schema import Collection, CollectionSpec, Field, Geometry, Int16, Int32, Timestamp, Vector, VectorField, spec_of
from tests.milvus.tiers import LITE_ONLY

Make = dict[str, Callable[..., Any]]


class Newer(Collection, name="newer", dynamic=True):
    """The kinds that Milvus Lite does not hold; their requests are compared with pymilvus's, not sent."""

    id: int = Field(primary_key=True)
    small: Int16
    middle: Int32
    place: Geometry
    time: Timestamp
    flags: list[bool]
    ratios: list[float]
    half: Vector = VectorField(dim=8, dtype="float16", source="a")
    brain: Vector = VectorField(dim=8, dtype="bfloat16", source="b")
    tiny: Vector = VectorField(dim=8, dtype="int8", source="c")
    bits: Vector = VectorField(dim=16, dtype="binary", source="d")


def fields(request: Any) -> dict[str, Any]:
    """Field data by name."""
    return {data.field_name: data for data in request.fields_data}


def bytes_of(data: dict[str, Any]) -> dict[str, bytes]:
    """What is sent for each field."""
    return {name: one.SerializeToString(deterministic=True) for name, one in data.items()}


def by_pymilvus(spec: CollectionSpec, rows: list[Row]) -> dict[str, Any]:
    """What pymilvus's own row path makes of the same rows."""
    description = [field.to_dict() for field in schema_of(spec).fields]
    for field in description:
        if field.get("default_value") is None:
            field.pop("default_value", None)
    return fields(Prepare.row_upsert_param("c", rows, "", description, [], enable_dynamic=spec.dynamic))


@LITE_ONLY
def test_every_kind_of_field_is_packed_as_pymilvus_packs_it(spec: CollectionSpec, make: Make) -> None:
    """Rule: the quick way changes nothing: the same bytes for scalars, arrays, nulls, defaults, dense and sparse vectors."""
    rows = [make["row"](i, data={"a": i}, note=None if i else "x", count=i or None, sizes=None if i == 1 else [i]) for i in range(4)]
    vectors = make["vectors"](4)
    ours = fields(upsert_request("c", spec, rows, vectors))
    whole = [{**row, "vector": vectors["vector"][i], "words": vectors["words"][i]} for i, row in enumerate(rows)]
    theirs = by_pymilvus(spec, whole)
    assert ours == theirs
    assert bytes_of(ours) == bytes_of(theirs)


def test_kinds_of_newer_servers_are_packed_as_pymilvus_packs_them() -> None:
    """Rule: types that no test server holds are checked against what pymilvus would send."""
    spec = spec_of(Newer)
    shared = {"place": "POINT (1 2)", "time": "2024-01-01T00:00:00Z", "flags": [True], "ratios": [0.5], "extra": [1]}
    shared |= {"connector_namespace": "n", "connector_key": "k", "connector_content": "c"}
    rows: list[Row] = [{"id": i, "small": i, "middle": -i, **shared} for i in range(3)]
    numbers = np.linspace(-3, 3, 24, dtype=np.float32).reshape(3, 8)
    vectors: dict[str, Any] = {
        "half": numbers.astype(np.float16),
        "brain": numbers,
        "tiny": np.arange(24, dtype=np.int8).reshape(3, 8),
        "bits": np.arange(6, dtype=np.uint8).reshape(3, 2),
    }
    assert check_vectors(spec, vectors, 3) == {}
    ours = fields(upsert_request("c", spec, rows, vectors))
    rounded = torch.from_numpy(numbers).to(torch.bfloat16).view(torch.int16).numpy()  # torch rounds to nearest even, too
    stored = {**vectors, "brain": [one.tobytes() for one in rounded], "bits": [one.tobytes() for one in vectors["bits"]]}
    theirs = by_pymilvus(spec, [{**row, **{name: stored[name][i] for name in stored}} for i, row in enumerate(rows)])
    assert ours == theirs
    assert bytes_of(ours) == bytes_of(theirs)


@pytest.mark.parametrize(
    "wrong",
    [{"count": "x"}, {"title": None}, {"title": "\ud800"}, {"tags": [1]}, {"data": {"x": float("nan")}}, {"level": 2**40}, {"sold": "no"}],
)
def test_a_value_that_does_not_fit_is_a_bad_row_that_names_its_field(spec: CollectionSpec, make: Make, wrong: Row) -> None:
    """Rule: a value that slipped through is a rejected row, never a crash of the run."""
    rows = [make["row"](0), make["row"](1, **wrong)]
    with pytest.raises(BadRows, match=f"`{next(iter(wrong))}`"):
        upsert_request("c", spec, rows, make["vectors"](2))


@LITE_ONLY
def test_vectors_of_the_wrong_shape_are_never_sent(spec: CollectionSpec, make: Make) -> None:
    """Rule: a batch with a wrong dimension is stored shifted, or kills an old server, so it is refused here."""
    good = make["vectors"](2)
    dense = good["vector"]
    wrongs: list[dict[str, Any]] = [{"vector": dense[:, :3]}, {"vector": dense[:1]}, {"vector": dense.ravel()}, {"words": []}]
    for wrong in wrongs:
        with pytest.raises(SchemaError, match="of shape"):
            check_vectors(spec, {**good, **wrong}, 2)
    with pytest.raises(SchemaError, match="no vectors"):
        check_vectors(spec, {"vector": good["vector"]}, 2)


def test_whole_numbers_are_not_made_from_fractions() -> None:
    """Rule: floats given for an int8 or binary field are a mistake, not something to cut off."""
    spec = spec_of(Newer)
    only = spec.model_copy(update={"vectors": spec.vectors[2:3]})
    with pytest.raises(SchemaError, match="not int8"):
        check_vectors(only, {"tiny": np.ones((1, 8), dtype=np.float32)}, 1)


@LITE_ONLY
def test_rows_whose_vectors_hold_no_numbers_are_named(spec: CollectionSpec, make: Make) -> None:
    """Rule: Milvus Lite stores NaN and a server refuses the whole request, so such rows are found here, one by one."""
    vectors = make["vectors"](6)
    vectors["vector"][1, 2] = np.nan
    vectors["vector"][3, 0] = -np.inf
    vectors["words"][4] = {0: float("nan")}
    vectors["words"][5] = {-1: 0.5}
    assert sorted(check_vectors(spec, vectors, 6)) == [1, 3, 4, 5]


@LITE_ONLY
def test_take_keeps_every_field_in_step(spec: CollectionSpec, make: Make) -> None:
    """Rule: row i keeps the vectors of row i when some rows are left out."""
    vectors = make["vectors"](4)
    some = take(vectors, [3, 1])
    assert (some["vector"] == vectors["vector"][[3, 1]]).all()
    assert some["words"] == [vectors["words"][3], vectors["words"][1]]

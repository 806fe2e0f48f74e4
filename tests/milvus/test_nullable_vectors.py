"""Rows without a vector: what is sent is what pymilvus sends, byte for byte over the wire, and what is read back is None."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from connector.milvus.client import connect
from connector.milvus.columns import check_vectors
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Row, Window
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from tests.milvus.recorder import recording


class Shop(Collection, name="shop"):
    """A nullable field of every kind, and one that always has a vector."""

    id: int = Field(primary_key=True)
    always: Vector = VectorField(dim=4, source="v")
    full: Vector | None = VectorField(dim=4, source="v")
    half: Vector | None = VectorField(dim=4, dtype="float16", source="v")
    brain: Vector | None = VectorField(dim=4, dtype="bfloat16", source="v")
    tiny: Vector | None = VectorField(dim=4, dtype="int8", source="v")
    bits: Vector | None = VectorField(dim=16, dtype="binary", source="v")
    words: Vector | None = VectorField(dtype="sparse", source="v")


SPEC = spec_of(Shop)
NULLABLE = [field.name for field in SPEC.vectors if field.nullable]
ROWS = 5


def row(number: int) -> Row:
    """A conformed row."""
    return {"id": number, "connector_namespace": "n", "connector_key": f"k{number}", "connector_content": "c"}


def arrays() -> dict[str, Any]:
    """Vectors of all fields; every number is one that 8 bits hold, so that nothing is rounded."""
    whole: npt.NDArray[np.float32] = np.arange(1, 4 * ROWS + 1, dtype=np.float32).reshape(ROWS, 4)
    words: npt.NDArray[Any] = np.full(ROWS, None, dtype=object)
    words[:] = [{index: 0.5, 70: 1.5} for index in range(ROWS)]
    bits = np.arange(2 * ROWS, dtype=np.uint8).reshape(ROWS, 2)
    return dict.fromkeys(("always", "full", "half", "brain"), whole) | {"tiny": whole.astype(np.int8), "bits": bits, "words": words}


def window(absent: set[int]) -> Window:
    """Rows of which these have no vector in any nullable field, and rubbish in its place."""
    vectors = {name: array.copy() for name, array in arrays().items()}
    for name in NULLABLE:
        for index in absent:
            vectors[name][index] = None if name == "words" else 99
    return Window([], [row(number) for number in range(ROWS)], vectors, dict.fromkeys(NULLABLE, absent))


def as_people_write(number: int, absent: set[int]) -> Row:
    """The row as pymilvus takes it."""
    given = arrays()
    brain = (given["brain"].view(np.uint32) >> 16).astype(np.uint16)
    whole = {**given, "half": given["half"].astype(np.float16), "brain": [one.tobytes() for one in brain]}
    whole["bits"] = [one.tobytes() for one in given["bits"]]
    vectors = {name: None if number in absent and name in NULLABLE else whole[name][number] for name in whole}
    return {**row(number), **vectors}


def columns(request: Any) -> dict[str, bytes]:
    """The bytes of every column of a request."""
    return {data.field_name: data.SerializeToString(deterministic=True) for data in request.fields_data}


@pytest.mark.parametrize("absent", [set(), {0}, {1, 2}, {4}, set(range(ROWS))], ids=str)
def test_requests_are_those_of_pymilvus(absent: set[int]) -> None:
    """Rule: no, some or all rows without a vector, in every kind of field: the same bytes, and the same rows come back."""
    with recording(SPEC) as (recorder, uri), connect(MilvusSettings(uri=uri)) as connection:
        sink = MilvusSink(connection, "shop", SPEC)
        assert sink.write(window(absent)).acknowledged == list(range(ROWS))
        connection.client.upsert("shop", [as_people_write(number, absent) for number in range(ROWS)])
        ours, theirs = recorder.upserts
        assert columns(ours) == columns(theirs)
        found = sink.read(list(range(ROWS)), ["id", *arrays()])
    for number in range(ROWS):
        for name, array in arrays().items():
            value = found[number][name]
            if number in absent and name in NULLABLE:
                assert value is None, name
            elif name == "words":
                assert value == array[number]
            else:
                stored = array[number].view(np.uint32) >> 16 if name == "brain" else array[number]
                np.testing.assert_array_equal(value, stored)


def test_a_flag_a_row_and_only_what_is_there() -> None:
    """Rule: the form itself: a flag for every row, and the numbers of valid rows alone, one after the other."""
    with recording(SPEC) as (recorder, uri), connect(MilvusSettings(uri=uri)) as connection:
        MilvusSink(connection, "shop", SPEC).write(window({1, 2}))
        data = {column.field_name: column for column in recorder.upserts[0].fields_data}
    assert list(data["full"].valid_data) == [True, False, False, True, True]
    assert list(data["full"].vectors.float_vector.data) == [1, 2, 3, 4, *range(13, 21)]
    assert len(data["words"].vectors.sparse_float_vector.contents) == 3
    assert not data["always"].valid_data
    assert len(data["always"].vectors.float_vector.data) == 4 * ROWS


def test_rows_keep_their_own_vectors_in_smaller_requests() -> None:
    """Rule: where a window is cut, and where bad rows are left out, each row keeps its own flag."""
    one = window({1, 4})
    one.bad[0] = ("encode", "reason")
    with recording(SPEC) as (recorder, uri), connect(MilvusSettings(uri=uri)) as connection:
        assert MilvusSink(connection, "shop", SPEC, max_request_rows=2).write(one).acknowledged == [1, 2, 3, 4]
    found = [next(column for column in request.fields_data if column.field_name == "full") for request in recorder.upserts]
    assert [list(column.valid_data) for column in found] == [[False, True], [True, False]]
    assert [list(column.vectors.float_vector.data) for column in found] == [[9, 10, 11, 12], [13, 14, 15, 16]]


def test_what_stands_in_the_place_of_no_vector_is_not_looked_at() -> None:
    """Rule: a row without a vector is no bad row, whatever its array holds; one with a bad vector is."""
    given, absent = arrays(), {name: {1} for name in NULLABLE}
    given["full"] = given["full"].copy()
    given["full"][[1, 3]] = np.nan
    given["words"][[1, 2]] = None
    assert sorted(check_vectors(SPEC, given, ROWS, absent)) == [2, 3]

"""What fits a field: whatever is accepted can be stored, nothing changes silently, every refusal says why."""

from __future__ import annotations

import enum
import json
import math
import re
import struct
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.schema import FieldSpec
from connector.schema.values import MAX_JSON, convert

INTS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}


def spec(kind: Any, **given: Any) -> FieldSpec:
    """A field of this type."""
    return FieldSpec(name="x", type=kind, **given)


class Level(enum.IntEnum):
    """An int that is an enumeration."""

    LOW = 1


class Name(str, enum.Enum):  # noqa: UP042 - the older way, whose str() is not its value
    """A str that is an enumeration."""

    BOB = "bob"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
ANYTHING = (
    JSON
    | st.binary()
    | st.integers(-(2**70), 2**70)
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.uuids()
    | st.sampled_from(
        [
            np.float32(1.5),
            np.int8(3),
            np.bool_(1),
            np.float64("nan"),
            np.uint64(2**63),
            np.datetime64("2024-01-01", "ns"),
            np.array([1, 2]),
            np.array(3),
            np.array([["a"]]),
            np.array(["a", 5], object),
            np.complex64(1),
            np.str_("x"),
            Level.LOW,
            Name.BOB,
            object(),
            {1, 2},
            (1, 2),
            range(3),
            PurePosixPath("a/b"),
        ]
    )
)


def fits(field: FieldSpec, value: Any) -> bool:
    """Whether Milvus could store this, said in other words than in the code under test."""
    if value is None:
        return field.nullable
    match field.type:
        case "BOOL":
            good = type(value) is bool
        case "INT8" | "INT16" | "INT32" | "INT64":
            good = type(value) is int and abs(value + 0.5) < 2 ** (INTS[field.type] - 1)
        case "DOUBLE":
            good = type(value) is float and math.isfinite(value)
        case "FLOAT":
            good = type(value) is float and math.isfinite(struct.unpack("f", struct.pack("f", value))[0])
        case "JSON":
            good = isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value
        case "ARRAY":
            inner = spec(field.element, max_length=field.max_length)
            good = type(value) is list and len(value) <= (field.max_capacity or 0) and all(fits(inner, item) for item in value)
        case _:
            good = type(value) is str and len(value.encode("utf-8")) <= (field.max_length or 1 << 30)
    return good


FIELDS = [
    spec("BOOL"),
    *(spec(kind) for kind in INTS),
    spec("FLOAT"),
    spec("DOUBLE"),
    spec("VARCHAR", max_length=5),
    spec("VARCHAR", max_length=65_535),
    spec("JSON"),
    spec("JSON", nullable=True),
    spec("TIMESTAMPTZ"),
    spec("GEOMETRY"),
    spec("ARRAY", element="INT8", max_capacity=2),
    spec("ARRAY", element="VARCHAR", max_capacity=4, max_length=3),
    spec("ARRAY", element="FLOAT", max_capacity=2, nullable=True),
]


@given(st.sampled_from(FIELDS), ANYTHING | st.lists(ANYTHING, max_size=3))
def test_whatever_is_accepted_fits(field: FieldSpec, value: Any) -> None:
    """Any value at all either comes out as something that the field can hold, or is refused with a ValueError; nothing else is raised."""
    try:
        stored = convert(field, value)
    except ValueError:
        return
    assert fits(field, stored)


@given(st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])) | st.booleans())
def test_what_is_accepted_keeps_its_value(value: Any) -> None:
    """Nothing is rounded, cut or turned into text: what is stored equals what was given."""
    for field in (spec("BOOL"), *(spec(kind) for kind in INTS), spec("DOUBLE"), spec("VARCHAR", max_length=9)):
        try:
            stored = convert(field, value)
        except ValueError:
            continue
        assert stored == value
        assert type(stored) is type(value) or (field.type == "DOUBLE" and type(value) is int)


MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)
GOOD: list[tuple[FieldSpec, Any, Any]] = [
    (spec("BOOL"), np.bool_(0), False),
    (spec("INT8"), np.int64(-128), -128),
    (spec("INT64"), Level.LOW, 1),
    (spec("INT64"), MOMENT, 1_714_979_289_123),
    (spec("DOUBLE"), MOMENT, 1_714_979_289.123),
    (spec("INT64"), MOMENT.replace(tzinfo=None), 1_714_979_289_123),
    (spec("INT64"), MOMENT.astimezone(timezone(timedelta(hours=9))), 1_714_979_289_123),
    (spec("DOUBLE"), 2**53, 2.0**53),
    (spec("FLOAT"), 2**24, 2.0**24),
    (spec("FLOAT"), np.float32(0.1), float(np.float32(0.1))),
    (spec("VARCHAR", max_length=4), "é" * 2, "éé"),
    (spec("VARCHAR"), MOMENT.replace(tzinfo=None), "2024-05-06T07:08:09.123000+00:00"),
    (spec("TIMESTAMPTZ"), MOMENT, "2024-05-06T07:08:09.123000+00:00"),
    (spec("VARCHAR"), UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (spec("VARCHAR"), PurePosixPath("a/b"), "a/b"),
    (spec("VARCHAR"), Decimal("1.50"), "1.50"),
    (spec("VARCHAR"), Name.BOB, "bob"),
    (spec("VARCHAR"), "", ""),
    (spec("JSON"), {"a": [1, None, {"b": "ü"}]}, {"a": [1, None, {"b": "ü"}]}),
    (spec("JSON"), {}, {}),
    (spec("ARRAY", element="INT64", max_capacity=3), np.array([1, 2]), [1, 2]),
    (spec("ARRAY", element="VARCHAR", max_capacity=3, max_length=1), ("a",), ["a"]),
    (spec("ARRAY", element="VARCHAR", max_capacity=0), [], []),
    (spec("INT64", nullable=True), None, None),
]
BAD: list[tuple[FieldSpec, Any, str]] = [
    (spec("BOOL"), 1, "int 1, but the field wants a bool"),
    (spec("INT64"), True, "bool True, but the field wants an int"),
    (spec("INT64"), 2.0, "float 2.0, but the field wants an int"),
    (spec("INT64"), "5", "str '5', but the field wants an int"),
    (spec("INT8"), 128, "int 128, but the field wants an int of 8 bits"),
    (spec("INT64"), 2**63, "wants an int of 64 bits"),
    (spec("INT32"), MOMENT, "wants an int"),
    (spec("INT64"), np.datetime64("2024-01-01", "ns"), "wants an int"),
    (spec("INT64"), date(2024, 1, 1), "wants an int"),
    (spec("INT64"), None, "None, but the field is not nullable"),
    (spec("DOUBLE"), True, "bool True, but the field wants a float"),
    (spec("DOUBLE"), "1.0", "str '1.0', but the field wants a float"),
    (spec("DOUBLE"), math.nan, "float nan, but the field wants a finite number"),
    (spec("DOUBLE"), -math.inf, "wants a finite number"),
    (spec("DOUBLE"), np.float32("inf"), "wants a finite number"),
    (spec("DOUBLE"), 2**53 + 1, "wants a float that holds it exactly"),
    (spec("DOUBLE"), 10**400, "wants a float"),
    (spec("FLOAT"), 2**24 + 1, "wants a float that holds it exactly"),
    (spec("FLOAT"), 1e39, "wants a 32-bit float"),
    (spec("FLOAT"), MOMENT, "wants a float"),
    (spec("VARCHAR", max_length=4), "ééé", "6 bytes of UTF-8, but max_length is 4"),
    (spec("VARCHAR"), "a\ud800", "not valid Unicode"),
    (spec("VARCHAR"), b"a", "bytes b'a', but the field wants a str"),
    (spec("VARCHAR"), 5, "int 5, but the field wants a str"),
    (spec("VARCHAR", primary_key=True), "", "an empty string cannot be a primary key"),
    (spec("JSON"), [1], "wants a dict"),
    (spec("JSON"), '{"a": 1}', "wants a dict"),
    (spec("JSON"), {"a": math.nan}, "not JSON"),
    (spec("JSON"), {1: "a"}, "a key that is not a str"),
    (spec("JSON"), {"a": [{1: "a"}]}, "a key that is not a str"),
    (spec("JSON"), {"a": {1, 2}}, "not JSON"),
    (spec("JSON"), {"a": "\ud800"}, "not JSON"),
    (spec("JSON"), {"a": "ü" * MAX_JSON}, "bytes of JSON"),
    (spec("ARRAY", element="INT64", max_capacity=2), [1, 2, 3], "3 elements, but max_capacity is 2"),
    (spec("ARRAY", element="INT64", max_capacity=2), [1, "a"], "element 1: str 'a', but the field wants an int"),
    (spec("ARRAY", element="INT64", max_capacity=2), [None], "element 0: None"),
    (spec("ARRAY", element="INT64", max_capacity=2), 5, "wants a list"),
    (spec("ARRAY", element="VARCHAR", max_capacity=2), "ab", "wants a list"),
    (spec("ARRAY", element="VARCHAR", max_capacity=2, max_length=1), ["é"], "element 0: 2 bytes"),
    (spec("ARRAY", element="INT64", max_capacity=2), np.array([[1]]), "element 0: list"),
]


@pytest.mark.parametrize(("field", "value", "stored"), GOOD)
def test_stated_conversions(field: FieldSpec, value: Any, stored: Any) -> None:
    """Each conversion that the docstring states, and no type but the stored one comes out."""
    result = convert(field, value)
    assert result == stored
    assert type(result) is type(stored)


@pytest.mark.parametrize(("field", "value", "said"), BAD)
def test_refusals_say_found_against_wanted(field: FieldSpec, value: Any, said: str) -> None:
    """A value that would lose something, or that some server refuses, is refused here with a sentence."""
    with pytest.raises(ValueError, match=re.escape(said)):
        convert(field, value)


def test_long_values_are_shown_short() -> None:
    """A reason fits a line, whatever the row held."""
    for value in ("x" * 10_000, list(range(10_000)), {str(number): number for number in range(1000)}, 10**3000):
        with pytest.raises(ValueError, match="but the field wants") as caught:
            convert(spec("BOOL"), value)
        assert len(str(caught.value)) < 200


def test_deeply_nested_json_is_refused() -> None:
    """A row that would exhaust the stack is a bad row, not the end of the run."""
    value: Any = {}
    for _ in range(100_000):
        value = {"a": value}
    with pytest.raises(ValueError, match="nested too deeply"):
        convert(spec("JSON"), value)

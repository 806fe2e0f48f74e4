"""What fits a field: one value in, the value that Milvus is sent out, or a reason why not.

Nothing is converted silently that could lose information: a bool is no int, 2.0 is no int, "5" is no number. Lite accepts far more than a
server does (NaN, strings of too many bytes, JSON scalars), so these checks are ours and the same everywhere. Stated conversions:

    datetime   VARCHAR and TIMESTAMPTZ: ISO 8601 · INT64: milliseconds since 1970 · DOUBLE: seconds since 1970; naive means UTC
    int        for FLOAT and DOUBLE, if exactly representable
    numpy scalars as the Python number they hold; UUID, Path and Decimal as their text for VARCHAR
"""

from __future__ import annotations

import json
import math
import reprlib
import struct
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from connector.schema.spec import FieldSpec

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_JSON = 65_536
"""Most bytes of a JSON value on a server (Lite takes more)."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 40

_NUMBERS = frozenset("biuf")
"""numpy's kinds of scalars: bool, int, unsigned int, float."""
INT_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
MAX_FLOAT32 = 3.4028234663852886e38


def convert(spec: FieldSpec, value: Any) -> Any:
    """The value as this field stores it.

    Raises:
        ValueError: It does not fit; the message says found against wanted.
    """
    if value is None:
        if spec.nullable:
            return None
        raise ValueError("None, but the field is not nullable")
    if spec.type == "ARRAY":
        return _array(spec, value)
    return _SCALARS[spec.type](spec, value)


def _found(value: Any, wanted: str) -> ValueError:
    return ValueError(f"{type(value).__name__} {_SHORT.repr(value)}, but the field wants {wanted}")


def _number(value: Any) -> Any:
    """A numpy scalar as a Python number; its dates stay as they are, since their unit is not ours."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return value.item() if kind in _NUMBERS and not value.shape else value


def _bool(_: FieldSpec, value: Any) -> bool:
    value = _number(value)
    if not isinstance(value, bool):
        raise _found(value, "a bool")
    return value


def _int(spec: FieldSpec, value: Any) -> int:
    value = _number(value)
    if isinstance(value, datetime) and spec.type == "INT64":
        value = round(_utc(value).timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _found(value, "an int")
    bits = INT_BITS[spec.type]
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise _found(value, f"an int of {bits} bits")
    return int(value)


def _float(spec: FieldSpec, value: Any) -> float:
    value = _number(value)
    if isinstance(value, datetime) and spec.type == "DOUBLE":
        value = _utc(value).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _found(value, "a float")
    try:
        number = float(value)
    except OverflowError:
        raise _found(value, "a float") from None
    if not math.isfinite(number):
        raise _found(value, "a finite number")
    if spec.type == "FLOAT" and abs(number) > MAX_FLOAT32:
        raise _found(value, "a 32-bit float")
    stored = struct.unpack("f", struct.pack("f", number))[0] if spec.type == "FLOAT" else number
    if isinstance(value, int) and int(stored) != value:
        raise _found(value, "a float that holds it exactly")
    return number


def _text(spec: FieldSpec, value: Any) -> str:
    if isinstance(value, datetime):
        value = _utc(value).isoformat()
    elif isinstance(value, UUID | PurePath | Decimal):
        value = str(value)
    if not isinstance(value, str):
        raise _found(value, "a str")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("a string that is not valid Unicode (a lone surrogate)") from None
    if spec.max_length is not None and size > spec.max_length:
        raise ValueError(f"{size} bytes of UTF-8, but max_length is {spec.max_length}")
    if spec.primary_key and not value:
        raise ValueError("an empty string cannot be a primary key")
    return str.__str__(value)  # not str(): a member of a `str` enumeration would come out as its name


def _json(_: FieldSpec, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _found(value, "a dict (servers take no other JSON)")
    try:
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
        good = all(isinstance(key, str) for key in _keys(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    if not good:
        raise ValueError("not JSON: a key that is not a str")
    if size > MAX_JSON:
        raise ValueError(f"{size} bytes of JSON, but a server takes {MAX_JSON}")
    return value


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in _keys(item))]
    return [key for item in value for key in _keys(item)] if isinstance(value, list | tuple) else []


def _array(spec: FieldSpec, value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise _found(value, "a list")
    if spec.max_capacity is not None and len(value) > spec.max_capacity:
        raise ValueError(f"{len(value)} elements, but max_capacity is {spec.max_capacity}")
    inner = FieldSpec(name=spec.name, type=spec.element or "VARCHAR", max_length=spec.max_length)
    items = []
    for place, item in enumerate(value):
        try:
            items.append(convert(inner, item))
        except ValueError as error:
            raise ValueError(f"element {place}: {error}") from None
    return items


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


_SCALARS: dict[str, Callable[[FieldSpec, Any], Any]] = {
    "BOOL": _bool,
    **dict.fromkeys(INT_BITS, _int),
    "FLOAT": _float,
    "DOUBLE": _float,
    "VARCHAR": _text,
    "JSON": _json,
    "TIMESTAMPTZ": _text,
    "GEOMETRY": _text,
}

"""Looks at a whole column at once: what fits a field as it is needs no conversion, value by value.

A table gives a million rows whose values are of one type, and asking for a column's types, longest text or largest number costs a tenth of
looking at each value with `values.convert`. What does not fit so is not judged here: `convert` does, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from connector.schema.spec import FieldSpec
from connector.schema.values import INT_BITS, MAX_FLOAT32

UTF8 = 4
"""Most bytes of a character."""


def whole(field: FieldSpec, values: list[Any]) -> list[Any] | None:
    """The values as the field stores them, each as `convert` would give it back; None: they are to be converted one by one.

    Args:
        field: The field; its default stands for None.
        values: None where a row has none.
    """
    kinds = set(map(type, values))
    there = values
    if type(None) in kinds:
        if field.default is not None:
            values = there = [field.default if value is None else value for value in values]
        elif field.nullable:
            there = [value for value in values if value is not None]
        kinds = set(map(type, there))
    kind, fits = _KINDS.get(field.type, (None, _never))
    return values if kinds <= {kind} and (not there or fits(field, there)) else None


def _never(_: FieldSpec, __: Sequence[Any]) -> bool:
    return False


def _texts(field: FieldSpec, values: Sequence[str]) -> bool:
    together = "".join(values)
    try:
        together.encode()
    except UnicodeEncodeError:
        return False
    if field.primary_key and not all(values):
        return False
    if field.max_length is None or max(map(len, values)) * UTF8 <= field.max_length:
        return True
    return max(map(len, values) if together.isascii() else (len(value.encode()) for value in values)) <= field.max_length


def _floats(field: FieldSpec, values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values)) and (field.type == "DOUBLE" or max(map(abs, values)) <= MAX_FLOAT32)


def _ints(field: FieldSpec, values: Sequence[int]) -> bool:
    limit = 1 << INT_BITS[field.type] - 1
    return -limit <= min(values) and max(values) < limit


def _bools(_: FieldSpec, __: Sequence[bool]) -> bool:
    return True


_KINDS: dict[str, tuple[type, Callable[[FieldSpec, Sequence[Any]], bool]]] = {
    **dict.fromkeys(("VARCHAR", "TIMESTAMPTZ", "GEOMETRY"), (str, _texts)),
    **dict.fromkeys(("FLOAT", "DOUBLE"), (float, _floats)),
    **dict.fromkeys(INT_BITS, (int, _ints)),
    "BOOL": (bool, _bools),
}
"""By the field's type the one type of Python that needs no conversion, and what to ask of a column of it."""

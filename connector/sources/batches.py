"""Turns a batch of Arrow columns into rows: plain Python values, and numpy arrays for lists of numbers.

A vector of 768 numbers as a Python list is 24 KB and 768 objects; as a slice of the batch it costs next to nothing. A value that Python
cannot hold (a date after the year 9999, text that is not UTF-8) spoils its row, not its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from connector.record import Row
from connector.sources.streams import MAX_ROW

if TYPE_CHECKING:
    import pyarrow as pa


class _Unfit:
    """Stands for a value that has no place in a row, and says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def batch_rows(batch: pa.RecordBatch) -> Iterator[Row | str]:
    """Yields each row as a dict, or what is wrong with it."""
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    suspect = any(type(value) is _Unfit for column in columns if isinstance(column, list) for value in column)
    for values in zip(*columns, strict=True):
        yield (_problem(names, values) if suspect else "") or dict(zip(names, values, strict=True))


def _problem(names: list[str], values: tuple[Any, ...]) -> str:
    return next((f"column `{name}`: {value.reason}" for name, value in zip(names, values, strict=True) if isinstance(value, _Unfit)), "")


def _values(column: pa.Array) -> list[Any]:
    """A column's values, one a row."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _values(column.storage)
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if lists and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)) and not column.flatten().null_count:
        return _arrays(column)
    if getattr(kind, "unit", None) == "ns":
        column = column.cast(_micro(kind), safe=False)
    try:
        values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError):
        values = [_value(scalar) for scalar in column]
    return values if column.nbytes <= MAX_ROW else [_bounded(value) for value in values]


def _arrays(column: pa.Array) -> list[Any]:
    """Slices of the numbers of a column of lists, one a row; None where a row has no list."""
    import pyarrow as pa

    values = column.values if not column.values.null_count else column.values.fill_null(0)  # they stand where there is no list
    numbers = values.to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        places = [(column.offset + row) * size for row in range(len(column) + 1)]
    else:
        places = column.offsets.to_pylist()
    slices = [numbers[start:stop] for start, stop in pairwise(places)]
    if not column.null_count:
        return slices
    return [one if there else None for one, there in zip(slices, column.is_valid().to_pylist(), strict=True)]


def _micro(kind: pa.DataType) -> pa.DataType:
    """The type with microseconds, which is what Python holds, instead of nanoseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time64(kind) else pa.duration("us")


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError) as error:
        return _Unfit(f"{scalar.type} that Python cannot hold: {error}"[:200])


def _bounded(value: Any) -> Any:
    size = len(value) if isinstance(value, str | bytes) else 0
    return value if size <= MAX_ROW else _Unfit(f"{size:,} long, over {MAX_ROW:,}")

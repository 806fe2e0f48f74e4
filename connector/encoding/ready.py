"""Takes ready-made vectors out of a window's rows into one array a field, checking every one.

A vector of the wrong length in a request is stored shifted, or kills the server, so none gets past here. Numbers are converted only where
nothing is lost but digits: integers and other floats to float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from connector.record import Window
from connector.schema.spec import VectorFieldSpec

_MAX_INDEX = 2**32 - 2
_MAX_INT8 = 127


def take_ready(window: Window, field: VectorFieldSpec) -> None:
    """Fills `window.vectors` for a field without an encoder; rows without a fit vector become bad and keep zeros.

    Where the field is nullable, a row whose source is None or missing is no bad one: it is noted in `window.absent`.

    The array is (n, dim) float32 for float32, float16 and bfloat16 fields, (n, dim) int8 for int8, (n, dim / 8) uint8 for binary, and n
    dicts (None for a bad row) for sparse.
    """
    array = _room(len(window.rows), field)
    source = field.source or field.name
    for index in _one_by_one(window, field, source, array):
        row = window.rows[index]
        if field.nullable and row.get(source) is None:
            window.absent.setdefault(field.name, set()).add(index)
            continue
        try:
            array[index] = _vector(row.get(source), field)
        except ValueError as error:
            missing = f"; the row has: {', '.join(sorted(map(str, row))) or 'nothing'}" if source not in row else ""
            window.bad[index] = ("encode", f"field `{source}`: {error}{missing}")
    window.vectors[field.name] = array


def _one_by_one(window: Window, field: VectorFieldSpec, source: str, array: npt.NDArray[Any]) -> list[int]:
    """Puts all fit vectors of a table's column into the array at once; the rows that are left, to be looked at one by one.

    A column gives every row a slice of one type and length, and what numpy does for all rows together costs a twentieth.
    """
    left = [index for index in range(len(window.rows)) if index not in window.bad]
    if array.dtype != np.float32 or not left:
        return left
    values: list[Any] = [window.rows[index].get(source) for index in left]
    shape, kinds = (field.dim,), {np.dtype(np.float32), np.dtype(np.float64)}
    alike = all(type(value) is np.ndarray and value.shape == shape and value.dtype in kinds for value in values)
    if not alike:
        return left
    matrix: npt.NDArray[Any] = np.concatenate(values).reshape(len(left), -1)
    fit = _fit(matrix, field)
    array[[index for index, good in zip(left, fit, strict=True) if good]] = matrix[fit]
    return [index for index, good in zip(left, fit, strict=True) if not good]


def _fit(numbers: npt.NDArray[Any], field: VectorFieldSpec) -> npt.NDArray[np.bool_]:
    """Which rows of a matrix of floats `_float32` would take."""
    limit = float(np.finfo(np.float16 if field.dtype == "float16" else np.float32).max)
    fit: npt.NDArray[np.bool_] = (np.abs(numbers) <= limit).all(axis=1)
    if field.metric == "COSINE":
        with np.errstate(over="ignore"):
            fit &= numbers.astype(np.float32, copy=False).any(axis=1)
    return fit


def _room(count: int, field: VectorFieldSpec) -> npt.NDArray[Any]:
    dim = field.dim or 0
    if field.dtype == "sparse":
        return np.full(count, None, dtype=object)
    if field.dtype == "binary":
        return np.zeros((count, dim // 8), dtype=np.uint8)
    return np.zeros((count, dim), dtype=np.int8 if field.dtype == "int8" else np.float32)


def _vector(value: Any, field: VectorFieldSpec) -> Any:
    """One vector as its array wants it; ValueError says why not."""
    if value is None:
        raise ValueError("no vector")
    if field.dtype == "sparse":
        return _sparse(value)
    if field.dtype == "binary":
        return _binary(value, field.dim or 0)
    numbers = _numbers(value)
    if numbers.shape != (field.dim,):
        raise ValueError(f"a vector of shape {numbers.shape}, but the field wants dim {field.dim}")
    return _int8(numbers) if field.dtype == "int8" else _float32(numbers, field)


def _numbers(value: Any) -> npt.NDArray[Any]:
    try:
        numbers = np.asarray(value)
    except ValueError:
        raise ValueError("a ragged list, but the field wants a vector") from None
    if numbers.dtype == object and None in value:
        raise ValueError("a vector with None in it")
    if numbers.dtype.kind not in "fiu":
        raise ValueError(f"{type(value).__name__} of {numbers.dtype.name}, but the field wants numbers")
    return numbers


def _float32(numbers: npt.NDArray[Any], field: VectorFieldSpec) -> npt.NDArray[np.float32]:
    numbers = numbers.astype(np.float32) if numbers.dtype == np.float16 else numbers  # float16 cannot hold the limit to compare with
    limit = float(np.finfo(np.float16 if field.dtype == "float16" else np.float32).max)
    if not (np.abs(numbers) <= limit).all():
        raise ValueError(f"numbers that are not finite in {field.dtype}")
    vector: npt.NDArray[np.float32] = numbers.astype(np.float32)
    if field.metric == "COSINE" and not vector.any():
        raise ValueError("a vector of zeros, which has no direction to compare by COSINE")
    return vector


def _int8(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    if not (np.abs(numbers) <= _MAX_INT8 + 1).all() or (numbers != np.round(numbers)).any() or (numbers > _MAX_INT8).any():
        raise ValueError("numbers that are not integers from -128 to 127")
    return numbers.astype(np.int8)


def _binary(value: Any, dim: int) -> npt.NDArray[np.uint8]:
    """Packed bytes, as bytes or uint8, or one 0 or 1 a bit (most significant first, as `numpy.packbits`)."""
    numbers = np.frombuffer(value, dtype=np.uint8) if isinstance(value, bytes | bytearray) else _numbers(value)
    if numbers.shape == (dim // 8,) and numbers.dtype == np.uint8:
        return numbers
    if numbers.shape == (dim,) and np.isin(numbers, (0, 1)).all():
        return np.packbits(numbers.astype(bool))
    raise ValueError(f"{type(value).__name__} of shape {numbers.shape}, but the field wants {dim // 8} bytes or {dim} bits")


def _sparse(value: Any) -> dict[int, float]:
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__}, but the field wants a dict of index to weight")  # noqa: TRY004 - caught as one type
    weights = {_index(index): weight for index, weight in value.items()}
    for index, weight in weights.items():
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index <= _MAX_INDEX:
            raise ValueError(f"index {index!r}, but the field wants integers from 0 to {_MAX_INDEX}")
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number) or not np.isfinite(weight):
            raise ValueError(f"weight {weight!r} at index {index}, but the field wants finite numbers")
    return {int(index): float(weight) for index, weight in weights.items()}


def _index(index: Any) -> Any:
    """An index as a number: JSON has only text for the keys of an object."""
    plain = isinstance(index, str) and index.isdecimal() and index.isascii() and str(int(index)) == index
    return int(index) if plain else index

"""What Milvus keeps of a row: values rounded to their field's type, and a digest that is the same before writing and after reading.

The digest is what lets a run, and `connector verify` months later, tell that a row is what was written, without keeping the row: 8 bytes
a document in the ledger. It covers every vector bit for bit in its stored type, every scalar that reads back as it was written, lineage.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.record import Key
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec
from connector.spelling import PLAIN, quoted

DIGEST_BITS = 63
"""SQLite's integers are signed."""

READ_BYTES, MAX_ROWS = 8 << 20, 1_000
"""Of one request that reads rows back."""

_STORED: dict[str, Any] = {"float32": "<f4", "float16": "<f2", "int8": "i1", "binary": "u1"}
_REWRITTEN = {"TIMESTAMPTZ", "GEOMETRY"}
"""Types that a server gives back in another spelling."""

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def stored(field: VectorFieldSpec, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Dense vectors in the type that Milvus stores; bfloat16 as 16-bit patterns. What is in that type already stays as it is."""
    return _bfloat16(values) if field.dtype == "bfloat16" else np.ascontiguousarray(values, dtype=_STORED[field.dtype])


def unstored(field: VectorFieldSpec, value: Any) -> Any:
    """A stored vector as an encoder gives it: float32 numbers, or a sparse one as it is; not for what `stored` rounds to int8 or bits."""
    if field.dim is None:
        return value
    if field.dtype == "bfloat16":  # read as its 16 bits, the upper half of a float32
        return (value.astype(np.uint32) << 16).view(np.float32)
    return value.astype(np.float32)


class RowDigest:
    """Digests of the rows of one collection.

    Args:
        spec: The collection. A value that is None or its field's default is left out, so that a column which is added later, and which
            older rows read as None or the default, does not change them.

    Attributes:
        fields: What has to be read back of a row.
        rows_a_request: How many rows are read back at a time, so that they stay within about 8 MiB.
    """

    def __init__(self, spec: CollectionSpec) -> None:
        kept = [field for field in spec.fields if field.type not in _REWRITTEN]
        self._scalars = [(field.name, f"{quoted(field.name)},", _plain(field), _default(field)) for field in kept]
        self._vectors = spec.sent
        row_bytes = sum(field.row_bytes for field in spec.sent) + sum(field.max_length or 64 for field in spec.fields)
        self.rows_a_request = max(1, min(MAX_ROWS, READ_BYTES // row_bytes))
        self.fields = [*(field.name for field in kept), *(field.name for field in spec.sent)]

    def of_rows(self, rows: Sequence[Mapping[str, Any]], vectors: Mapping[str, Any], indices: Sequence[int]) -> list[int]:
        """Digests of some rows of a window: scalars in `rows`, vectors (n, dim) or n dicts by field, as they are sent."""
        packed = [_packed(field, vectors[field.name]) for field in self._vectors]
        return [self._digest(rows[index], [column(index) for column in packed]) for index in indices]

    def of_row(self, row: Mapping[str, Any]) -> int:
        """Digest of a row as it was read, vectors under their field's name."""
        return self._digest(row, [_packed(field, [row[field.name]])(0) for field in self._vectors])

    def requests(self, keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
        """The keys in requests of a fit size."""
        return (keys[start : start + self.rows_a_request] for start in range(0, len(keys), self.rows_a_request))

    def _digest(self, row: Mapping[str, Any], vectors: Sequence[bytes | memoryview]) -> int:
        """Of `_ENCODE([name, value, name, value, ...])` and the vectors; the text is put together here, which costs a third."""
        values: list[str] = []
        for name, shown, plain, default in self._scalars:
            value = row.get(name)
            if value is not None and (value := plain(value)) != default:
                values.append(shown + PLAIN.get(type(value), _ENCODE)(value))
        text = f"[{','.join(values)}]".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(b"\0".join([text, *vectors]), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> (64 - DIGEST_BITS)


def added(digests: Sequence[int], to: int = 0) -> int:
    """The digest of several rows together, in whatever order they come."""
    return (to + sum(digests)) % (1 << DIGEST_BITS)


def _plain(field: FieldSpec) -> Callable[[Any], Any]:
    """How a value of this field reads back."""
    if field.type == "FLOAT":
        return _float32
    if field.type == "DOUBLE":
        return float
    if field.type == "ARRAY":
        element = _float32 if field.element == "FLOAT" else float if field.element == "DOUBLE" else _same
        return lambda value: [element(one) for one in value]
    return _same


def _default(field: FieldSpec) -> Any:
    return None if field.default is None else _plain(field)(field.default)


def _same(value: Any) -> Any:
    return value


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _packed(field: VectorFieldSpec, values: Any) -> Callable[[int], bytes | memoryview]:
    """A function from the index of a row to the bytes of its vector."""
    if field.dim is None or (isinstance(values, list) and values[0] is None):
        return lambda index: b"" if values[index] is None else _sparse(values[index])
    array = stored(field, np.asarray(values))
    return lambda index: array[index].data


def _sparse(weights: Mapping[int, float]) -> bytes:
    return b"".join(struct.pack("<If", int(index), weight) for index, weight in sorted(weights.items()) if weight)


def _bfloat16(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Float32 rounded to the nearest bfloat16 (ties to even), as 16-bit patterns; 16-bit patterns stay as they are."""
    if values.dtype == np.uint16:
        return np.ascontiguousarray(values)
    bits = np.ascontiguousarray(values, dtype="<f4").view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")

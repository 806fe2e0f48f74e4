"""Finds out whether the vectors that a collection holds are those of the declared encoder: some texts are encoded again and compared.

A name proves nothing: another model of the same dimension answers every search, wrongly and without an error. Where the collection does not
hold what was encoded, nothing can be proven, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from connector.commands.building import Parts
from connector.commands.transfer.copies import stacked
from connector.encoding.binding import Binding, probed
from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import COSINE, Goldens
from connector.errors import ConfigError, Refused, RowError
from connector.interfaces import DeviceSpec
from connector.milvus.client import Connection
from connector.milvus.reading import Reader, every
from connector.record import Row
from connector.schema.spec import CollectionSpec

SAMPLE = 64
"""Rows whose texts are encoded again."""

_LENGTH = 0.01
"""Largest difference of lengths, relative, where the metric looks at lengths."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one vector field.

    Attributes:
        field: Its name.
        verified: Whether stored vectors were compared with the encoder's.
        said: The finding, or why there is none.
    """

    field: str
    verified: bool
    said: str

    def __str__(self) -> str:
        return f"{self.field}: {'verified' if self.verified else 'unverified'}: {self.said}"


def prove(connection: Connection, parts: Parts, collection: str, live: CollectionSpec, goldens: Goldens) -> list[Proof]:
    """Compares every field that has an encoder, or says why not.

    Args:
        connection: Open.
        parts: The code.
        collection: Physical name.
        live: What is there.
        goldens: Learns what the encoders' probes give.

    Raises:
        Refused: Stored vectors are not the encoder's.
    """
    there = {one.name for one in live.vectors}
    return [_prove(connection, parts, one, collection, live, goldens) for one in parts.bindings if one.field.name in there]


def _prove(connection: Connection, parts: Parts, one: Binding, collection: str, live: CollectionSpec, goldens: Goldens) -> Proof:
    name = one.field.name
    why = _unproven(one, live)
    if why:
        return Proof(name, verified=False, said=why)
    reader = Reader(connection, collection, live)
    found = reader.query(every(live.primary), [live.primary.name, one.source, name], limit=SAMPLE)
    rows = [row for row in found if str(row[one.source] or "").strip() and row[name] is not None]
    if not rows:
        return Proof(name, verified=False, said=f"no row has a text in {one.source}")
    device = parts.job.encode.get(name, DeviceSpec())
    with EncoderHandle(one.encoder, one.head, device, goldens=goldens, field=probed(one)) as handle:
        try:
            made = handle.encode([row[one.source] for row in rows])
        except RowError as error:
            raise ConfigError(
                f"{name} cannot be encoded from {one.source}: {error.message}", hint="correct `source` or the encoder"
            ) from None
    return _compared(one, rows, np.asarray(made, dtype=np.float64), live.primary.name)


def _unproven(one: Binding, live: CollectionSpec) -> str:
    """Why a field's vectors cannot be compared; "" if they can."""
    columns = {field.name: field.type for field in live.fields}
    if one.field.dtype not in {"float32", "float16", "bfloat16"} or one.ragged:
        return f"{one.field.dtype} vectors{', one a position,' if one.ragged else ''} are not compared"
    if one.modality != "text":
        return f"the collection does not hold the {one.modality}s that were encoded"
    if columns.get(one.source) != "VARCHAR":
        return f"the collection has no text column `{one.source}`"
    return ""


def _compared(one: Binding, rows: Sequence[Row], made: Any, primary: str) -> Proof:
    name = one.field.name
    stored = np.asarray(stacked(one.field, [row[name] for row in rows]), dtype=np.float64)
    lengths = np.linalg.norm(stored, axis=1), np.linalg.norm(made, axis=1)
    cosines = (stored * made).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-30)
    worst = int(cosines.argmin())
    said = f"{len(rows)} rows encoded again from {one.source}, least cosine {cosines[worst]:.4f}"
    hint = "declare the encoder and the source that made these vectors; nothing was changed"
    if cosines[worst] < COSINE:
        key = rows[worst][primary]
        raise Refused(f"{name}: the stored vectors are not those of {one.field.encoder}: {said} at {key!r}, wanted {COSINE}", hint=hint)
    longer = float(np.abs(lengths[0] / np.maximum(lengths[1], 1e-30) - 1).max())
    if one.field.metric != "COSINE" and longer > _LENGTH:
        raise Refused(f"{name}: the stored vectors are {longer:.0%} longer or shorter, and {one.field.metric} sees lengths", hint=hint)
    return Proof(name, verified=True, said=said)

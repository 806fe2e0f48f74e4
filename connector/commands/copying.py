"""Fills a candidate from the live generation: for when only the schema changed, or the source is gone.

Scalars and vectors of an unchanged encoder are copied; a vector field of another encoder is encoded from the column that it is made from,
if the collection holds that. Rows keep their keys and their lineage, so the run that follows finds them and encodes nothing again. What
the collection cannot give (a new field without a default, another key) is refused before anything is written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from connector.commands.building import Parts, fingerprint_parts
from connector.encoding.binding import Binding, probed
from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import Goldens
from connector.encoding.quantising import QUANTISED
from connector.errors import ConfigError, RowError, SinkError
from connector.faults import hit
from connector.interfaces import DeviceSpec
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.sink import MilvusSink
from connector.plan import waiting
from connector.plan.generations import Generation
from connector.plan.stamp import RUN
from connector.reconcile.inventory import Inventory
from connector.reconcile.stored import unstored
from connector.record import Row, Window, fingerprint
from connector.schema.spec import LINEAGE, FieldSpec, VectorFieldSpec
from connector.schema.values import convert

_PAGE_ROWS, _PAGE_BYTES = 2_048, 16 << 20
_AGAIN = "copied"
"""In the place of a fingerprint: the next run makes the document again, since the copy lacks what only the source has."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        source: The live generation.
        candidate: The one that was filled.
        rows: Rows.
        encoded: Inputs that went through a model.
        deleted: Rows of an earlier copy that the live generation no longer has.
        notes: What is to be known.
    """

    source: str
    candidate: str
    rows: int
    encoded: int
    deleted: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        first = f"{self.candidate}  {self.rows:,} rows from {self.source}, {self.encoded:,} inputs encoded, {self.deleted:,} rows deleted"
        return "\n".join([first, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {**asdict(self), "notes": list(self.notes)}


def copy_job(job: Job) -> Copied:
    """Copies every namespace's rows of the live generation into the one that is what the code says; may be repeated.

    Raises:
        PlanNeeded: No candidate waits.
        ConfigError: The live generation does not hold what the candidate needs; the field is named. What was copied until then stays
            in the candidate, which cannot be promoted before a copy or a run came to its end.
        Locked: A run of this job is under way.
    """
    parts = Parts.of(job)
    known = job.state_path.exists()
    with Ledger(job.state_path, lock=known, read_only=not known), connect(job.milvus) as connection:
        catalog = Catalog(connection)
        live, candidate = waiting(parts.want, catalog.have(parts.spec.name), job.where)
        if live.name == candidate.name:
            return Copied(live.name, live.name, 0, 0, 0, (f"{live.name} is live and what the code says: there is nothing to copy",))
        copy = _Copy.of(parts, live)
        catalog.load(candidate.name)
        goldens = catalog.goldens(candidate)
        goldens.add(catalog.goldens(live).of(one.name for one in copy.vectors))
        source, sink = (MilvusSink(connection, name, parts.spec) for name in (live.name, candidate.name))
        with contextlib.ExitStack() as models:
            handles = {one.field.name: models.enter_context(_handle(parts, one, goldens)) for one in copy.encoded}
            rows = sum(_write(sink, copy.window(page, handles)) for page in _pages(source.scan(None, copy.names), parts.spec.sent))
        extra = _extra(source, sink)
        sink.delete(extra)
        catalog.write(candidate.name, {key: value for key, value in live.properties.items() if key.startswith(RUN)})
    added = ", ".join(one.name for one in copy.missing)
    notes = [f"{live.name} does not have {added}: the next run makes every document again"] if added else []
    encoded = rows * len(copy.encoded)
    return Copied(live.name, candidate.name, rows, encoded, len(extra), (*notes, f"when it is complete: connector promote {job.where}"))


@dataclass(frozen=True, slots=True)
class _Copy:
    """How a row of the candidate is made from one of the live generation.

    Attributes:
        scalars: Fields that are copied.
        missing: Fields that the live generation lacks; they take their default.
        vectors: Vector fields that are copied.
        encoded: Vector fields that are encoded anew.
        fingerprints: (namespace, what rows have now, what they get).
    """

    scalars: tuple[FieldSpec, ...]
    missing: tuple[FieldSpec, ...]
    vectors: tuple[VectorFieldSpec, ...]
    encoded: tuple[Binding, ...]
    fingerprints: tuple[str, str, str]

    @classmethod
    def of(cls, parts: Parts, live: Generation) -> _Copy:
        """Decides field by field.

        Raises:
            ConfigError: A field cannot be had from the live generation.
        """
        if live.stamp is None:
            raise ConfigError(f"{live.name} carries no stamp, so nobody knows what its vectors are", hint=_INSTEAD)
        there = {one["name"]: one for one in live.stamp.spec["fields"]}
        old: Mapping[str, Any] = next((one for one in there.values() if one.get("primary_key")), {})
        key = parts.spec.primary
        if (old.get("name"), old.get("type"), bool(old.get("generated"))) != (key.name, key.type, key.generated):
            raise ConfigError(f"{live.name} has another primary key, {old.get('name')}", hint=_INSTEAD)
        same = tuple(one for one in parts.spec.fields if one.name in there and _type(there[one.name]) == (one.type, one.element))
        missing = tuple(one for one in parts.spec.fields if one not in same)
        for one in missing:
            if one.default is None and not one.nullable:
                raise ConfigError(f"{live.name} has no such field {one.name}, and it has no default", hint=_INSTEAD)
        vectors = tuple(one for one in parts.spec.sent if _unchanged(one, parts, live))
        encoded = tuple(_bound(one, parts, there, live) for one in parts.spec.sent if one not in vectors)
        return cls(same, missing, vectors, encoded, _fingerprints(parts, live, again=bool(missing)))

    @property
    def names(self) -> list[str]:
        """What is read of the live generation."""
        scalars, vectors = (one.name for one in self.scalars), (one.name for one in self.vectors)
        return list(dict.fromkeys([*scalars, *vectors, *(one.source for one in self.encoded)]))

    def window(self, page: Sequence[Row], handles: Mapping[str, EncoderHandle]) -> Window:
        """The page as the candidate wants it."""
        window = Window(parts=[], rows=[self._row(row) for row in page])
        for vector in self.vectors:
            window.vectors[vector.name] = _stacked(vector, [row[vector.name] for row in page])
        for one in self.encoded:
            try:
                window.vectors[one.field.name] = handles[one.field.name].encode([row[one.source] for row in page])
            except RowError as error:
                raise ConfigError(f"{one.field.name} cannot be encoded from {one.source}: {error.message}", hint=_INSTEAD) from None
        return window

    def _row(self, row: Row) -> Row:
        made = {one.name: one.default for one in self.missing}
        for one in self.scalars:
            try:
                made[one.name] = row[one.name] if one.name in LINEAGE else convert(one, row[one.name])
            except ValueError as error:
                raise ConfigError(f"document {row[LINEAGE[1]]}: field {one.name}: {error}", hint=_INSTEAD) from None
        namespace, before, after = self.fingerprints
        content, mark, total = str(row[LINEAGE[2]]).split(".")
        if row[LINEAGE[0]] == namespace and before in {mark, ""}:
            made[LINEAGE[2]] = f"{content}.{after}.{total}"
        return made


_INSTEAD = "fill the candidate from its source: connector run JOB"


def _type(stamped: Mapping[str, Any]) -> tuple[str, str | None]:
    return stamped["type"], stamped.get("element")


def _unchanged(field: VectorFieldSpec, parts: Parts, live: Generation) -> bool:
    """Whether the live generation's vectors of a field are those that the code would make."""
    stamp = live.stamp
    old = next((one for one in stamp.spec["vectors"] if one["name"] == field.name), None) if stamp else None
    identity = json.loads(json.dumps(parts.want.identity.get(field.name)))
    return bool(old and stamp and (old["dtype"], old["dim"]) == (field.dtype, field.dim) and stamp.identity.get(field.name) == identity)


def _bound(field: VectorFieldSpec, parts: Parts, there: Mapping[str, Any], live: Generation) -> Binding:
    binding = next((one for one in parts.bindings if one.field.name == field.name), None)
    if binding is None:
        raise ConfigError(f"{live.name} does not have the ready-made vectors {field.name}", hint=_INSTEAD)
    if field.dtype == "int8":
        raise ConfigError(f"{field.name}: the scale of int8 vectors is fitted by a run, not by a copy", hint=_INSTEAD)
    if binding.encoder.inputs != {"text"} or there.get(binding.source, {}).get("type") != "VARCHAR":
        raise ConfigError(f"{field.name} is encoded from {binding.source}, which {live.name} does not hold as text", hint=_INSTEAD)
    return binding


def _fingerprints(parts: Parts, live: Generation, *, again: bool) -> tuple[str, str, str]:
    """Of the job's namespace: which fingerprint ("" for any) is replaced in its rows, and by what.

    Rows whose settings differ from the code's in nothing but encoders get the code's fingerprint: the copy made that difference up.
    """
    if again:
        return parts.job.scope, "", _AGAIN
    settings = fingerprint_parts(parts)
    stamped = live.stamp.identity if live.stamp else {}
    before = {name: [source, stamped.get(name), *rest] for name, (source, _, *rest) in settings["vectors"].items()}
    return parts.job.scope, fingerprint({**settings, "vectors": before}), fingerprint(settings)


def _handle(parts: Parts, binding: Binding, goldens: Goldens) -> EncoderHandle:
    device = parts.job.encode.get(binding.field.name, DeviceSpec())
    return EncoderHandle(binding.encoder, binding.head, device, goldens=goldens, field=probed(binding))


def _pages(rows: Iterator[Row], vectors: Sequence[VectorFieldSpec]) -> Iterator[list[Row]]:
    size = max(1, min(_PAGE_ROWS, _PAGE_BYTES // (1 + sum(one.row_bytes for one in vectors))))
    while page := list(islice(rows, size)):
        yield page


def _stacked(field: VectorFieldSpec, values: list[Any]) -> Any:
    if any(value is None for value in values):
        raise ConfigError(f"rows without a vector in {field.name} cannot be copied", hint=_INSTEAD)
    if field.dim is None:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    stacked = np.stack(values)
    return stacked if field.dtype in QUANTISED else unstored(field, stacked)


def _write(sink: MilvusSink, window: Window) -> int:
    receipt = sink.write(window)
    if receipt.rejects:
        raise SinkError(f"{sink.collection}: a copied row was refused: {next(iter(receipt.rejects.values()))}", hint=_INSTEAD)
    hit("copy.page")
    return len(receipt.acknowledged)


def _extra(source: MilvusSink, sink: MilvusSink) -> list[Any]:
    """Keys that only the candidate has: rows that were deleted from the live generation since an earlier copy."""
    primary = sink.spec.primary.name
    with Inventory() as inventory:
        inventory.add_live(source.scan(None, [*LINEAGE, primary]), primary)
        inventory.add_candidate(sink.scan(None, [*LINEAGE, primary]), primary)
        return inventory.extra()

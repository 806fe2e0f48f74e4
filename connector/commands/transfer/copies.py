"""Says how a row of a candidate is made from a row of another collection: field by field, decided before anything is written.

A row of somebody else's collection carries no lineage. It gets one from its primary key, as a table's row does, so that a later run of
the job from its source owns it; as no run has made it, that run makes it again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from connector.encoding.binding import Binding
from connector.encoding.handle import EncoderHandle
from connector.encoding.quantising import QUANTISED
from connector.errors import ConfigError, RowError
from connector.milvus.reading import DYNAMIC
from connector.plan.generations import Generation
from connector.plan.stamp import RUN, run_property
from connector.reconcile.stored import unstored
from connector.record import Row, Window, fingerprint, generated_key
from connector.schema.spec import LINEAGE, CollectionSpec, FieldSpec, VectorFieldSpec
from connector.schema.values import convert

if TYPE_CHECKING:
    from connector.commands.building import Parts

_AGAIN = "copied"
"""In the place of a fingerprint: the next run makes the document again, since the copy lacks what only the source has."""

ADOPTED = "adopted"
"""In the place of content and fingerprint in the lineage of rows that no run has made."""

INSTEAD = "fill the candidate from its source: connector run JOB"


@dataclass(frozen=True, slots=True)
class Copy:
    """How a row of the candidate is made from one of the live generation.

    Attributes:
        scalars: Fields that are copied.
        missing: Fields that the live generation lacks; they take their default.
        vectors: Vector fields that are copied.
        encoded: Vector fields that are encoded anew.
        fingerprints: (namespace, what rows have now, what they get).
        live: The generation that is copied.
        adopts: It is somebody else's collection: its rows carry no lineage, and get one by their key.
        key: The primary key of the candidate.
    """

    scalars: tuple[FieldSpec, ...]
    missing: tuple[FieldSpec, ...]
    vectors: tuple[VectorFieldSpec, ...]
    encoded: tuple[Binding, ...]
    fingerprints: tuple[str, str, str]
    live: Generation
    adopts: bool
    key: FieldSpec

    @classmethod
    def of(cls, parts: Parts, live: Generation, settings: dict[str, Any]) -> Copy:
        """Decides field by field.

        Args:
            parts: The code.
            live: What is copied.
            settings: `building.fingerprint_parts` of the code.

        Raises:
            ConfigError: A field cannot be had from the live generation.
        """
        if live.stamp is None:
            raise ConfigError(f"{live.name} carries no stamp, so nobody knows what its vectors are", hint=INSTEAD)
        there = {one["name"]: one for one in live.stamp.spec["fields"]}
        old: Mapping[str, Any] = next((one for one in there.values() if one.get("primary_key")), {})
        key, adopts = parts.spec.primary, live.stamp.spec.get("lineage") is False
        if (old.get("name"), old.get("type"), bool(old.get("generated"))) != (key.name, key.type, key.generated) and not (
            adopts and key.generated
        ):
            raise ConfigError(f"{live.name} has another primary key, {old.get('name')}", hint=INSTEAD)
        if live.stamp.spec["dynamic"] and not parts.spec.dynamic and adopts:
            raise ConfigError(f"{live.name} has a dynamic field, and the code has none", hint="declare dynamic=True")
        derived = {*LINEAGE, *([key.name] if key.generated else [])} if adopts else set()
        same = tuple(one for one in parts.spec.fields if one.name in there and _type(there[one.name]) == (one.type, one.element))
        same = tuple(one for one in same if one.name not in derived)
        missing = tuple(one for one in parts.spec.fields if one not in same and one.name not in derived)
        for one in missing:
            if one.default is None and not one.nullable:
                raise ConfigError(f"{live.name} has no such field {one.name}, and it has no default", hint=INSTEAD)
        vectors = tuple(one for one in parts.spec.sent if _unchanged(one, parts, live))
        encoded = tuple(_bound(one, parts, there, live) for one in parts.spec.sent if one not in vectors)
        marks = _fingerprints(parts, live, settings, again=bool(missing))
        return cls(same, missing, vectors, encoded, marks, live, adopts, key)

    def there(self, spec: CollectionSpec) -> CollectionSpec:
        """What is read: the candidate's own declaration, but for a collection that goes without lineage."""
        if not self.adopts or self.live.stamp is None:
            return spec
        fields = tuple(FieldSpec.model_validate(one) for one in self.live.stamp.spec["fields"])
        return spec.model_copy(update={"fields": fields, "lineage": False, "dynamic": self.live.stamp.spec["dynamic"]})

    def runs(self) -> dict[str, str]:
        """The properties that say how far the copied generation was in step; somebody else's whole collection is the source itself."""
        if self.adopts:
            return run_property(self.fingerprints[0], f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{ADOPTED}")
        return {name: value for name, value in self.live.properties.items() if name.startswith(RUN)}

    @property
    def names(self) -> list[str]:
        """What is read of the live generation."""
        scalars, vectors = (one.name for one in self.scalars), (one.name for one in self.vectors)
        own = [self.primary, *([DYNAMIC] if self.live.stamp and self.live.stamp.spec["dynamic"] else [])] if self.adopts else []
        return list(dict.fromkeys([*own, *scalars, *vectors, *(one.source for one in self.encoded)]))

    @property
    def primary(self) -> str:
        """The primary key of the generation that is copied."""
        fields = self.live.stamp.spec["fields"] if self.live.stamp else ()
        return str(next(one["name"] for one in fields if one.get("primary_key")))

    def lineage(self, row: Row) -> Row:
        """Lineage of a row that has none: its key is the document's, as a table's is; no run has made it, so the next one does again."""
        document, namespace = str(row[self.primary]), self.fingerprints[0]
        made = dict(zip(LINEAGE, (namespace, document, f"{ADOPTED}.{ADOPTED}.1"), strict=True))
        return {**made, self.key.name: generated_key(namespace, document, 0)} if self.key.generated else made

    def window(self, page: Sequence[Row], handles: Mapping[str, EncoderHandle]) -> Window:
        """The page as the candidate wants it."""
        window = Window(parts=[], rows=[self._row(row) for row in page])
        for vector in self.vectors:
            window.vectors[vector.name] = stacked(vector, [row[vector.name] for row in page])
        for one in self.encoded:
            try:
                window.vectors[one.field.name] = handles[one.field.name].encode([row[one.source] for row in page])
            except RowError as error:
                raise ConfigError(f"{one.field.name} cannot be encoded from {one.source}: {error.message}", hint=INSTEAD) from None
        return window

    def _row(self, row: Row) -> Row:
        made = {one.name: one.default for one in self.missing}
        for one in self.scalars:
            try:
                made[one.name] = row[one.name] if one.name in LINEAGE else convert(one, row[one.name])
            except ValueError as error:
                document = row[self.primary if self.adopts else LINEAGE[1]]
                raise ConfigError(f"document {document}: field {one.name}: {error}", hint=INSTEAD) from None
        if self.adopts:
            return {**{key: value for key, value in row.items() if key not in self.names}, **made, **self.lineage(row)}
        namespace, before, after = self.fingerprints
        content, mark, total = str(row[LINEAGE[2]]).split(".")
        if row[LINEAGE[0]] == namespace and before in {mark, ""}:
            made[LINEAGE[2]] = f"{content}.{after}.{total}"
        return made


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
        raise ConfigError(f"{live.name} does not have the ready-made vectors {field.name}", hint=INSTEAD)
    if field.dtype == "int8":
        raise ConfigError(f"{field.name}: the scale of int8 vectors is fitted by a run, not by a copy", hint=INSTEAD)
    if binding.encoder.inputs != {"text"} or there.get(binding.source, {}).get("type") != "VARCHAR":
        raise ConfigError(f"{field.name} is encoded from {binding.source}, which {live.name} does not hold as text", hint=INSTEAD)
    return binding


def _fingerprints(parts: Parts, live: Generation, settings: dict[str, Any], *, again: bool) -> tuple[str, str, str]:
    """Of the job's namespace: which fingerprint ("" for any) is replaced in its rows, and by what.

    Rows whose settings differ from the code's in nothing but encoders get the code's fingerprint: the copy made that difference up.
    """
    if again:
        return parts.job.scope, "", _AGAIN
    stamped = live.stamp.identity if live.stamp else {}
    before = {name: [source, stamped.get(name), *rest] for name, (source, _, *rest) in settings["vectors"].items()}
    return parts.job.scope, fingerprint({**settings, "vectors": before}), fingerprint(settings)


def stacked(field: VectorFieldSpec, values: list[Any]) -> Any:
    """Vectors as they were read in one array, as a window has them: float32 for float16 and bfloat16, n dicts for sparse ones."""
    if any(value is None for value in values):
        raise ConfigError(f"rows without a vector in {field.name} cannot be copied", hint=INSTEAD)
    if field.dim is None:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    stacked = np.stack(values)
    return stacked if field.dtype in QUANTISED else unstored(field, stacked)

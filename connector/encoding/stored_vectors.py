"""Finds vectors of unchanged inputs in the collection itself, so that they are not encoded again when the cache of vectors is lost.

A row that is there carries in its lineage how it was made: the fingerprint, whose parts the ledger keeps. Its vector is taken only where
both the field's part of it (the column that is encoded and the encoder's identity) and the input are the same as now. That the input is
the same is told by the encoded text, where the collection holds that column; or else by the hash of the document's content, if nothing
that comes before the encoders was changed, which another encoder does where its tokens decide how texts are cut. What cannot be shown to
be equal is encoded.

Rows are looked for where they are about to be written, and, while a candidate is filled, also in the live generation, whose probe the
candidate then takes over: an encoder that changed under its name is still found out when it is opened.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.encoding.probing import Goldens, alike
from connector.encoding.quantising import QUANTISED
from connector.plan.stamp import Stamp
from connector.reconcile.stored import RowDigest, unstored
from connector.record import Key, Row, Visit, Window, fingerprint, generated_key
from connector.schema.spec import LINEAGE, CollectionSpec
from connector.schema.values import convert

if TYPE_CHECKING:
    from connector.encoding.binding import Binding
    from connector.encoding.vectorcache import Vector
    from connector.interfaces import Sink

Settings = Mapping[str, Any]
"""What makes a row, by parts, as `building.fingerprint_parts` writes it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A generation whose rows are looked at.

    Attributes:
        sink: Reads it.
        stamp: Of what it was made with.
        goldens: What it knows of its encoders; None: it is the generation that is written to.
    """

    sink: Sink
    stamp: Stamp
    goldens: Goldens | None = None

    def holds(self, field: str) -> bool:
        """Whether it has this vector field."""
        return any(one["name"] == field for one in self.stamp.spec["vectors"])

    def has_text(self, column: str) -> bool:
        """Whether it has this column, and keeps texts there as they are given."""
        return any(one["name"] == column and one["type"] == "VARCHAR" for one in self.stamp.spec["fields"])


@dataclass(frozen=True, slots=True)
class _Asked:
    """An input whose vectors are looked for in one row.

    Attributes:
        number: Of the input.
        value: What would be encoded.
        visit: The document.
    """

    number: int
    value: Any
    visit: Visit


class StoredVectors:
    """Looks for the vectors of a window's inputs; used from the thread that encodes.

    Args:
        places: Where, the best first; none for a collection whose rows are numbered by an encoder's positions.
        spec: The collection.
        namespace: Of the job.
        settings: As of this run.
        known: The settings behind a fingerprint of an earlier run; None: not known.
        goldens: Of the generation that is written to.
    """

    def __init__(
        self,
        places: Sequence[Place],
        spec: CollectionSpec,
        namespace: str,
        settings: Settings,
        known: Callable[[str], Settings | None],
        goldens: Goldens,
    ) -> None:
        self._places, self._primary, self._namespace, self._goldens = places, spec.primary, namespace, goldens
        self._a_request = RowDigest(spec).rows_a_request
        self._now: Settings = json.loads(json.dumps(settings))
        self._before: dict[str, Settings | None] = {fingerprint({**settings}): self._now}
        for place in places:
            then = {name: [part[0], place.stamp.identity.get(name), *part[2:]] for name, part in self._now.get("vectors", {}).items()}
            self._before[fingerprint({**self._now, "vectors": then})] = {**self._now, "vectors": then}
        self._known = known

    def find(self, window: Window, bindings: Sequence[Binding], rows_of: Sequence[Sequence[int]]) -> dict[int, list[Vector]]:
        """One vector a field for those inputs whose vectors are there, by their place in `rows_of`.

        Args:
            window: Before CONFORM.
            bindings: Fields that one forward pass fills.
            rows_of: For each input the rows that it stands in.
        """
        found: dict[int, list[Vector]] = {}
        if any(one.field.dtype in QUANTISED for one in bindings):
            return found  # the numbers that the encoder gave are not kept
        whose = {index: (visit, ordinal) for index, visit, ordinal in window.whose()}
        for place in self._places:
            if all(place.holds(one.field.name) and self._comparable(place, one) for one in bindings):
                asked = {
                    key: _Asked(number, window.rows[index].get(bindings[0].source), whose[index][0])
                    for number, rows in enumerate(rows_of)
                    for index in rows
                    if number not in found and (key := self._key(place, window.rows[index], *whose[index])) is not None
                }
                found |= self._read(place, bindings, asked)
        return found

    def _key(self, place: Place, row: Row, visit: Visit, ordinal: int) -> Key | None:
        """The primary key that a row gets, if its document has rows there that are as they were written."""
        if place.goldens is None and (visit.known is None or visit.known.status not in {"done", "partial"}):
            return None  # in `writing` are also the documents that `verify` found altered
        if self._primary.generated:
            return generated_key(self._namespace, visit.key, ordinal)
        with contextlib.suppress(ValueError):  # it is CONFORM that says so
            key: Key = convert(self._primary, row.get(self._primary.name))
            return key
        return None

    def _read(self, place: Place, bindings: Sequence[Binding], asked: dict[Key, _Asked]) -> dict[int, list[Vector]]:
        """Reads what rows were made from, then, of those that fit, the same again with the vectors: a row is compared as one."""
        source, names = bindings[0].source, [one.field.name for one in bindings]
        text = source if bindings[0].modality == "text" and place.has_text(source) else None
        told = [*LINEAGE] if text is None else [*LINEAGE, text]
        rows: dict[Key, Row] = {}
        for fields in (told, [*told, *names]):
            rows = self._rows(place, list(asked), fields)
            asked = {key: one for key, one in asked.items() if key in rows and self._same(rows[key], one, bindings, text)}
        found = {
            one.number: [unstored(binding.field, rows[key][binding.field.name]) for binding in bindings]
            for key, one in asked.items()
            if all(rows[key][name] is not None for name in names)
        }
        if found and place.goldens is not None:
            self._goldens.add(place.goldens.of(name for name in names if name not in self._goldens.vectors))
        return found

    def _rows(self, place: Place, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Reads in requests of a fit size."""
        size = self._a_request
        return {key: row for start in range(0, len(keys), size) for key, row in place.sink.read(keys[start : start + size], fields).items()}

    def _same(self, row: Row, one: _Asked, bindings: Sequence[Binding], text: str | None) -> bool:
        """Whether a row that is there was encoded from this input, by what would encode it now."""
        namespace, document, lineage = (row[name] for name in LINEAGE)
        content, mark, total = [*str(lineage).split("."), "", ""][:3]
        then = self._settings(mark)
        if then is None or namespace != self._namespace or any(_part(then, field) != _part(self._now, field) for field in bindings):
            return False
        if text is not None:
            return isinstance(one.value, str) and row[text] == one.value
        if (document, content, total) != (one.visit.key, one.visit.content, str(one.visit.total)):
            return False
        uncut = self._now["split"][0] is None or (bindings[0].modality != "text" and total == "1")
        return then == self._now or (uncut and {**then, "vectors": None} == {**self._now, "vectors": None})

    def _settings(self, mark: str) -> Settings | None:
        if mark not in self._before:
            self._before[mark] = self._known(mark)
        return self._before[mark]

    def _comparable(self, place: Place, binding: Binding) -> bool:
        """Whether a place was filled with the weights of this generation: by their name or, where that says too little, by the probe."""
        if place.goldens is None:
            return True
        here, there = (one.vectors.get(binding.field.name) for one in (self._goldens, place.goldens))
        if here is not None and there is not None:
            return alike(here, there)
        return binding.encoder.model.pinned or there is not None


def _part(settings: Settings, binding: Binding) -> Any:
    return settings.get("vectors", {}).get(binding.field.name, ())

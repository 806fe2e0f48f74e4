"""CONFORM: makes a window's rows exactly what the collection wants, or says why a row cannot be.

A schema takes what it declares and ignores the rest. Every declared field is sent every time, because an upsert on Milvus Lite merges
with the old row while a server replaces it. Rows carry their lineage, from which a lost ledger is rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.record import Key, Row, Visit, Window, generated_key
from connector.schema.spec import LINEAGE, CollectionSpec, FieldSpec
from connector.schema.tenants import Tenant
from connector.schema.values import convert
from connector.schema.whole import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LINEAGE_FORMAT = 1
"""Version of `lineage`. Changing it is a migration for every user."""

MAX_DOCUMENT_KEY = 4096
"""Most UTF-8 bytes of a document key: the length of `connector_key`."""


def lineage(namespace: str, visit: Visit, fingerprint: str) -> Row:
    """The lineage fields of each of a document's rows.

    `connector_content` is `<content hash>.<fingerprint>.<number of rows>`: enough to tell, from rows alone, whether a document
    is whole and whether it would be made differently today.
    """
    names = LINEAGE
    return {names[0]: namespace, names[1]: visit.key, names[2]: f"{visit.content}.{fingerprint}.{visit.total}"}


@dataclass(frozen=True, slots=True)
class Conform:
    """The station: call it with a window.

    Attributes:
        spec: The collection.
        namespace: Of the job.
        fingerprint: Hash of the stations' settings.
        last_wins: What happens when two rows give one key: the later one wins (cursor sources) or is rejected (listings).
        tenant: Whose rows these are; a row that says another one is rejected.
    """

    spec: CollectionSpec
    namespace: str
    fingerprint: str
    last_wins: bool = False
    tenant: Tenant | None = None

    def __call__(self, window: Window) -> dict[int, Key]:
        """Replaces `window.rows`, notes in `window.bad` what cannot be; returns the primary keys of the good rows by index."""
        keys: dict[int, Key] = {}
        primary = self.spec.primary.name
        first: dict[Key, str] = {}
        origins: dict[str, Row] = {}
        fields, generated = self._fields(), primary if self.spec.primary.generated else None
        good = [one for one in window.whose() if one[0] not in window.bad]
        columns = self._columns(window, [index for index, _, _ in good])
        single = {name: take for name, take in fields.items() if name not in columns}
        for place, (index, visit, ordinal) in enumerate(good):
            origin = origins.get(visit.key)
            if origin is None:
                origin = origins[visit.key] = lineage(self.namespace, visit, self.fingerprint)
            try:
                row = {name: column[place] for name, column in columns.items()}
                if single:
                    row.update((name, take(window.rows[index])) for name, take in single.items())
            except Exception as error:  # noqa: BLE001 - a user's object that raises when it is looked at must not end the run
                window.bad[index] = ("conform", str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
                continue
            row.update(origin)
            if generated is not None:
                row[generated] = generated_key(self.namespace, visit.key, ordinal)
            key = row[primary]
            earlier = visit.key if key in visit.acknowledged else first.get(key)
            if earlier is not None and not self.last_wins:
                window.bad[index] = ("conform", f"key {key!r} is already taken by an earlier row of `{earlier}`")
                continue
            first[key] = visit.key
            keys[index] = key
            window.rows[index] = row
        return keys

    def _columns(self, window: Window, good: Sequence[int]) -> dict[str, list[Any]]:
        """Fields all of whose values are fit as they are, by name; the others, and whose a row is, are taken row by row."""
        whose = None if self.tenant is None else self.tenant.field.name
        plain = [one for one in self.spec.columns if one.name != whose]
        found = {one.name: whole(one, [window.rows[index].get(one.name) for index in good]) for one in plain}
        return {name: values for name, values in found.items() if values is not None}

    def _fields(self) -> Mapping[str, Callable[[Row], Any]]:
        tenant = {self.tenant.field.name: _owner(self.tenant)} if self.tenant is not None else {}
        return {field.name: _taker(field) for field in self.spec.columns} | tenant


def _owner(tenant: Tenant) -> Callable[[Row], Any]:
    """As `_taker`, for the field that says whose a row is."""

    def take(row: Row) -> Any:
        try:
            return tenant.own(row.get(tenant.field.name))
        except ValueError as error:
            raise ValueError(f"field `{tenant.field.name}`: {error}") from None

    return take


def _taker(field: FieldSpec) -> Callable[[Row], Any]:
    """A function that takes one field's value out of a row; it raises ValueError with a sentence that names the field."""
    name, default, required = field.name, field.default, field.default is None and not field.nullable

    def take(row: Row) -> Any:
        value = row.get(name)
        if value is None:
            value = default
            if required and name not in row:
                raise ValueError(f"field `{name}` is missing; the row has: {', '.join(sorted(map(str, row))) or 'nothing'}")
        try:
            return convert(field, value)
        except ValueError as error:
            raise ValueError(f"field `{name}`: {error}") from None

    return take

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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINEAGE_FORMAT = 1
"""Version of `lineage`. Changing it is a migration for every user."""

MAX_DOCUMENT_KEY = 4096
"""Most UTF-8 bytes of a document key: the length of `connector_key`."""


def lineage(namespace: str, visit: Visit, fingerprint: str) -> Row:
    """The lineage fields of each of a document's rows.

    `connector_content` is `<content hash>.<fingerprint>.<number of rows>`: enough to tell, from rows alone, whether a document
    is whole and whether it would be made differently today.
    """
    return dict(zip(LINEAGE, (namespace, visit.key, f"{visit.content}.{fingerprint}.{visit.total}"), strict=True))


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
        first: dict[Key, str] = {}
        origins: dict[str, Row] = {}
        fields = self._fields()
        for index, visit, ordinal in window.whose():
            if index in window.bad:
                continue
            origin = origins.get(visit.key)
            if origin is None:
                origin = origins[visit.key] = lineage(self.namespace, visit, self.fingerprint)
            try:
                row = {name: take(window.rows[index]) for name, take in fields.items()}
            except Exception as error:  # noqa: BLE001 - a user's object that raises when it is looked at must not end the run
                window.bad[index] = ("conform", str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
                continue
            row.update(origin)
            if self.spec.primary.generated:
                row[self.spec.primary.name] = generated_key(self.namespace, visit.key, ordinal)
            key = row[self.spec.primary.name]
            earlier = visit.key if key in visit.acknowledged else first.get(key)
            if earlier is not None and not self.last_wins:
                window.bad[index] = ("conform", f"key {key!r} is already taken by an earlier row of `{earlier}`")
                continue
            first[key] = visit.key
            keys[index] = key
            window.rows[index] = row
        return keys

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

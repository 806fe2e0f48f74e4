"""Binds a job to one tenant of a shared collection: one value of its partition key, which every row of the job carries and no other has.

Keys must be generated: natural keys of two tenants may be equal, and the later row would replace the other tenant's.
"""

from __future__ import annotations

from dataclasses import dataclass

from connector.errors import ConfigError
from connector.record import Key
from connector.schema.spec import CollectionSpec, FieldSpec
from connector.schema.values import convert


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose rows a job writes and searches.

    Attributes:
        field: The partition key, as the collection declares it.
        value: Its value in every row.
    """

    field: FieldSpec
    value: Key

    def own(self, value: object) -> Key:
        """The value that a row gets, given the one that it brings; None: it brings none.

        Raises:
            ValueError: It brings another tenant's.
        """
        if value is not None and convert(self.field, value) != self.value:
            raise ValueError(f"{value!r:.60}, but this job writes for {self.value!r} only")
        return self.value


def tenant_of(spec: CollectionSpec, value: Key, where: str) -> Tenant:
    """The tenant that a job names.

    Args:
        spec: The job's collection.
        value: As the job says it; digits stand for a number where the partition key is one.
        where: The job, for messages.

    Raises:
        ConfigError: The collection has no partition key, or natural keys, or the value does not fit.
    """
    field = next((one for one in spec.fields if one.partition_key), None)
    if field is None:
        hint = "declare one: tenant: str = Field(partition_key=True, max_length=64)"
        raise ConfigError(f"{where}: a tenant is named, but {spec.name} has no partition key", hint=hint)
    if not spec.primary.generated:
        problem = f"{where}: a tenant is named, but two tenants may share a natural key, `{spec.primary.name}` of {spec.name}"
        raise ConfigError(problem, hint="declare id: str = Field(primary_key=True, generated=True), and keep the other as a plain field")
    try:
        return Tenant(field, convert(field, _number(value) if field.type == "INT64" else value))
    except ValueError as error:
        raise ConfigError(f"{where}: tenant: {error}", hint=f"`{field.name}` is the partition key of {spec.name}") from None


def _number(value: Key) -> Key:
    """A number for its usual digits; no others, or one tenant would have two namespaces."""
    plain = isinstance(value, str) and value.removeprefix("-").isdecimal() and str(int(value)) == value
    return int(value) if plain else value

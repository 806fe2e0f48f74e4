"""Deletes all rows of a namespace, or of one document in it, from every generation of a collection, and proves that they are gone.

Rows are found by lineage and deleted by primary key, never by a filter that names anything else; then they are counted with Strong
consistency. A generation that is not live any more is looked into as well: a rollback must not bring rows back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection
from connector.milvus.literals import equals, in_filter
from connector.milvus.reading import Reader
from connector.plan.generations import Generation
from connector.record import Key
from connector.schema.spec import LINEAGE, CollectionSpec

PASSES = 3
"""How often rows are looked for until none is left; a writer in another place may add some meanwhile."""

CHUNK = 1_000
"""Keys of one request."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done in one physical collection.

    Attributes:
        collection: Its name.
        deleted: Rows that were found and deleted.
        left: Rows that a strongly consistent count found afterwards.
    """

    collection: str
    deleted: int
    left: int


def erase(connection: Connection, spec: CollectionSpec, namespace: str, document: str | None = None) -> list[Erased]:
    """Deletes in every generation of a collection.

    Args:
        connection: Open.
        spec: The collection as it is declared.
        namespace: Whose rows.
        document: Only those of the document with this key.
    """
    condition = equals(LINEAGE[0], namespace) + (f" and {equals(LINEAGE[1], document)}" if document is not None else "")
    generations = (one for one in Catalog(connection).have(spec.name).generations if set(LINEAGE) <= set(one.fields))
    return [_erase(Reader(connection, one.name, spec), _primary(one, spec), condition) for one in generations]


def _erase(reader: Reader, primary: str, condition: str) -> Erased:
    deleted, left = 0, 0
    for _ in range(PASSES):
        for keys in _chunks(row[primary] for row in reader.scan_where(condition, [primary])):
            what = f"delete rows of {reader.collection}"
            reader.connection.call(what, reader.connection.client.delete, reader.collection, filter=in_filter(primary, keys))
            deleted += len(keys)
        left = reader.count_where(condition)
        if not left:
            break
    return Erased(reader.collection, deleted, left)


def _primary(generation: Generation, spec: CollectionSpec) -> str:
    """The primary key's name then, as the stamp has it; without a stamp as it is declared now."""
    fields = generation.stamp.spec["fields"] if generation.stamp else ()
    return str(next((field["name"] for field in fields if field.get("primary_key")), spec.primary.name))


def _chunks(keys: Iterator[Key]) -> Iterator[list[Key]]:
    while some := list(islice(keys, CHUNK)):
        yield some

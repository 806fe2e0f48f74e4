"""Reads of one collection that always see what was written, and that wait for a collection which is still being loaded.

Every read asks for Strong consistency; an iterator ignores that level and may see nothing, so a Strong query goes before it as a
barrier, and is the answer itself if all rows fit into it. Milvus Lite never pages: paging by key loses rows there and its iterator
takes 242 s for what one query gives in 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from connector.errors import NotLoaded, Transient
from connector.milvus.client import Connection
from connector.milvus.lite_indexes import load
from connector.milvus.literals import equals, in_filter
from connector.record import Key, Row
from connector.retry import RetryPolicy, retry
from connector.schema.spec import LINEAGE, CollectionSpec, FieldSpec, VectorFieldSpec

T = TypeVar("T")

_ONCE = RetryPolicy(deadline=0.0)
_LONGEST_WAIT = 2.0
_PAGE_ROWS = 10_000
_PAGE_BYTES = 8 << 20
_SCALAR_BYTES = 512
DYNAMIC = "$meta"
"""The field that stands for all that rows hold beyond the declared fields."""

_STORED: dict[str, Any] = {"float16": np.dtype("<f2"), "int8": np.dtype("i1"), "binary": np.dtype("u1"), "bfloat16": np.dtype("<u2")}


class Reader:
    """Reads one physical collection.

    Args:
        connection: Open.
        collection: Physical name, never an alias.
        spec: What the collection holds.
    """

    def __init__(self, connection: Connection, collection: str, spec: CollectionSpec) -> None:
        self.connection = connection
        self.collection = collection
        self._vectors = {vector.name: vector for vector in spec.vectors}
        self._declared = {one.name for one in spec.members}
        self._everything = f'{LINEAGE[0]} != ""' if spec.lineage else every(spec.primary)
        self._row_bytes = {name: vector.row_bytes for name, vector in self._vectors.items()}

    def query(self, condition: str, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        """The rows that match, strongly consistent, with exactly these fields; vectors as arrays."""
        options: dict[str, Any] = {} if limit is None else {"limit": limit}
        found = self.loaded("query", self.connection.client.query, **self._asking(condition, fields), consistency_level="Strong", **options)
        return [self._row(row, fields) for row in found]

    def scan(self, namespace: str | None, fields: Sequence[str]) -> Iterator[Row]:
        """Every row of a namespace (None: of the collection), in no promised order."""
        return self.scan_where(self._everything if namespace is None else equals(LINEAGE[0], namespace), fields)

    def scan_where(self, condition: str, fields: Sequence[str]) -> Iterator[Row]:
        """Every row that matches, in no promised order."""
        if self.connection.server.lite:
            yield from self.query(condition, fields)
            return
        size = max(1, min(_PAGE_ROWS, _PAGE_BYTES // (_SCALAR_BYTES + sum(self._row_bytes.get(name, 0) for name in fields))))
        first = self.query(condition, fields, limit=size)
        if len(first) < size:  # that was all; an iterator would take a request for each segment, however small
            yield from first
            return
        pages = self.loaded("scan", self.connection.client.query_iterator, **self._asking(condition, fields), batch_size=size)
        try:
            while page := self.loaded("scan", lambda timeout: pages.next()):  # noqa: ARG005 - the iterator keeps its own timeout
                yield from (self._row(row, fields) for row in page)
        finally:
            pages.close()

    def count(self, namespace: str | None = None) -> int:
        """How many rows there are, strongly consistent."""
        return self.count_where("" if namespace is None else equals(LINEAGE[0], namespace))

    def count_where(self, condition: str) -> int:
        """How many rows match, strongly consistent."""
        asked = self._asking(condition, ("count(*)",))
        return int(self.loaded("count", self.connection.client.query, **asked, consistency_level="Strong")[0]["count(*)"])

    def tally(self, field: str, keys: Sequence[Key]) -> int:
        """How many rows have one of these values in a field, strongly consistent: more than keys if a key is there twice."""
        return self.count_where(in_filter(field, keys))

    def loaded(self, what: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Calls a read; a released collection is loaded, and one that is still loading (a server that restarted) is waited for."""
        what = f"{what} {self.collection}"
        try:
            return self.connection.call(what, function, *args, **options)
        except NotLoaded:
            load(self.connection, self.collection, self._load)

        def again() -> T:
            try:
                return self.connection.call(what, function, *args, policy=_ONCE, **options)
            except NotLoaded as error:
                raise Transient(error.message, hint="the collection is still loading") from error

        return retry(again, replace(self.connection.settings.policy, longest=_LONGEST_WAIT), what)

    def _load(self) -> None:
        function = self.connection.client.load_collection  # not waited for: a restarted server reports no progress for a minute
        self.connection.call(f"load {self.collection}", function, self.collection, _async=True)

    def _asking(self, condition: str, fields: Sequence[str]) -> dict[str, Any]:
        return {"collection_name": self.collection, "filter": condition, "output_fields": list(fields)}

    def _row(self, found: Mapping[str, Any], fields: Sequence[str]) -> Row:
        named = {
            name: vector_of(self._vectors[name], found[name]) if name in self._vectors else plain(found[name])
            for name in fields
            if name != DYNAMIC
        }
        return named if DYNAMIC not in fields else {**{key: found[key] for key in found if key not in self._declared}, **named}


def vector_of(field: VectorFieldSpec, value: Any) -> Any:
    """A stored vector as an array of its own type (bfloat16 as 16-bit patterns), a sparse one as a dict."""
    if field.dim is None or value is None:
        return value
    if field.dtype == "float32":
        return np.asarray(value, dtype=np.float32)
    data = value[0] if isinstance(value, list) and value and isinstance(value[0], bytes) else value
    return np.frombuffer(data, dtype=_STORED[field.dtype]) if isinstance(data, bytes) else np.asarray(data, dtype=_STORED[field.dtype])


def plain(value: Any) -> Any:
    """A scalar value as plain Python: pymilvus gives arrays as protobuf containers."""
    return list(value) if not isinstance(value, str | bytes | dict) and isinstance(value, Sequence) else value


def every(primary: FieldSpec) -> str:
    """A filter that every row passes, whoever wrote it; an iterator wants one."""
    name = primary.name
    return f'{name} >= ""' if primary.type == "VARCHAR" else f"{name} >= 0 or {name} < 0"

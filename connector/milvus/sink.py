"""Upserts windows into one physical collection, and deletes and reads by key: the sink that the pipeline writes to.

Only upserts, only by primary key, only to the physical name: inserting doubles rows when a request is repeated, a filter deletes
more than was meant, and a moving alias mixes two collections. A request that Milvus refuses because of its rows is halved until the
poison row stands alone and is rejected; the others land.

One request is under way at a time, so no key is ever in two, and one whose outcome is unknown (a time-out, a broken connection, a wrong
count) is sent again unchanged until it is acknowledged, before anything newer. Milvus Lite allows no more; against a server, two or
three beside each other were no faster reliably (0.7 to 1.3 times, Milvus 2.3.5).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from connector import faults
from connector.errors import BadRows, RequestTooLarge, Transient
from connector.interfaces import Receipt
from connector.milvus.client import Connection
from connector.milvus.columns import Absent, Vectors, check_vectors, take, take_absent, upsert_request
from connector.milvus.literals import in_filter
from connector.milvus.pace import Pace
from connector.milvus.reading import Reader
from connector.record import Key, Row, Window
from connector.retry import pause, retry
from connector.schema.spec import CollectionSpec

MAX_REQUEST_BYTES = 8 << 20
"""A server takes 64 MiB; smaller requests cost nothing and leave room for slow networks."""

MAX_REQUEST_ROWS = 2_048
"""A whole window; more rows a request are no faster."""

_KEYS_A_FILTER = 1_000


class MilvusSink:
    """Writes to one physical collection; implements `interfaces.Sink`.

    Args:
        connection: Open; stays the caller's to close.
        collection: Physical name, never an alias.
        spec: What the collection holds.
        max_request_bytes: Most bytes of one request.
        max_request_rows: Most rows of one request.
        moved: Called with the bytes of every request that was acknowledged.
    """

    def __init__(
        self,
        connection: Connection,
        collection: str,
        spec: CollectionSpec,
        *,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        max_request_rows: int = MAX_REQUEST_ROWS,
        moved: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.collection = collection
        self.spec = spec
        self._connection = connection
        self._reader = Reader(connection, collection, spec)
        self._key = spec.primary.name
        self._what = f"upsert into {collection}"
        self._max_bytes = max_request_bytes
        self._max_rows = max_request_rows
        self._good_bytes = max_request_bytes
        self._pace = Pace(sleep=pause)
        self._moved = moved

    def write(self, window: Window) -> Receipt:
        """Upserts the rows of a window that are not in `window.bad`; returns when they are acknowledged.

        Raises:
            SchemaError: A vector array has the wrong shape; nothing was sent.
        """
        unfit = check_vectors(self.spec, window.vectors, len(window.rows), window.absent)
        rejects = {index: why for index, why in unfit.items() if index not in window.bad}
        good = [index for index in range(len(window.rows)) if index not in window.bad and index not in rejects]
        last = {window.rows[index][self._key]: index for index in good}
        chosen = sorted(last.values())
        for indices in self._pieces(chosen, window.nbytes):
            rejects |= self._send(window, indices)
        faults.hit("sink.acknowledged")
        return Receipt([index for index in good if last[window.rows[index][self._key]] not in rejects], rejects)

    def delete(self, keys: Sequence[Key]) -> int:
        """Deletes by primary key; unknown keys are no error. Returns how many were asked for."""
        for some in _chunks(list(keys)):
            condition = in_filter(self._key, some)
            self._connection.call(f"delete rows of {self.collection}", self._connection.client.delete, self.collection, filter=condition)
        return len(keys)

    def read(self, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Rows by primary key with exactly these fields, strongly consistent; a missing key is left out."""
        asked = list(dict.fromkeys([*fields, self._key]))
        found: dict[Key, Row] = {}
        for some in _chunks(list(dict.fromkeys(keys))):
            rows = self._reader.query(in_filter(self._key, some), asked)
            found |= {row[self._key]: {name: row[name] for name in fields} for row in rows}
        return found

    def scan(self, namespace: str | None, fields: Sequence[str]) -> Iterator[Row]:
        """Every row of a namespace (None: of the collection) with exactly these fields, in no promised order."""
        return self._reader.scan(namespace, fields)

    def count(self, namespace: str | None = None) -> int:
        """How many rows there are, strongly consistent."""
        return self._reader.count(namespace)

    def _pieces(self, indices: list[int], nbytes: int) -> list[list[int]]:
        """Cuts them evenly, so that each piece has at most the rows, and about the bytes, of one request."""
        count = max(-(-len(indices) // self._max_rows), -(-nbytes // self._good_bytes), 1)
        size = -(-len(indices) // count)
        return [indices[start : start + size] for start in range(0, len(indices), size or 1)]

    def _send(self, window: Window, indices: list[int]) -> dict[int, str]:
        """Sends these rows, in halves if they are too large or hold a poison row; returns why rows were refused."""
        try:
            rows = [window.rows[index] for index in indices]
            self._request(rows, take(window.vectors, indices), take_absent(window.absent, indices))
        except (RequestTooLarge, BadRows) as error:
            reason = error.message.removeprefix(f"{self._what}: ")
        else:
            return {}
        if len(indices) == 1:
            return {indices[0]: reason}
        middle = len(indices) // 2
        return self._send(window, indices[:middle]) | self._send(window, indices[middle:])

    def _request(self, rows: list[Row], vectors: Vectors, absent: Absent) -> None:
        """Sends rows until they are acknowledged.

        Raises:
            RequestTooLarge: By our bound, or the server's, which is kept in mind.
            Transient: Milvus stayed away past the retry deadline.
        """
        request = upsert_request(self.collection, self.spec, rows, vectors, absent)
        size = request.ByteSize()
        bound = self._good_bytes if len(rows) > 1 else self._max_bytes
        if size > bound:
            raise RequestTooLarge(f"{size} bytes, but a request may have {bound}")
        if self._connection.server.lite and self.spec.dynamic:
            self.delete([row[self._key] for row in rows])  # Lite would keep old keys of the dynamic field

        policy = replace(self._connection.settings.policy, paced=True)
        latest = time.monotonic() + policy.deadline

        def attempt() -> None:
            with self._pace.turn(size, latest):
                self._connection.once(self._what, self._upsert, request)

        try:
            retry(attempt, policy, self._what)
        except RequestTooLarge:
            self._good_bytes = min(self._good_bytes, size // 2) if len(rows) > 1 else self._good_bytes
            raise
        self._moved(size)

    def _upsert(self, request: Any, timeout: float) -> None:
        faults.hit("sink.sent")
        client = self._connection.client
        handler, context = client._get_connection(), client._generate_call_context()  # noqa: SLF001 - the public call takes rows only
        options = {"schema": {"fields": []}, "context": context, "timeout": timeout, "retry_on_rate_limit": False}
        done = handler.upsert(self.collection, [], upsert_param=request, **options)
        if done.upsert_count != request.num_rows:
            raise Transient(f"{done.upsert_count} rows acknowledged of {request.num_rows} sent to {self.collection}")


def _chunks(keys: list[Key]) -> Iterator[list[Key]]:
    for start in range(0, len(keys), _KEYS_A_FILTER):
        yield keys[start : start + _KEYS_A_FILTER]

"""A sink in memory: what a collection would hold, as a dict, with faults on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from connector.errors import ConnectorError
from connector.interfaces import Receipt
from connector.record import Key, Row, Window


@dataclass
class MemorySink:
    """Keeps rows by primary key; vectors stand in the row under their field's name, None where there is none.

    Attributes:
        primary: Name of the primary key.
        rows: The collection.
        refuse: Says why a row is refused, or None; refused rows are rejected as a server would.
        fail: Errors to raise, one a call of `write`; None for a call that passes.
        writes: Keys of each call of `write`.
        deletes: Keys of each call of `delete`.
    """

    primary: str = "id"
    rows: dict[Key, Row] = field(default_factory=dict)
    refuse: Callable[[Row], str | None] = lambda _: None
    fail: list[ConnectorError | None] = field(default_factory=list)
    writes: list[list[Key]] = field(default_factory=list)
    deletes: list[list[Key]] = field(default_factory=list)

    def write(self, window: Window) -> Receipt:
        """Upserts, unless told to fail or refuse."""
        error = self.fail.pop(0) if self.fail else None
        if error is not None:
            raise error
        receipt = Receipt([])
        sent: list[Key] = []
        for index, row in enumerate(window.rows):
            if index in window.bad:
                continue
            why = self.refuse(row)
            if why is not None:
                receipt.rejects[index] = why
                continue
            vectors = {name: None if vector is None else np.array(vector) for name, vector in window.vectors_of(index).items()}
            self.rows[row[self.primary]] = {**row, **vectors}
            sent.append(row[self.primary])
            receipt.acknowledged.append(index)
        self.writes.append(sent)
        return receipt

    def delete(self, keys: Sequence[Key]) -> int:
        """Deletes; unknown keys are no error."""
        self.deletes.append(list(keys))
        for key in keys:
            self.rows.pop(key, None)
        return len(keys)

    def read(self, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Rows by key."""
        return {key: {name: self.rows[key][name] for name in fields} for key in keys if key in self.rows}

    def scan(self, namespace: str | None, fields: Sequence[str]) -> Iterator[Row]:
        """Rows of a namespace."""
        for row in list(self.rows.values()):
            if namespace is None or row["connector_namespace"] == namespace:
                yield {name: row[name] for name in fields}

    def count(self, namespace: str | None = None) -> int:
        """How many rows a namespace has."""
        return sum(1 for _ in self.scan(namespace, []))

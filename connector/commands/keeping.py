"""A sink that writes nowhere: it checks what would be sent, keeps the first row to show, and forgets the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from connector.interfaces import Receipt
from connector.milvus.columns import check_vectors
from connector.record import Key, Row, Window
from connector.schema.spec import CollectionSpec

SHOWN = 4
"""Numbers of a vector that are shown."""


class KeepingSink:
    """Implements `interfaces.Sink` over nothing.

    Args:
        spec: The collection that it stands for.

    Attributes:
        first: The first row that would be written, its vectors shortened to text; None until there is one.
    """

    def __init__(self, spec: CollectionSpec) -> None:
        self.first: Row | None = None
        self._spec = spec

    def write(self, window: Window) -> Receipt:
        """Acknowledges every good row.

        Raises:
            SchemaError: A vector array has the wrong shape.
        """
        unfit = check_vectors(self._spec, window.vectors, len(window.rows), window.absent)
        rejects = {index: why for index, why in unfit.items() if index not in window.bad}
        good = [index for index in range(len(window.rows)) if index not in window.bad and index not in rejects]
        if good and self.first is None:
            self.first = {**window.rows[good[0]], **{name: shortened(vector) for name, vector in window.vectors_of(good[0]).items()}}
        return Receipt(good, rejects)

    def delete(self, keys: Sequence[Key]) -> int:
        """Counts them."""
        return len(keys)

    def read(self, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Nothing."""
        del keys, fields
        return {}

    def scan(self, namespace: str | None, fields: Sequence[str]) -> Iterator[Row]:
        """Nothing."""
        del namespace, fields
        return iter(())

    def count(self, namespace: str | None = None) -> int:
        """None."""
        del namespace
        return 0


def shortened(vector: Any) -> str:
    """A vector as text: its first numbers, and how many there are."""
    if vector is None:
        return "none"
    if isinstance(vector, dict):
        some = ", ".join(f"{index}: {weight:.4g}" for index, weight in list(vector.items())[:SHOWN])
        return f"{{{some}, ... {len(vector)} weights}}"
    return f"[{', '.join(f'{number:.4g}' for number in vector[:SHOWN])}, ... {len(vector)} numbers]"

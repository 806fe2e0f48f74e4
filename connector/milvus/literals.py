"""Turns values into the literals of Milvus's filter language; nothing else makes a filter from data (`filters.py` takes them from here).

A key may be any string, so a filter made by pasting strings would let a file's name delete a collection. pymilvus's own `ids=` does
not escape, and filter templates need a server of 2.5; this quoting is read back exactly by Milvus Lite and by servers since 2.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.record import Key

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def quote(value: str) -> str:
    """A VARCHAR literal: what Milvus reads back is exactly `value`."""
    return f'"{value.translate(_ESCAPES)}"'


def literal(value: Key) -> str:
    """A literal of a VARCHAR or an INT64 value."""
    return quote(value) if isinstance(value, str) else str(int(value))


def equals(field: str, value: Key) -> str:
    """The filter `field == value`; `field` is a name from a schema, never data."""
    return f"{field} == {literal(value)}"


def in_filter(field: str, keys: Sequence[Key]) -> str:
    """The filter that matches rows whose `field` is one of `keys`.

    Raises:
        ValueError: `keys` is empty; Milvus refuses an empty list.
    """
    if not keys:
        raise ValueError("an empty list matches nothing: do not ask")
    return f"{field} in [{','.join(map(literal, keys))}]"

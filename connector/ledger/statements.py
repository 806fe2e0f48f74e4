"""Puts many values into few statements, because every one costs a start, an end, and a turn of the interpreter's lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

MOST_VALUES = 900
"""Of one statement; builds of SQLite before 3.32 take 999."""


def chunks(keys: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """The values in as many as one statement takes."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


def insert(db: sqlite3.Connection, head: str, rows: Iterable[Sequence[Any]], tail: str = "") -> None:
    """What `executemany` does with an INSERT, but many rows a statement.

    That takes three quarters of the time, and the interpreter's lock is given up, and waited for again, once for all of them.

    Args:
        db: The file.
        head: The statement up to VALUES.
        rows: All of one length.
        tail: What follows the values.
    """
    left = list(rows)
    if left:
        values = f"({marks(left[0])})"
        for some in chunks(left, MOST_VALUES // len(left[0])):
            db.execute(f"{head} VALUES {','.join([values] * len(some))} {tail}", [value for row in some for value in row])


def marks(values: Sequence[Any]) -> str:
    """As many question marks."""
    return ",".join("?" * len(values))

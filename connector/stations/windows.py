"""Groups rows into windows: as many rows as fit, in listing order, from a part of one document or from hundreds.

A window is bounded by rows, by bytes of inputs and vectors, and by documents (those without rows count too: they ride along so that the
ledger commits them in listing order). A document that comes twice, as a cursor source may have it, never stands twice in one window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.record import Part, Row, Visit, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """Bounds of one window.

    Attributes:
        rows: Most rows.
        nbytes: Most bytes of inputs and vectors; a single larger row makes a window of its own.
        vector_bytes: Bytes of all vectors of one row.
        documents: Most documents.
    """

    rows: int = 2048
    nbytes: int = 16 << 20
    vector_bytes: int = 0
    documents: int = 2048


@dataclass(slots=True)
class _Open:
    """A window being filled."""

    window: Window = field(default_factory=lambda: Window(parts=[], rows=[]))
    keys: set[str] = field(default_factory=set)


def windows(visits: Iterable[Visit], limits: WindowLimits) -> Iterator[Window]:
    """Yields the rows of `visits` in windows; takes them out of the visits.

    If `visits` fails, what came before is yielded first: a source that always fails at the same place still makes progress.
    """
    filling = _Open()
    failed: list[Exception] = []
    for visit in _whole(visits, failed):
        if visit.key in filling.keys or len(filling.window.parts) >= limits.documents:
            yield filling.window
            filling = _Open()
        rows, visit.rows = visit.rows, ()
        sizes, visit.sizes = visit.sizes or map(row_bytes, rows), ()
        start = len(filling.window.rows)
        for ordinal, (row, nbytes) in enumerate(zip(rows, sizes, strict=True)):
            size = nbytes + limits.vector_bytes
            if _full(filling.window, size, limits):
                visit.fresh = visit.fresh and not ordinal
                _add(filling, visit, start, ordinal, last=False)
                yield filling.window
                filling, start = _Open(), 0
            filling.window.rows.append(row)
            filling.window.nbytes += size
        _add(filling, visit, start, len(rows), last=True)
    if filling.window.parts:
        yield filling.window
    if failed:
        raise failed[0]


def _whole(visits: Iterable[Visit], failed: list[Exception]) -> Iterator[Visit]:
    """The visits up to a failure, which is noted."""
    try:
        yield from visits
    except Exception as error:  # noqa: BLE001 - it is raised again, after what came before it
        failed.append(error)


def _full(window: Window, size: int, limits: WindowLimits) -> bool:
    count = len(window.rows)
    return count >= limits.rows or (count > 0 and window.nbytes + size > limits.nbytes)


def _add(filling: _Open, visit: Visit, start: int, done: int, *, last: bool) -> None:
    """Notes that the rows from `start` to the window's end are this visit's, up to its ordinal `done`."""
    stop = len(filling.window.rows)
    if last or stop > start:
        filling.window.parts.append(Part(visit, start, stop, done - (stop - start), last))
        filling.keys.add(visit.key)


def row_bytes(row: Row) -> int:
    """Estimate of the memory a row's values take: exact for text, bytes and arrays, 16 for anything else."""
    return sum([len(value) if type(value) is str else _value_bytes(value) for value in row.values()])  # most values are text


def _value_bytes(value: Any) -> int:
    if type(value) in _PLAIN:
        return 16
    nbytes = getattr(value, "nbytes", None)
    if nbytes is not None:
        return int(nbytes)
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return 16 + sum(_value_bytes(key) + _value_bytes(item) for key, item in value.items())
    return 16 + sum(map(_value_bytes, value)) if isinstance(value, list | tuple) else 16


_PLAIN = frozenset({int, float, bool, type(None)})

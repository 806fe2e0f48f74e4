"""Lists what a test wants, crashes where it wants, and proves that a source keeps the contract of `interfaces.Source`."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from connector.errors import DocumentError
from connector.interfaces import Source
from connector.record import Document, Gap, Payload, Position, Removed


@dataclasses.dataclass(slots=True)
class Abort:
    """An item of a `ListSource` at which reading raises.

    Attributes:
        error: What is raised.
        times: How often; after that the item is passed over. None: always.
    """

    error: BaseException = dataclasses.field(default_factory=lambda: RuntimeError("aborted on purpose"))
    times: int | None = None

    def strike(self) -> None:
        """Raises, unless its times are up."""
        if self.times == 0:
            return
        self.times = None if self.times is None else self.times - 1
        raise self.error


Item: TypeAlias = Document | Removed | Gap | Abort | dict[str, Any]
"""A dict is a document of one row whose key is its entry `key`, else its number from 1."""


class ListSource:
    """A source over a list, whose positions are the numbers of its items, from 1.

    Args:
        items: What it lists. The list is kept, not copied: what a test appends is listed next time.
        mode: "cursor" or "listing".

    Attributes:
        opened: Keys of the documents that were opened, in order of opening.
    """

    mode: Literal["listing", "cursor"]

    def __init__(self, items: list[Any], mode: Literal["listing", "cursor"] = "cursor") -> None:
        self.mode = mode
        self.items: list[Item] = items
        self.opened: list[str] = []

    def partitions(self) -> list[str]:
        """One part, ""."""
        return [""]

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Yields the items, in cursor mode those after number `after`; raises at an `Abort`."""
        del partition
        first = after or 0 if self.mode == "cursor" else 0
        for number, item in enumerate(self.items[first:], first + 1):
            if isinstance(item, Abort):
                item.strike()
            else:
                yield item if isinstance(item, Gap) else self._placed(item, number)

    def _placed(self, item: Document | Removed | dict[str, Any], number: int) -> Document | Removed:
        """The item with its position, and with an `open` that is noted."""
        position = number if self.mode == "cursor" else None
        if isinstance(item, Removed):
            return dataclasses.replace(item, position=item.position or position)
        if isinstance(item, dict):
            row = item
            item = Document(key=str(row.get("key", number)), open=lambda: Payload(dict(row)))
        return dataclasses.replace(item, position=item.position or position, open=self._noted(item))

    def _noted(self, document: Document) -> Callable[[], Payload]:
        def opened() -> Payload:
            self.opened.append(document.key)
            return document.open()

        return opened


def check_source(make: Callable[[], Source]) -> None:
    """Proves that a source keeps its contract; for a plugin's own tests.

    Checked: parts are stable; two listings give the same keys in the same order, and the same versions where both have one; keys are
    valid and, in a listing, unique; listing opens no document; a document opens in another thread after the listing has ended,
    with a payload or a DocumentError; a cursor source goes on after every position with exactly what followed it.

    Args:
        make: Makes the source, configured over unchanging data that holds at least one document. Called many times.

    Raises:
        AssertionError: A promise is broken; the message says which, where, and found against wanted.
    """
    source = make()
    parts = source.partitions()
    _claim(source.mode in ("listing", "cursor"), f"mode: wants listing or cursor, found {source.mode!r}")
    _claim(len(parts) == len(set(parts)) > 0, f"partitions: wants at least one and no name twice, found {parts!r}")
    again = make().partitions()
    _claim(parts == again, f"partitions: not stable, first {parts!r}, then {again!r}")
    with _opened_files() as by_listing:
        listed = {part: list(source.read(part, None)) for part in parts}
    _check_keys([item for items in listed.values() for item in items], source.mode)
    for part, items in listed.items():
        _same(items, list(make().read(part, None)), f"partition {part!r}: two listings differ")
        if source.mode == "cursor":
            _check_positions(make, part, items)
    _check_open([item for items in listed.values() for item in items if isinstance(item, Document)], by_listing)


def _check_keys(items: list[Document | Removed | Gap], mode: str) -> None:
    keys = [item.key for item in items if not isinstance(item, Gap)]
    _claim(bool(keys), "the source lists nothing: there is nothing to check")
    for key in keys:
        _claim(isinstance(key, str) and key != "" and "\0" not in key, f"key {key!r}: wants text, not empty, without U+0000")
        _claim(key.isascii() or not any("\ud800" <= c <= "\udfff" for c in key), f"key {key!r}: not encodable as UTF-8")
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    _claim(mode == "cursor" or twice is None, f"key {twice!r}: listed more than once, so one document would replace the other")


def _check_positions(make: Callable[[], Source], part: str, items: list[Document | Removed | Gap]) -> None:
    """Reads on after every item."""
    for number, item in enumerate(items, 1):
        if isinstance(item, Gap):
            continue
        where = f"partition {part!r}, item {number} ({item.key!r})"
        _claim(item.position is not None, f"{where}: a cursor source gives every item a position, found None")
        stored = json.loads(json.dumps(item.position))
        _claim(stored == item.position, f"{where}: the position {item.position!r} comes back from JSON as {stored!r}")
        _same(items[number:], list(make().read(part, stored)), f"{where}: reading on after position {stored!r} gives other items")


def _check_open(documents: list[Document], by_listing: Counter[str]) -> None:
    """Opens every document in another thread, and looks whether the listing had opened its file before."""
    with ThreadPoolExecutor(1) as pool:
        opened = list(pool.map(_open, documents))
    users = Counter(path for paths in opened for path in set(paths))
    for document, paths in zip(documents, opened, strict=True):
        early = [path for path in paths if users[path] == 1 and by_listing[path]]
        _claim(not early or len(documents) == 1, f"document {document.key!r}: the listing opened {early[:1]!r} already; only open() may")


def _open(document: Document) -> Counter[str]:
    with _opened_files() as paths:
        try:
            payload = document.open()
        except DocumentError:
            return paths
        except Exception as error:
            raise AssertionError(f"document {document.key!r}: open() wants a payload or a DocumentError, found {error!r}") from error
    wrong = not isinstance(payload, Payload) or not all(isinstance(name, str) for name in payload.fields)
    _claim(not wrong, f"document {document.key!r}: open() wants a Payload with named fields, found {payload!r:.200}")
    typed = payload.data is None or payload.media_type is not None
    _claim(typed, f"document {document.key!r}: a payload with bytes wants a media type, found None")
    return paths


def _same(first: Iterable[Document | Removed | Gap], second: Iterable[Document | Removed | Gap], what: str) -> None:
    """Compares kind, key and version, item by item; a version that is unknown once is no difference."""
    one, two = [_told(item) for item in first], [_told(item) for item in second]
    for number, (a, b) in enumerate(zip(one, two, strict=False), 1):
        known = a[2] is not None and b[2] is not None
        _claim(a[:2] == b[:2] and (a[2] == b[2] or not known), f"{what}: at item {number} wanted {a}, found {b}")
    _claim(len(one) == len(two), f"{what}: wanted {len(one)} items, found {len(two)}")


def _told(item: Document | Removed | Gap) -> tuple[str, str, str | None]:
    version = item.version if isinstance(item, Document) else None
    return type(item).__name__, item.where if isinstance(item, Gap) else item.key, version


def _claim(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


_watch = threading.local()


@contextmanager
def _opened_files() -> Iterator[Counter[str]]:
    """Counts the paths that this thread opens, through Python's audit events."""
    if not getattr(_audit, "installed", False):
        sys.addaudithook(_audit)
        setattr(_audit, "installed", True)  # noqa: B010  # mypy knows no attributes of functions
    _watch.paths = Counter()
    try:
        yield _watch.paths
    finally:
        _watch.paths = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    paths = getattr(_watch, "paths", None) if event == "open" else None
    if paths is not None:
        paths[str(arguments[0])] += 1

"""The source kit itself: it lists what it is given and finds every broken promise."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.errors import DocumentError
from connector.record import Document, Gap, Payload, Position, Removed
from connector.testing.sources import Abort, ListSource, check_source


def empty() -> Payload:
    """A payload of no fields."""
    return Payload({})


def test_positions_are_numbers_and_reading_goes_on_after_them() -> None:
    """A cursor source over a list reads on after the item whose number is its position."""
    source = ListSource([{"key": "a"}, Removed("b"), Gap("g", "why"), {"x": 1}])
    assert [getattr(item, "position", None) for item in source.read("", None)] == [1, 2, None, 4]
    assert [item.key for item in source.read("", 2) if isinstance(item, Document)] == ["4"]


def test_listing_starts_at_the_beginning() -> None:
    """In listing mode there are no positions, and `after` changes nothing."""
    items = list(ListSource([{"key": "a"}], mode="listing").read("", 1))
    assert [(item.key, item.position) for item in items if isinstance(item, Document)] == [("a", None)]


def test_opened_documents_are_noted() -> None:
    """A test can see which documents were opened, and that listing opened none."""
    source = ListSource([{"key": "a", "x": 1}, Document("b", empty, version="1")])
    items = [item for item in source.read("", None) if isinstance(item, Document)]
    assert source.opened == []
    assert items[1].version == "1"
    assert items[0].open() == Payload({"key": "a", "x": 1})
    assert source.opened == ["a"]


def test_abort_raises_at_its_place() -> None:
    """What stands before an Abort is listed, then it raises, as often as it is told to."""
    source = ListSource([{}, Abort(KeyError("x"), times=1), {}])
    items = source.read("", None)
    next(items)
    with pytest.raises(KeyError):
        next(items)
    assert len(list(source.read("", None))) == 2


def test_good_sources_pass() -> None:
    """A source that keeps the contract passes, in both modes, with removals, gaps and documents that cannot be opened."""

    def refuse() -> Payload:
        raise DocumentError("broken")

    items = [{"key": "a"}, Removed("b"), Gap("g", "why"), Document("c", refuse)]
    check_source(functools.partial(ListSource, items))
    check_source(functools.partial(ListSource, items, mode="listing"))


class Broken(ListSource):
    """A source that breaks one promise."""

    def __init__(self, promise: str, folder: Path) -> None:
        super().__init__([{"key": "a"}, {"key": "b"}], mode="cursor" if "position" in promise else "listing")
        self.promise = promise
        self.folder = folder

    def partitions(self) -> list[str]:
        """Parts, possibly none, doubled or different each time."""
        return {"no parts": [], "doubled part": ["", ""], "other parts": [str(next(COUNT))]}.get(self.promise, [""])

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Items, with something wrong."""
        if self.promise == "position off by one" and after:
            after -= 1
        for item in super().read(partition, after):
            yield self.broken(item) if isinstance(item, Document) else item

    def broken(self, item: Document) -> Document:
        """Breaks one document."""
        key, number = item.key, str(next(COUNT))
        path = self.folder / key
        changes: dict[str, Callable[[], dict[str, Any]]] = {
            "other keys": lambda: {"key": key + number},
            "other versions": lambda: {"version": number},
            "same key": lambda: {"key": "a"},
            "key with U+0000": lambda: {"key": f"{key}\0"},
            "key no text": lambda: {"key": f"{key}\udcff"},
            "no position": lambda: {"position": None},
            "position no JSON": lambda: {"position": (1, 2)},
            "opened early": lambda: {"version": path.read_text(), "open": lambda: Payload({"x": path.read_text()})},
            "open raises": lambda: {"open": lambda: 1 / 0},
            "open gives a dict": lambda: {"open": dict},
            "bytes without a type": lambda: {"open": lambda: Payload({}, b"")},
        }
        for name, value in changes.get(self.promise, dict)().items():
            setattr(item, name, value)
        return item


COUNT = itertools.count()


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        ("no parts", "partitions: wants at least one"),
        ("doubled part", "no name twice"),
        ("other parts", "partitions: not stable"),
        ("other keys", "partition '': two listings differ: at item 1 wanted"),
        ("other versions", "two listings differ"),
        ("same key", "key 'a': listed more than once"),
        ("key with U+0000", "without U+0000"),
        ("key no text", "not encodable as UTF-8"),
        ("no position", "item 1 ('a'): a cursor source gives every item a position"),
        ("position no JSON", "the position (1, 2) comes back from JSON as [1, 2]"),
        ("position off by one", "item 1 ('a'): reading on after position 1 gives other items"),
        ("opened early", "document 'a': the listing opened"),
        ("open raises", "document 'a': open() wants a payload or a DocumentError, found ZeroDivisionError"),
        ("open gives a dict", "document 'a': open() wants a Payload"),
        ("bytes without a type", "wants a media type, found None"),
    ],
)
def test_broken_promises_are_found(promise: str, message: str, tmp_path: Path) -> None:
    """Each promise of the contract, broken alone, is found and named with its place."""
    for name in "ab":
        (tmp_path / name).write_text("x")
    with pytest.raises(AssertionError) as caught:
        check_source(lambda: Broken(promise, tmp_path))
    assert message in str(caught.value)


def test_nothing_to_check_is_an_error() -> None:
    """A check over an empty source would prove nothing."""
    with pytest.raises(AssertionError, match="lists nothing"):
        check_source(lambda: ListSource([]))

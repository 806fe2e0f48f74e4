"""Windows: bounded, in order, and nobody's row is lost or doubled at a seam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.record import Document, Payload, Row, Visit, Window
from connector.stations.windows import WindowLimits, row_bytes, windows


def visit(key: str, rows: int, size: int = 0) -> Visit:
    """A document of so many rows of this size."""
    made: list[Row] = [{"text": "x" * size, "name": f"{key}{ordinal}"} for ordinal in range(rows)]
    return Visit(Document(key, lambda: Payload({})), rows=made, total=rows)


def shape(made: list[Window]) -> list[list[tuple[str, int, int, int, bool]]]:
    """The parts of windows as plain values."""
    return [[(part.visit.key, part.start, part.stop, part.first, part.last) for part in window.parts] for window in made]


DOCUMENTS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 9), st.integers(0, 40)), max_size=20)
LIMITS = st.builds(
    WindowLimits, rows=st.integers(1, 8), nbytes=st.integers(1, 200), vector_bytes=st.integers(0, 30), documents=st.integers(1, 5)
)


@given(DOCUMENTS, LIMITS)
def test_any_documents_under_any_limits(documents: list[tuple[str, int, int]], limits: WindowLimits) -> None:
    """Every row comes once, in order, in a window within its limits; every document ends once; parts cover the rows."""
    visits = [visit(f"{key}{number}" if number % 3 else key, rows, size) for number, (key, rows, size) in enumerate(documents)]
    expected = [(id(one), ordinal, row["name"]) for one in visits for ordinal, row in enumerate(one.rows)]
    made = list(windows(visits, limits))
    found = [(id(one), ordinal, window.rows[index]["name"]) for window in made for index, one, ordinal in window.whose()]
    assert found == expected
    assert [id(part.visit) for window in made for part in window.parts if part.last] == [id(one) for one in visits]
    for window in made:
        assert [part.start for part in window.parts] == [0, *(part.stop for part in window.parts)][:-1]
        assert window.parts[-1].stop == len(window.rows) <= limits.rows
        assert len(window.parts) <= limits.documents + 1
        assert window.nbytes == sum(row_bytes(row) + limits.vector_bytes for row in window.rows)
        assert window.nbytes <= limits.nbytes or len(window.rows) == 1
        assert len({part.visit.key for part in window.parts}) == len(window.parts)


def test_a_document_that_straddles_windows() -> None:
    """The parts of one document say where they begin in it, and only the last one ends it."""
    made = list(windows([visit("a", 2), visit("b", 5), visit("c", 1)], WindowLimits(rows=3)))
    assert shape(made) == [
        [("a", 0, 2, 0, True), ("b", 2, 3, 0, False)],
        [("b", 0, 3, 1, False)],
        [("b", 0, 1, 4, True), ("c", 1, 2, 0, True)],
    ]


def test_a_document_that_ends_with_its_window_ends_in_it() -> None:
    """An exactly full window commits its document; nobody waits for the next one."""
    made = list(windows([visit("a", 3), visit("b", 3)], WindowLimits(rows=3)))
    assert shape(made) == [[("a", 0, 3, 0, True)], [("b", 0, 3, 0, True)]]


def test_documents_without_rows_ride_along() -> None:
    """Unchanged, empty and rejected documents are committed in listing order, and need no rows to come out at the end."""
    made = list(windows([visit("a", 0), visit("b", 1), visit("c", 0)], WindowLimits()))
    assert shape(made) == [[("a", 0, 0, 0, True), ("b", 0, 1, 0, True), ("c", 1, 1, 0, True)]]
    assert shape(list(windows([visit("a", 0)], WindowLimits()))) == [[("a", 0, 0, 0, True)]]
    assert list(windows([], WindowLimits())) == []


def test_documents_are_bounded_too() -> None:
    """A million unchanged documents do not wait in one window."""
    made = list(windows((visit(f"d{number}", 0) for number in range(10)), WindowLimits(documents=4)))
    assert [len(window.parts) for window in made] == [4, 4, 2]


def test_one_document_never_stands_twice_in_a_window() -> None:
    """A cursor source may say a document again: the later one is written after the earlier one, in another request."""
    made = list(windows([visit("a", 1), visit("b", 0), visit("a", 1), visit("a", 0)], WindowLimits()))
    assert [[part.visit.key for part in window.parts] for window in made] == [["a", "b"], ["a"], ["a"]]


def test_a_row_larger_than_the_limit_goes_alone() -> None:
    """It is not lost, and nothing else shares its window."""
    made = list(windows([visit("a", 1), visit("b", 1, size=500), visit("c", 1)], WindowLimits(nbytes=100)))
    assert shape(made) == [[("a", 0, 1, 0, True)], [("b", 0, 1, 0, True)], [("c", 0, 1, 0, True)]]


def test_rows_are_taken_out_of_the_visit() -> None:
    """A visit lives until its last window is committed; its rows must not."""
    one = visit("a", 3)
    made = windows([one], WindowLimits(rows=2))
    assert len(next(made).rows) == 2
    assert not one.rows


def test_windows_come_as_soon_as_they_are_full() -> None:
    """Writing begins while the source is still listing."""
    taken = 0

    def source() -> Any:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield visit(f"d{number}", 1)

    next(windows(source(), WindowLimits(rows=3)))
    assert taken == 4


@pytest.mark.parametrize(
    ("row", "nbytes"),
    [
        ({}, 0),
        ({"a": "four", "b": b"12"}, 6),
        ({"a": None, "b": 1}, 32),
        ({"a": ["four", "four"]}, 24),
        ({"a": {"key": "four"}}, 23),
        ({"a": {1: "four", None: {}}}, 16 + 16 + 4 + 16 + 16),
        ({"a": np.zeros(4, np.float32)}, 16),
    ],
)
def test_bytes_of_a_row(row: Row, nbytes: int) -> None:
    """Text, bytes and arrays count in full; rows hold whatever users put in them, and none of it raises."""
    assert row_bytes(row) == nbytes

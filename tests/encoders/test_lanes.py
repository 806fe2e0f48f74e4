"""The lanes of a CPU: a pass's parts queue behind those of the pass before it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import Head, Output, Prepared

torch = pytest.importorskip("torch")

from connector.encoders import lanes  # noqa: E402 - it needs torch
from connector.encoders.vectors import Late  # noqa: E402

WAIT = 20.0
HEADS = [Head()]


class Meeting(lanes.LaneModel):
    """Gives numbers back, one a part. Number 0 waits until number 10 is under way, 20 is too large, 30 fails."""

    def __init__(self) -> None:
        self.met = threading.Event()
        super().__init__(torch.nn.Identity(), "meeting", "fp32", 1, torch.device("cpu"))

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        return [[item] for item in items]

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        return (np.asarray([[item.data] for item in items], dtype=np.float32),)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        number = int(tensors[0][0, 0])
        if number == 0 and not self.met.wait(WAIT):
            raise AssertionError("nobody came")
        if number == 10:
            self.met.set()
        if number == 20:
            raise torch.OutOfMemoryError("no memory")
        if number == 30:
            raise ValueError("no number")
        return [Late((tensors[0],)) for _ in heads]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    """Has two lanes on any machine."""
    monkeypatch.setattr(lanes, "CORES", 2)
    with_lanes = Meeting()
    yield with_lanes
    with_lanes.close()


def _items(*numbers: int) -> list[Prepared]:
    return [Prepared(number, 1, 4) for number in numbers]


def _numbers(outputs: Sequence[Output]) -> list[int]:
    numbers: list[int] = np.asarray(outputs[0])[:, 0].tolist()
    return numbers


def test_a_lane_that_is_free_takes_parts_of_the_next_pass(model: Meeting) -> None:
    """A pass whose part waits for one of the next pass comes to its end, and both give their own numbers in order."""
    first, second = model.submit(_items(0, 1, 2), HEADS), model.submit(_items(10, 11, 12), HEADS)
    assert _numbers(first()) == [0, 1, 2]
    assert _numbers(second()) == [10, 11, 12]


def test_what_fails_says_so_where_it_is_waited_for(model: Meeting) -> None:
    """Neither error touches the pass behind it."""
    short, failing, good = (model.submit(_items(*some), HEADS) for some in ((20, 1), (30, 2), (3, 4)))
    with pytest.raises(OutOfMemory, match="2 inputs do not fit"):
        short()
    with pytest.raises(EncodeError, match="ValueError"):
        failing()
    assert _numbers(good()) == [3, 4]


def test_a_closed_model_takes_nothing(model: Meeting) -> None:
    """It says so at once."""
    model.close()
    with pytest.raises(EncodeError, match="is closed"):
        model.submit(_items(1), HEADS)

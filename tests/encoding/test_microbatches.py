"""Micro-batches of a model that takes the next one before the one under way is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from connector.encoding.microbatches import EncodingCounters, Replica
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import Head, Output, Prepared
from connector.stopwatch import Stopwatch

HEADS = [Head()]


class Queue:
    """A model that gives every item back as its vector, and notes what it was asked, in order.

    Args:
        budget: Of a micro-batch.
        room: Cost that fits in memory.
    """

    precision = "fp32"

    def __init__(self, budget: int, room: int = 1 << 30) -> None:
        self.budget, self.room = budget, room
        self.asked: list[tuple[str, list[int]]] = []

    def submit(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Callable[[], list[Output]]:
        """As `forward`, later."""
        numbers = [item.data for item in items]
        self.asked.append(("submit", numbers))

        def wait() -> list[Output]:
            self.asked.append(("wait", numbers))
            if sum(item.cost for item in items) > self.room:
                raise OutOfMemory("too much")
            return [np.asarray(numbers, dtype=np.float32)[:, None] for _ in heads]

        return wait

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """A pass."""
        return self.submit(items, heads)()

    def close(self) -> None:
        """Nothing is held."""


def _replica(model: Queue, stop: threading.Event | None = None) -> Replica:
    return Replica(model, "queue", EncodingCounters(), Stopwatch(), stop or threading.Event())


def _items(*costs: int) -> list[Prepared]:
    return [Prepared(number, cost, 8) for number, cost in enumerate(costs)]


def _numbers(outputs: Sequence[Output]) -> list[int]:
    numbers: list[int] = np.asarray(outputs[0])[:, 0].tolist()
    return numbers


def test_the_next_one_is_submitted_before_the_one_under_way_is_waited_for() -> None:
    """Two are with the model at any time, in order; each item comes back once, with its own vector."""
    model = Queue(budget=20)
    found = list(_replica(model).run(_items(10, 10, 5, 5, 5, 5, 2), HEADS))
    first, second, third = [0, 1], [2, 3, 4, 5], [6]
    order = [("submit", first), ("submit", second), ("wait", first), ("submit", third), ("wait", second), ("wait", third)]
    assert model.asked == order
    assert [done.indices for done in found] == [first, second, third]
    assert all(done.outputs is not None and _numbers(done.outputs) == done.indices for done in found)


def test_what_does_not_fit_comes_again_in_halves_and_loses_nothing() -> None:
    """Both under way are too large: each is cut again, and each item is still encoded once; a budget that shrank does not grow."""
    model = Queue(budget=80, room=20)
    replica = _replica(model)
    found = list(replica.run(_items(*[10] * 16), HEADS))
    assert sorted(index for done in found for index in done.indices) == list(range(16))
    assert all(done.outputs is not None and _numbers(done.outputs) == done.indices for done in found)
    assert replica.budget == 20
    assert replica.counters.encoded == 16


@pytest.mark.parametrize("costs", [[9, 9, 2, 9], [50, 50, 50, 9, 9, 2], [9] * 5 + [2] * 3])
def test_two_that_do_not_fit_come_to_an_end(costs: list[int]) -> None:
    """What is cut anew is sorted among what is left: a micro-batch that is cut by a cheap item's cost would never become smaller."""
    model = Queue(budget=64, room=13)
    found = list(_replica(model).run(_items(*costs), HEADS))
    assert sorted(index for done in found for index in done.indices) == list(range(len(costs)))
    assert all(done.outputs is not None or costs[done.indices[0]] > 13 for done in found)
    assert len(model.asked) < 100


def test_one_that_does_not_fit_alone_is_told_apart() -> None:
    """The others go through."""
    found = list(_replica(Queue(budget=60, room=20)).run(_items(50, 10, 10), HEADS))
    assert [(done.indices, done.problem) for done in found if done.outputs is None] == [
        ([0], "does not fit in memory even alone: too much")
    ]
    assert sorted(index for done in found if done.outputs is not None for index in done.indices) == [1, 2]


def test_a_stop_waits_for_nothing_that_is_queued() -> None:
    """The batch that was waited for is the last one."""
    stop, model = threading.Event(), Queue(budget=10)
    for done in _replica(model, stop).run(_items(10, 10, 10, 10), HEADS):
        assert done.indices == [0]
        stop.set()
    assert [numbers for what, numbers in model.asked if what == "wait"] == [[0]]


def test_an_error_of_the_next_one_loses_nothing_of_this_one() -> None:
    """A model that refuses a micro-batch when it is given it: what was under way comes first, and the error where it is waited for."""
    model = Queue(budget=10)
    submit = model.submit

    def refuses(items: Sequence[Prepared], heads: Sequence[Head]) -> Callable[[], list[Output]]:
        if items[0].data == 2:
            raise EncodeError("no twos")
        return submit(items, heads)

    model.submit = refuses  # type: ignore[method-assign]
    running = iter(_replica(model).run(_items(10, 10, 10, 10), HEADS))
    assert [next(running).indices, next(running).indices] == [[0], [1]]
    with pytest.raises(EncodeError, match="no twos"):
        next(running)


def test_it_is_known_how_far_it_is() -> None:
    """Given: nothing is left that the model has not got; over: nothing is left that was not waited for."""
    running = _replica(Queue(budget=10)).run(_items(10, 10, 10), HEADS)
    told = [(running.given, running.over)]
    told += [(running.given, running.over) for _ in running]
    assert told == [(False, False), (True, False), (True, False), (True, True)]


class Parts(Queue):
    """Runs micro-batches in parts of a cost of 10, each padded to its own dearest."""

    def _parts(self, items: Sequence[Prepared]) -> list[Sequence[Prepared]]:
        size = max(1, 10 // items[0].cost)
        return [items[:size], *(self._parts(items[size:]) if items[size:] else [])]

    def whole(self, items: Sequence[Prepared], cost: int) -> int:
        """How many fill whole parts."""
        return sum(len(part) for part in self._parts(items)[: cost // 10])

    def padded(self, items: Sequence[Prepared]) -> int:
        """Part by part."""
        return sum(len(part) * part[0].cost for part in self._parts(items))


def test_a_model_that_runs_parts_gets_whole_ones() -> None:
    """Two parts a micro-batch: (6), (4 4), then (3 3 2), (2 2 1 1 1), and what is left; padding is what its parts pad."""
    model = Parts(budget=20)
    replica = _replica(model)
    found = [done.indices for done in replica.run(_items(6, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1, 1), HEADS)]
    assert found == [[0, 1, 2], [3, 4, 5, 6, 7, 8, 9, 10], [11]]
    assert replica.counters.cost == 30
    assert replica.counters.padded == 6 + 8 + 9 + 10 + 1


def test_once_memory_ran_out_parts_do_not_matter() -> None:
    """A micro-batch that did not fit is smaller the next time, whatever would be whole."""
    model = Parts(budget=40, room=12)
    found = list(_replica(model).run(_items(*[5] * 12), HEADS))
    assert sorted(index for done in found for index in done.indices) == list(range(12))
    assert all(done.outputs is not None for done in found)
    assert len(model.asked) < 40

"""Runs prepared inputs through an open model in micro-batches: dearest first, as many as the model's budget allows.

Sorting by cost puts inputs of a length together, so that little is spent on padding; a budget in tokens or pixels keeps a batch of long
inputs as quick to handle as one of short inputs. A model that can gets the next micro-batch before the one under way is done. One that
does not fit in memory halves the budget and is done again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import Head, Model, Output, Prepared, VectorSpec
from connector.stopwatch import Stopwatch

AHEAD = 2
"""Micro-batches that a model has at a time which can be given the next one before the one under way is done."""

LOOK = 2
"""How many times as many items may fill a micro-batch as if all of them were as dear as the first."""

_Outputs: TypeAlias = Callable[[], list[Output]]
"""Waits for a micro-batch's outputs, one a head."""


@dataclass(slots=True)
class Done:
    """A micro-batch that is over.

    Attributes:
        indices: Of its items.
        outputs: One a head; None: nobody could do it.
        problem: Why there are none.
        refused: Why items have no vector, by their place in the batch, as `Model.refused` says.
    """

    indices: list[int]
    outputs: list[Output] | None
    problem: str = ""
    refused: dict[int, str] = field(default_factory=dict)


Wait: TypeAlias = Callable[[], list[Done] | None]
"""Waits for what comes of a micro-batch; None: it is to be cut anew, since less goes through at once from now on."""


class Running:
    """Items on their way through a model in micro-batches, dearest first; iterating waits for one after the other.

    Args:
        items: What is encoded.
        give: Hands the items of these indices to the model.
        cut: How many of the items that are left, dearest first, are the next micro-batch; may be more than there are.
        most: Micro-batches that the model has at a time.
        stop: Ends it between two.
        drain: Whether micro-batches that the model has by then are waited for; else they are lost.
    """

    def __init__(
        self,
        items: Sequence[Prepared],
        give: Callable[[list[int]], Wait],
        cut: Callable[[Iterator[Prepared]], int],
        most: int,
        stop: threading.Event,
        *,
        drain: bool = False,
    ) -> None:
        self._items, self._give, self._cut, self._most, self._stop, self._drain = items, give, cut, most, stop, drain
        self._order: deque[int] = deque()
        self._put_back(range(len(items)))
        self._under_way: deque[tuple[list[int], Wait]] = deque()
        self._hand_over()

    @property
    def given(self) -> bool:
        """Whether the model was given all of it."""
        return not self._order

    @property
    def over(self) -> bool:
        """Whether all of it was waited for."""
        return not self._order and not self._under_way

    def __iter__(self) -> Iterator[Done]:
        while self._under_way and (self._drain or not self._stop.is_set()):
            batch, wait = self._under_way.popleft()
            found = wait()
            if found is None:
                self._put_back(batch)
            self._hand_over()
            yield from found or ()

    def _put_back(self, batch: Iterable[int]) -> None:
        """Has these given to the model, dearest first: a micro-batch is cut by the cost of its first item."""
        self._order = deque(sorted([*batch, *self._order], key=lambda index: -self._items[index].cost))

    def _hand_over(self) -> None:
        """Gives the model what it takes. An error is raised where the micro-batch is waited for: others are under way."""
        while self._order and len(self._under_way) < self._most and not self._stop.is_set():
            count = self._cut(self._items[index] for index in self._order)
            batch = [self._order.popleft() for _ in range(min(count, len(self._order)))]
            self._under_way.append((batch, _given(self._give, batch)))


def _given(give: Callable[[list[int]], Wait], batch: list[int]) -> Wait:
    try:
        return give(batch)
    except Exception as error:  # noqa: BLE001 - it is raised later
        return partial(_raise, error)


def _raise(error: Exception) -> list[Done]:
    raise error


@dataclass(slots=True)
class EncodingCounters:
    """What encoding came to so far.

    Attributes:
        encoded: Inputs that went through a model; an input that fills several fields, or stands twice in a window, counts once.
        reused: Inputs whose vectors were known.
        forwards: Calls of `Model.forward` that came back.
        truncated: Inputs longer than the model reads.
        halvings: Batches that did not fit in memory.
        cost: Sum of what the inputs cost.
        padded: Sum of what the micro-batches cost, padding included.
        room: Sum of what they might have cost.
        startup_s: Seconds spent on loading models.
        mutex: Held while they change: several replicas may count.
    """

    encoded: int = 0
    reused: int = 0
    forwards: int = 0
    truncated: int = 0
    halvings: int = 0
    cost: int = 0
    padded: int = 0
    room: int = 0
    startup_s: float = 0.0
    mutex: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def padding(self) -> float:
        """Share of the computed tokens or pixels that was padding, 0 to 1."""
        return 1.0 - self.cost / self.padded if self.padded else 0.0

    @property
    def fill(self) -> float:
        """How full the micro-batches were, padding included, 0 to 1."""
        return self.padded / self.room if self.room else 0.0


@dataclass(slots=True)
class Replica:
    """An open model and how much it takes at a time.

    Attributes:
        model: The model.
        name: For messages.
        counters: Added to by every run.
        stopwatch: Times the forward passes, as `encode`.
        stop: Ends a run between two micro-batches.
        budget: Cost of a micro-batch; starts as the model's, shrinks when memory runs out.
        shortage: What the model said when memory last ran out.
        submit: The model's, if it can be given a micro-batch before the one under way is done.
        padded: What a micro-batch costs, padding included.
        whole: The model's, if it runs micro-batches in parts and says how many items fill them.
    """

    model: Model
    name: str
    counters: EncodingCounters
    stopwatch: Stopwatch
    stop: threading.Event
    budget: int = field(init=False)
    shortage: str = field(init=False, default="")
    submit: Callable[[Sequence[Prepared], Sequence[Head]], _Outputs] | None = field(init=False)
    padded: Callable[[Sequence[Prepared]], int] = field(init=False)
    whole: Callable[[Sequence[Prepared], int], int] | None = field(init=False)

    def __post_init__(self) -> None:
        self.budget = self.model.budget
        self.padded = getattr(self.model, "padded", _to_the_dearest)
        self.whole = getattr(self.model, "whole", None)
        self.submit = getattr(self.model, "submit", None)

    def run(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Running:
        """The items on their way; iterating raises EncodeError if the model fails."""

        def give(batch: list[int]) -> Wait:
            some, since = [items[index] for index in batch], self.stopwatch.now()
            outputs = partial(self.model.forward, some, heads) if self.submit is None else self.submit(some, heads)
            self.stopwatch.lap("encode", since)
            return partial(self._done, batch, some, outputs)

        return Running(items, give, self.cut, 1 if self.submit is None else AHEAD, self.stop)

    def cut(self, items: Iterator[Prepared]) -> int:
        """How many of these, dearest first, are a micro-batch; once memory ran out, no more than if all were as dear as the first."""
        first = next(items)
        count = max(1, self.budget // max(1, first.cost))
        if self.whole is None or self.budget < self.model.budget:
            return count
        return self.whole([first, *islice(items, count * LOOK - 1)], self.budget)

    def forward(self, items: Sequence[Prepared], batch: list[int], heads: Sequence[Head]) -> Done | None:
        """What comes of these items; None if they do not fit in memory and may be cut."""
        some = [items[index] for index in batch]
        found = self._done(batch, some, partial(self.model.forward, some, heads))
        return found[0] if found else None

    def _done(self, batch: list[int], items: list[Prepared], wait: _Outputs) -> list[Done] | None:
        outputs = self._outputs(items, wait)
        if outputs is not None:
            refused: dict[int, str] = getattr(self.model, "refused", {})
            return [Done(batch, outputs, refused=dict(refused))]
        return None if len(batch) > 1 else [Done(batch, None, f"does not fit in memory even alone: {self.shortage}")]

    def _outputs(self, items: list[Prepared], wait: _Outputs) -> list[Output] | None:
        """The outputs, or None when memory ran out; by then the exception and all that it held are gone."""
        padded = self.padded(items)
        with self.stopwatch.time("encode"):
            self.stopwatch.note(inputs=len(items), cost=padded)
            try:
                outputs = wait()
            except OutOfMemory as error:
                self.shortage = error.message
                with self.counters.mutex:
                    self.counters.halvings += 1
                if len(items) > 1:
                    self.budget = max(1, min(self.budget, len(items) // 2 * max(item.cost for item in items)))
                return None
        with self.counters.mutex:
            self.counters.forwards += 1
            self.counters.encoded += len(items)
            self.counters.truncated += sum(item.truncated for item in items)
            self.counters.cost += sum(item.cost for item in items)
            self.counters.padded += padded
            self.counters.room += max(self.budget, padded)
        self.stopwatch.moved("encode", sum(item.nbytes for item in items))
        return outputs


def _to_the_dearest(items: Sequence[Prepared]) -> int:
    return len(items) * max(item.cost for item in items)


def checked(output: Output, spec: VectorSpec, count: int, name: str) -> Output:
    """An output as the specification of its head promises it.

    Raises:
        EncodeError: Its shape or type is another.
    """
    if spec.kind != "dense":
        if len(output) == count:
            return output
        raise EncodeError(f"encoder {name} gave {len(output)} outputs for {count} inputs", hint="this is a bug of the encoder")
    if isinstance(output, np.ndarray) and output.shape == (count, spec.dim) and output.dtype == np.float32:
        return output
    found = f"{output.dtype} {output.shape}" if isinstance(output, np.ndarray) else type(output).__name__
    raise EncodeError(f"encoder {name} gave {found}, wanted float32 {(count, spec.dim)}", hint="this is a bug of the encoder")


def empty(count: int, spec: VectorSpec) -> npt.NDArray[np.generic]:
    """Room for `count` vectors: zeros (count, dim) float32, or `count` times None where vectors have no fixed length."""
    none: npt.NDArray[Any] = np.full(count, None, dtype=object)
    return none if spec.kind != "dense" else np.zeros((count, spec.dim or 0), dtype=np.float32)


def faults(vectors: Output, metric: str) -> dict[int, str]:
    """Why vector i must not be stored, by i: numbers that are not finite, or no direction where only that counts."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype == object:
        return {}
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    found = {int(i): "the vector holds numbers that are not finite" for i in np.flatnonzero(~np.isfinite(vectors).all(axis=1))}
    zero = {int(i): "the vector is all zeros, which has no direction to compare by COSINE" for i in np.flatnonzero(norms == 0)}
    return {**found, **(zero if metric == "COSINE" else {})}

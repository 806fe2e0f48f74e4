"""Takes lots, which are inputs of one window, through their model: what is known is placed, what is new is encoded, each input once.

A lot may begin while the one before it is under way. Inputs that stand in both wait for the first one's vectors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connector.encoding.binding import Binding
from connector.encoding.microbatches import Done, EncodingCounters, Running, checked
from connector.encoding.placing import make_room, mark, place
from connector.encoding.replicas import Replicas
from connector.encoding.reuse import Reuse, output_of
from connector.encoding.slices import Group, Kept, Slice
from connector.encoding.vectorcache import Vector
from connector.errors import RowError
from connector.interfaces import Prepared
from connector.observe import traces
from connector.record import Window
from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from connector.encoding.stored_vectors import StoredVectors


@dataclass(slots=True)
class _New:
    """An input without vectors: prepared, what names its content, and the rows that it stands in."""

    item: Prepared
    key: bytes | None
    rows: list[int]


@dataclass(slots=True)
class Lot:
    """Inputs of one window on their way, or the window's end.

    Attributes:
        window: The window.
        group: The fields to fill; None: it is the window's end.
        waiting: Inputs that were not given to the model.
        new: Those that were, in this order.
        keys: By space and content what will be known, or is known to come to nothing, when the lot is complete.
        running: The model's work on the new ones.
        error: What went wrong when they were given to it; to be raised when their turn has come.
    """

    window: Window
    group: Group | None
    waiting: list[_New] = field(default_factory=list)
    new: list[_New] = field(default_factory=list)
    keys: set[tuple[int, bytes]] = field(default_factory=set)
    running: Running | None = None
    error: Exception | None = None

    @property
    def given(self) -> bool:
        """Whether the model was given all that it is to be given."""
        return not self.waiting and (self.running is None or self.running.given)

    @property
    def under_way(self) -> bool:
        """Whether the model has still to do, or to be given, some of that."""
        return bool(self.waiting) or (self.running is not None and not self.running.over)


class Lots:
    """Begins and completes lots.

    Args:
        bindings: The encoded fields.
        copies: The open copies of a group's model.
        reuse: Vectors that were paid for before.
        stored: Finds those in the collection that are not there.
        counters: Added to.
        stopwatch: Times `reread`.
        stop: Ends it between two micro-batches.
    """

    def __init__(
        self,
        bindings: Sequence[Binding],
        copies: Callable[[Group], Replicas],
        reuse: Reuse,
        stored: StoredVectors | None,
        counters: EncodingCounters,
        stopwatch: Stopwatch,
        stop: threading.Event,
    ) -> None:
        self._bindings, self._copies, self._reuse, self._stored = bindings, copies, reuse, stored
        self._counters, self._stopwatch, self._stop = counters, stopwatch, stop

    def begin(self, batch: Slice, before: Iterable[Lot]) -> Lot:
        """A lot whose inputs are with the model, but for those that are under way in lots before it."""
        lot = Lot(batch.window, batch.group)
        make_room(lot.window, self._bindings)
        if batch.group is not None:
            try:
                with traces.within(lot.window):
                    lot.waiting = self._sorted(batch, batch.group)
                    self._give(lot, batch.group, {key for one in before for key in one.keys})
            except Exception as error:  # noqa: BLE001 - windows before it are still under way
                lot.error = error
        return lot

    def complete(self, lot: Lot, meanwhile: Callable[[], None]) -> None:
        """Waits for what a lot lacks; lots before it are complete.

        Args:
            lot: The lot.
            meanwhile: Called before the model is waited for.

        Raises:
            EncodeError: A model failed.
            ConfigError: A model cannot be loaded.
        """
        if lot.error is not None:
            raise lot.error
        if lot.group is None:
            return
        with traces.within(lot.window):
            self._place_waiting(lot, lot.group)
            while (lot.running is not None or lot.waiting) and not self._stop.is_set():
                meanwhile()
                for done in lot.running or ():
                    meanwhile()
                    self._place_done(lot, lot.group, done)
                self._give(lot, lot.group)

    def end(self, lots: Iterable[Lot]) -> None:
        """After a stop: keeps what comes of those micro-batches that a model does to their end, since they are paid for."""
        for lot in lots:
            if lot.group is not None:
                for done in lot.running or ():
                    self._place_done(lot, lot.group, done)

    def _sorted(self, batch: Slice, group: Group) -> list[_New]:
        """The inputs that were not known when they were prepared, equal ones once; what was known is placed, and the rest marked."""
        found: list[tuple[list[Vector], list[int]]] = []
        new: dict[object, _New] = {}
        for result, key, rows in zip(batch.results, batch.keys, batch.rows, strict=True):
            if isinstance(result, RowError):
                mark(batch.window, rows, f"field `{group.source}`: {result.message}")
            elif isinstance(result, Kept):
                found.append((result.vectors, rows))
            elif key in new:
                new[key].rows += rows
            else:
                new[id(result) if key is None else key] = _New(result, key, rows)
        self._place_known(batch.window, group, found)
        return list(new.values())

    def _give(self, lot: Lot, group: Group, under_way: Container[tuple[int, bytes]] = ()) -> None:
        """Gives the model those of the waiting inputs whose vectors are neither known nor under way."""
        self._place_waiting(lot, group)
        spaces, new, waiting = self._reuse.spaces(group.bindings) or (), list[_New](), list[_New]()
        for one in lot.waiting:
            waits = one.key is not None and any((space, one.key) in under_way for space in spaces)
            (waiting if waits else new).append(one)
        if new and self._stored is not None:
            with self._stopwatch.time("reread"):
                back = self._stored.find(lot.window, group.bindings, [one.rows for one in new])
            self._place_known(lot.window, group, [(vectors, new[number].rows) for number, vectors in back.items()])
            new = [one for number, one in enumerate(new) if number not in back]
        lot.waiting, lot.new, lot.running = waiting, new, None
        if new and not self._stop.is_set():
            lot.running = self._copies(group).run([one.item for one in new], [binding.head for binding in group.bindings])
        spaces = self._reuse.spaces(group.bindings) or ()
        lot.keys = {(space, one.key) for space in spaces for one in (*new, *waiting) if one.key is not None}

    def _place_waiting(self, lot: Lot, group: Group) -> None:
        """Those of the waiting inputs whose vectors are known by now wait no more."""
        known = self._reuse.find(group.bindings, [one.key for one in lot.waiting if one.key is not None])
        self._place_known(
            lot.window, group, [(known[one.key], one.rows) for one in lot.waiting if one.key is not None and one.key in known]
        )
        lot.waiting = [one for one in lot.waiting if one.key not in known]

    def _place_known(self, window: Window, group: Group, found: Sequence[tuple[list[Vector], list[int]]]) -> None:
        self._counters.reused += len(found)
        if found:
            outputs = [output_of(vectors) for vectors in zip(*(vectors for vectors, _ in found), strict=True)]
            place(window, group.bindings, outputs, [rows for _, rows in found])

    def _place_done(self, lot: Lot, group: Group, done: Done) -> None:
        some = [lot.new[index] for index in done.indices]
        rows_of = [one.rows for one in some]
        if done.outputs is None:
            mark(lot.window, [row for rows in rows_of for row in rows], f"field `{group.source}`: {done.problem}")
            return
        found = zip(done.outputs, group.bindings, strict=True)
        good = [checked(output, binding.spec, len(some), group.name) for output, binding in found]
        for index, reason in done.refused.items():
            mark(lot.window, rows_of[index], f"field `{group.source}`: {reason}")
        wrong = place(lot.window, group.bindings, good, rows_of)
        fit = {index: one.key for index, one in enumerate(some) if one.key is not None and index not in wrong}
        self._reuse.add(group.bindings, fit, good)

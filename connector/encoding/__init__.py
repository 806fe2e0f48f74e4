"""ENCODE: fills the vector fields of windows from their rows. Order is kept; a row that cannot be encoded is noted, never dropped.

One thread pulls windows from the stations before, has their inputs prepared, and holds a bounded number of prepared bytes ready. Another
one keeps the model busy: as soon as it was given all inputs of a lot, it is given those of the next one, so it does not stand still
while vectors are put in their places, or from one window to the next. Meanwhile a third one writes a window's vectors to the cache.
Models are loaded when the first input is ready for them, so a run without anything new loads none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from connector.encoding.binding import Binding, bind, head_of, make_encoder, probed
from connector.encoding.handle import EncoderHandle, encode_query
from connector.encoding.lots import Lot, Lots
from connector.encoding.microbatches import EncodingCounters, Replica
from connector.encoding.probing import Goldens, opened
from connector.encoding.quantising import ENOUGH, QUANTISED, fit, quantised
from connector.encoding.replicas import Replicas, spread
from connector.encoding.reuse import Reuse
from connector.encoding.slices import MAX_PREPARED, Group, Slice, cut, grouped, merged, prepared
from connector.encoding.vectorcache import VectorCache
from connector.flow import Ahead, Aside, parallel_map, prefetch
from connector.interfaces import DeviceSpec
from connector.record import Window
from connector.schema.spec import VectorFieldSpec
from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from connector.encoding.stored_vectors import StoredVectors

__all__ = ["Binding", "EncoderHandle", "Encoding", "EncodingCounters", "bind", "encode_query", "head_of", "make_encoder"]


AHEAD = 4
"""Lots and ends of windows that are under way at a time."""


class Encoding:
    """The station. Use it as a context manager; leaving it frees the models.

    Args:
        bindings: The encoded fields.
        devices: By field name; a field that is not there takes the defaults of `DeviceSpec`.
        ready: Fields whose vectors come ready-made from their source column.
        stop: Set from outside to end between two micro-batches; the window under way is not yielded.
        workers: Threads that prepare inputs; with 0 everything happens in the caller's thread.
        stopwatch: Adds up the seconds of `prepare` and `encode`.
        goldens: What the stamp knows of the encoders.
        cache: Vectors that were paid for before.
        stored: Finds those that the cache lacks in the collection.

    Attributes:
        counters: What it came to so far.
        workers: As given; may be changed between two calls.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of these
        self,
        bindings: Sequence[Binding],
        devices: Mapping[str, DeviceSpec] | None = None,
        *,
        ready: Sequence[VectorFieldSpec] = (),
        stop: threading.Event | None = None,
        workers: int = 2,
        stopwatch: Stopwatch | None = None,
        goldens: Goldens | None = None,
        cache: VectorCache | None = None,
        stored: StoredVectors | None = None,
    ) -> None:
        self.counters = EncodingCounters()
        self._bindings = list(bindings)
        self._ready = list(ready)
        self._groups = grouped(bindings, devices or {})
        self._stop = stop or threading.Event()
        self.workers = workers
        self._stopwatch = stopwatch or Stopwatch()
        self._goldens = goldens or Goldens()
        self._reuse = Reuse(cache, self._goldens)
        self._lots = Lots(self._bindings, self._copies, self._reuse, stored, self.counters, self._stopwatch, self._stop)
        self._replicas: dict[tuple[int, DeviceSpec], Replicas] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._replicas.clear()
        self._open.close()

    @property
    def precisions(self) -> dict[str, str]:
        """What each model that is loaded computes in, by the encoder's name."""
        return {copies.first.name: copies.first.model.precision for copies in self._replicas.values()}

    def __call__(self, windows: Iterator[Window]) -> Iterator[Window]:
        """Yields the windows with `vectors` and `bad` filled in; a vector that must not be stored stays zeros.

        With workers, `windows` is pulled from another thread (one at a time), and encoded in a further one, a window ahead.

        Raises:
            EncodeError: A model failed.
            ConfigError: A model cannot be loaded.
        """
        with Aside("cache") as aside:
            encoded = prefetch(self._encoded(windows, aside), depth=min(self.workers, 1))
            try:
                for window, kept in encoded:
                    kept()
                    yield window
            finally:
                encoded.close()

    def _encoded(self, windows: Iterator[Window], aside: Aside) -> Iterator[tuple[Window, Callable[[], None]]]:
        """The windows, each with a function that waits until its vectors are on disk."""
        batches, lots = self._prepared(windows), deque[Lot]()
        try:
            while not self._stop.is_set() and (lots or self._begin(lots, batches)):
                self._lots.complete(lots[0], partial(self._look_ahead, lots, batches))
                if self._stop.is_set():
                    break
                lot = lots.popleft()
                if lot.group is None:
                    self._quantise(lot.window)
                    yield lot.window, self._reuse.seal(aside if self.workers else None)
            self._lots.end(lots)
        finally:
            batches.close()

    def _prepared(self, windows: Iterator[Window]) -> Ahead[Slice]:
        prepare = partial(prepared, stopwatch=self._stopwatch, reuse=self._reuse)
        slices = parallel_map(prepare, cut(windows, self._groups, self._ready), workers=self.workers, ahead=self.workers + 2)
        return prefetch(merged(slices), depth=min(self.workers, 2), size=lambda batch: batch.nbytes, max_bytes=MAX_PREPARED)

    def _begin(self, lots: deque[Lot], batches: Ahead[Slice]) -> bool:
        """Begins the next lot, if there is one."""
        batch = next(batches, None)
        if batch is not None:
            lots.append(self._lots.begin(batch, lots))
        return batch is not None

    def _look_ahead(self, lots: deque[Lot], batches: Ahead[Slice]) -> None:
        """While a model is at work, gives it what is prepared, if it was given all that comes before; two lots at a time."""
        while len(lots) < AHEAD and all(lot.given and lot.error is None for lot in lots) and not self._stop.is_set():
            under_way, batch = [lot for lot in lots if lot.under_way], batches.peek()
            if len(under_way) != 1 or batch is None or not self._continues(under_way[0].group, batch.group):
                return
            self._begin(lots, batches)

    def _continues(self, one: Group | None, other: Group | None) -> bool:
        """Whether a model that is at work takes another lot before that is done; the end of a window is no work."""
        copies = self._replicas.get(one.model) if one is not None else None
        return one is None or other is None or (one.model == other.model and copies is not None and copies.ahead)

    def _quantise(self, window: Window) -> None:
        """Makes the small types of a whole window; the first one of a generation fits the scale."""
        for binding in self._bindings:
            name, dtype = binding.field.name, binding.field.dtype
            if dtype not in QUANTISED:
                continue
            none = {*window.bad, *window.absent.get(name, ())}
            good = [index for index in range(len(window.rows)) if index not in none]
            if dtype == "int8" and name not in self._goldens.scales and good:
                self._goldens.add(Goldens(scales={name: fit(window.vectors[name][good])}))
                if len(good) < ENOUGH:
                    self._goldens.notes.append(f"field {name}: the int8 scale was fitted on {len(good)} vectors only")
            window.vectors[name] = quantised(window.vectors[name], dtype, self._goldens.scales.get(name))

    def _copies(self, group: Group) -> Replicas:
        """The open copies of a group's model; loaded when they are first needed."""
        key = group.model
        if key not in self._replicas:
            start = time.perf_counter()
            fields = [probed(one) for same in self._groups if same.model == key for one in same.bindings]
            places = spread(group.encoder, group.device)
            models = [self._open.enter_context(opened(group.encoder, place, fields, self._goldens, group.name)) for place in places]
            self.counters.startup_s += time.perf_counter() - start
            copies = [Replica(model, group.name, self.counters, self._stopwatch, self._stop) for model in models]
            self._replicas[key] = self._open.enter_context(contextlib.closing(Replicas(copies, self._goldens.notes)))
        return self._replicas[key]

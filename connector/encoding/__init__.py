"""ENCODE: fills the vector fields of windows from their rows. Order is kept; a row that cannot be encoded is noted, never dropped.

A thread of its own runs ahead: it pulls windows from the stations before, prepares their inputs, and holds a bounded number of
prepared bytes ready, while the caller's thread keeps the model busy. Models are loaded when the first input is ready for
them, so a run without anything new loads none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from connector.encoding.binding import Binding, bind, head_of, make_encoder, probed
from connector.encoding.fanout import POSITION
from connector.encoding.handle import EncoderHandle, encode_query
from connector.encoding.microbatches import EncodingCounters, Replica, checked, empty, faults
from connector.encoding.probing import Goldens, opened
from connector.encoding.quantising import ENOUGH, QUANTISED, fit, quantised
from connector.encoding.replicas import Replicas, spread
from connector.encoding.reuse import Reuse, output_of
from connector.encoding.slices import MAX_PREPARED, Group, Kept, Slice, cut, grouped, merged, prepared
from connector.encoding.vectorcache import Vector, VectorCache
from connector.errors import RowError
from connector.flow import close, parallel_map, prefetch
from connector.interfaces import DeviceSpec, Output, Prepared
from connector.observe import traces
from connector.record import Window
from connector.schema.spec import VectorFieldSpec
from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from connector.encoding.stored_vectors import StoredVectors

__all__ = ["Binding", "EncoderHandle", "Encoding", "EncodingCounters", "bind", "encode_query", "head_of", "make_encoder"]


@dataclass(slots=True)
class _New:
    """An input to be encoded: prepared, what names its content, and the rows that it stands in."""

    item: Prepared
    key: bytes | None
    rows: list[int]


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
        self._stored = stored
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

        With workers, `windows` is pulled from another thread (one at a time).

        Raises:
            EncodeError: A model failed.
            ConfigError: A model cannot be loaded.
        """
        batches = self._prepared(windows)
        try:
            for batch in batches:
                window, group = batch.window, batch.group
                self._prepare_room(window)
                if group is not None:
                    with traces.within(window):
                        self._encode(batch, group)
                if self._stop.is_set():
                    return
                if group is None:
                    self._reuse.window_made()
                    self._quantise(window)
                    yield window
        finally:
            close(batches)

    def _prepared(self, windows: Iterator[Window]) -> Iterator[Slice]:
        prepare = partial(prepared, stopwatch=self._stopwatch, reuse=self._reuse)
        slices = parallel_map(prepare, cut(windows, self._groups, self._ready), workers=self.workers, ahead=self.workers + 2)
        return prefetch(merged(slices), depth=min(self.workers, 2), size=lambda batch: batch.nbytes, max_bytes=MAX_PREPARED)

    def _prepare_room(self, window: Window) -> None:
        for binding in self._bindings:
            if binding.field.name not in window.vectors:
                spec = replace(binding.spec, kind="dense") if binding.ragged else binding.spec
                window.vectors[binding.field.name] = empty(len(window.rows), spec)

    def _encode(self, batch: Slice, group: Group) -> None:
        kept, new = self._sorted(batch, group)
        if new and self._stored is not None:
            with self._stopwatch.time("reread"):
                back = self._stored.find(batch.window, group.bindings, [one.rows for one in new])
            kept += [(vectors, new[number].rows) for number, vectors in back.items()]
            new = [one for number, one in enumerate(new) if number not in back]
        if kept:
            self.counters.reused += len(kept)
            known = [output_of(vectors) for vectors in zip(*(vectors for vectors, _ in kept), strict=True)]
            self._scatter(batch.window, group, known, [rows for _, rows in kept])
        if not new or self._stop.is_set():
            return
        for done in self._copies(group).run([one.item for one in new], [binding.head for binding in group.bindings]):
            some = [new[index] for index in done.indices]
            if done.outputs is None:
                _mark(batch.window, [row for one in some for row in one.rows], f"field `{group.source}`: {done.problem}")
                continue
            found = zip(done.outputs, group.bindings, strict=True)
            good = [checked(output, binding.spec, len(some), group.name) for output, binding in found]
            for place, reason in done.refused.items():
                _mark(batch.window, some[place].rows, f"field `{group.source}`: {reason}")
            wrong = self._scatter(batch.window, group, good, [one.rows for one in some])
            fit = {place: one.key for place, one in enumerate(some) if one.key is not None and place not in wrong}
            self._reuse.add(group.bindings, fit, good)

    def _sorted(self, batch: Slice, group: Group) -> tuple[list[tuple[list[Vector], list[int]]], list[_New]]:
        """The inputs whose vectors are known by now, with their rows, and those to be encoded, equal ones once; the rest is marked."""
        found = zip(batch.results, batch.keys, batch.rows, strict=True)
        pending = [key for result, key in zip(batch.results, batch.keys, strict=True) if isinstance(result, Prepared) and key is not None]
        late = self._reuse.find(group.bindings, pending)
        kept: list[tuple[list[Vector], list[int]]] = []
        new: dict[object, _New] = {}
        for result, key, rows in found:
            if isinstance(result, RowError):
                _mark(batch.window, rows, f"field `{group.source}`: {result.message}")
            elif isinstance(result, Kept) or key in late:
                kept.append((result.vectors if isinstance(result, Kept) else late[key or b""], rows))
            elif key in new:
                new[key].rows += rows
            else:
                new[id(result) if key is None else key] = _New(result, key, rows)
        return kept, list(new.values())

    def _scatter(self, window: Window, group: Group, outputs: Sequence[Output], rows_of: list[list[int]]) -> set[int]:
        """Puts vector i of each field where `rows_of[i]` says, unless it must not be stored; which ones must not."""
        unfit: set[int] = set()
        for binding, output in zip(group.bindings, outputs, strict=True):
            if binding.ragged:
                _scatter_positions(window, binding, output, rows_of)
                continue
            vectors, wrong = window.vectors[binding.field.name], faults(output, binding.field.metric)
            unfit |= set(wrong)
            for index, rows in enumerate(rows_of):
                if index in wrong:
                    _mark(window, rows, f"field `{binding.field.name}`: {wrong[index]}")
                    continue
                for row in rows:
                    vectors[row] = output[index]
        return unfit

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
        key = (id(group.encoder), group.device)
        if key not in self._replicas:
            start = time.perf_counter()
            fields = [probed(one) for same in self._groups if (id(same.encoder), same.device) == key for one in same.bindings]
            places = spread(group.encoder, group.device)
            models = [self._open.enter_context(opened(group.encoder, place, fields, self._goldens, group.name)) for place in places]
            self.counters.startup_s += time.perf_counter() - start
            copies = [Replica(model, group.name, self.counters, self._stopwatch, self._stop) for model in models]
            self._replicas[key] = self._open.enter_context(contextlib.closing(Replicas(copies, self._goldens.notes)))
        return self._replicas[key]


def _mark(window: Window, rows: list[int], reason: str) -> None:
    for index in rows:
        window.bad.setdefault(index, ("encode", reason))


def _scatter_positions(window: Window, binding: Binding, output: Output, rows_of: list[list[int]]) -> None:
    """Puts vector p of input i into that row of `rows_of[i]` whose position is p."""
    name = binding.field.name
    for matrix, rows in zip(output, rows_of, strict=True):
        wrong = faults(matrix, binding.field.metric)
        for row in rows:
            place = window.rows[row].get(POSITION, -1)
            if not 0 <= place < len(matrix):
                _mark(window, [row], f"field `{name}`: position {place}, but the encoder gave {len(matrix)} vectors")
            elif place in wrong:
                _mark(window, [row], f"field `{name}`: {wrong[place]}")
            else:
                window.vectors[name][row] = matrix[place]

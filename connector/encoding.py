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
from functools import partial
from types import TracebackType
from typing import Self

from connector.binding import Binding, bind, head_of, make_encoder, probed
from connector.flow import close, parallel_map, prefetch
from connector.handle import EncoderHandle, encode_query
from connector.interfaces import DeviceSpec, Output, Prepared
from connector.microbatches import EncodingCounters, Replica, checked, empty, faults
from connector.probing import Goldens, opened
from connector.quantising import ENOUGH, QUANTISED, fit, quantised
from connector.record import Window
from connector.report import Stopwatch
from connector.schema.spec import VectorFieldSpec
from connector.slices import MAX_PREPARED, Group, Slice, cut, grouped, merged, prepared

__all__ = ["Binding", "EncoderHandle", "Encoding", "EncodingCounters", "bind", "encode_query", "head_of", "make_encoder"]


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
    """

    def __init__(
        self,
        bindings: Sequence[Binding],
        devices: Mapping[str, DeviceSpec] | None = None,
        *,
        ready: Sequence[VectorFieldSpec] = (),
        stop: threading.Event | None = None,
        workers: int = 2,
        stopwatch: Stopwatch | None = None,
        goldens: Goldens | None = None,
    ) -> None:
        self.counters = EncodingCounters()
        self._bindings = list(bindings)
        self._ready = list(ready)
        self._groups = grouped(bindings, devices or {})
        self._stop = stop or threading.Event()
        self._workers = workers
        self._stopwatch = stopwatch or Stopwatch()
        self._goldens = goldens or Goldens()
        self._replicas: dict[tuple[int, DeviceSpec], Replica] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._replicas.clear()
        self._open.close()

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
                    self._encode(batch, group)
                if self._stop.is_set():
                    return
                if group is None:
                    self._quantise(window)
                    yield window
        finally:
            close(batches)

    def _prepared(self, windows: Iterator[Window]) -> Iterator[Slice]:
        prepare = partial(prepared, stopwatch=self._stopwatch)
        slices = parallel_map(prepare, cut(windows, self._groups, self._ready), workers=self._workers, ahead=self._workers + 2)
        return prefetch(merged(slices), depth=min(self._workers, 2), size=lambda batch: batch.nbytes, max_bytes=MAX_PREPARED)

    def _prepare_room(self, window: Window) -> None:
        for binding in self._bindings:
            if binding.field.name not in window.vectors:
                window.vectors[binding.field.name] = empty(len(window.rows), binding.encoder.spec(binding.head))

    def _encode(self, batch: Slice, group: Group) -> None:
        good: list[tuple[Prepared, list[int]]] = []
        for result, rows in zip(batch.results, batch.rows, strict=True):
            if isinstance(result, Prepared):
                good.append((result, rows))
            else:
                _mark(batch.window, rows, f"field `{group.source}`: {result.message}")
        if not good or self._stop.is_set():
            return
        replica = self._replica(group)
        for indices, outputs in replica.run([item for item, _ in good], [binding.head for binding in group.bindings]):
            rows_of = [good[index][1] for index in indices]
            if outputs is None:
                _mark(batch.window, rows_of[0], f"field `{group.source}`: does not fit in memory even alone")
                continue
            for binding, output in zip(group.bindings, outputs, strict=True):
                _scatter(batch.window, binding, checked(output, binding.encoder.spec(binding.head), len(indices), group.name), rows_of)

    def _quantise(self, window: Window) -> None:
        """Makes the small types of a whole window; the first one of a generation fits the scale."""
        for binding in self._bindings:
            name, dtype = binding.field.name, binding.field.dtype
            if dtype not in QUANTISED:
                continue
            good = [index for index in range(len(window.rows)) if index not in window.bad]
            if dtype == "int8" and name not in self._goldens.scales and good:
                self._goldens.add(scales={name: fit(window.vectors[name][good])})
                if len(good) < ENOUGH:
                    self._goldens.notes.append(f"field {name}: the int8 scale was fitted on {len(good)} vectors only")
            window.vectors[name] = quantised(window.vectors[name], dtype, self._goldens.scales.get(name))

    def _replica(self, group: Group) -> Replica:
        key = (id(group.encoder), group.device)
        if key not in self._replicas:
            start = time.perf_counter()
            fields = [probed(one) for same in self._groups if (id(same.encoder), same.device) == key for one in same.bindings]
            model = self._open.enter_context(opened(group.encoder, group.device, fields, self._goldens, group.name))
            self.counters.startup_s += time.perf_counter() - start
            self._replicas[key] = Replica(model, group.name, self.counters, self._stopwatch, self._stop)
        return self._replicas[key]


def _mark(window: Window, rows: list[int], reason: str) -> None:
    for index in rows:
        window.bad.setdefault(index, ("encode", reason))


def _scatter(window: Window, binding: Binding, output: Output, rows_of: list[list[int]]) -> None:
    """Puts vector i where `rows_of[i]` says, unless it must not be stored."""
    vectors = window.vectors[binding.field.name]
    wrong = faults(output, binding.field.metric)
    for index, rows in enumerate(rows_of):
        if index in wrong:
            _mark(window, rows, f"field `{binding.field.name}`: {wrong[index]}")
        else:
            for row in rows:
                vectors[row] = output[index]

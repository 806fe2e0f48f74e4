"""Cuts the inputs of windows into slices that workers prepare, and joins what they prepared into lots worth sorting.

A slice is small, so that workers share a window and little waits at a time; a lot is as much of one window as memory allows, because
the more inputs are sorted by cost together, the less is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from connector.encoding.binding import Binding
from connector.encoding.fanout import Shared
from connector.encoding.ready import take_ready
from connector.errors import RowError
from connector.flow import close
from connector.interfaces import DeviceSpec, Encoder, Prepared
from connector.record import Window
from connector.schema.spec import VectorFieldSpec
from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from connector.encoding.reuse import Reuse
    from connector.encoding.vectorcache import Vector

SLICE = 16
"""Inputs that one worker prepares at a time."""

MAX_PREPARED = 64 << 20
"""Most bytes of prepared inputs that are sorted together; about four times as much is held at a time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An input whose vectors are known: one a field of its group."""

    vectors: list[Vector]


Result: TypeAlias = Prepared | RowError | Kept
"""What became of an input."""


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that one forward pass fills.

    Attributes:
        encoder: Their encoder.
        source: The row's field that is encoded.
        modality: What is in it.
        device: Where and how to compute.
        bindings: The fields, one head each.
        prepare: Prepares one input.
    """

    encoder: Encoder
    source: str
    modality: str
    device: DeviceSpec
    bindings: list[Binding]
    prepare: Callable[[Any], Prepared]

    @property
    def model(self) -> tuple[int, DeviceSpec]:
        """Names the model that is opened for them, which other groups may share."""
        return id(self.encoder), self.device

    @property
    def name(self) -> str:
        """The encoder's, for messages."""
        return f"{self.encoder.model.kind}:{self.encoder.model.model}"


@dataclass(slots=True)
class Slice:
    """Some distinct inputs of one window.

    Attributes:
        window: The window.
        group: The fields to fill; None marks the window's end.
        inputs: As the rows hold them; emptied once they are prepared.
        keys: For each input what names its content, or None.
        rows: For each input the indices of the rows that it stands in.
        results: For each input what became of it.
    """

    window: Window
    group: Group | None = None
    inputs: list[Any] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of what is prepared."""
        return sum(result.nbytes for result in self.results if isinstance(result, Prepared))


def grouped(bindings: Sequence[Binding], devices: Mapping[str, DeviceSpec]) -> list[Group]:
    """The groups of a collection's fields, in the order of their first fields."""
    groups: dict[tuple[int, str, str, DeviceSpec], Group] = {}
    for binding in bindings:
        device = devices.get(binding.field.name, DeviceSpec())
        key = (id(binding.encoder), binding.source, binding.modality, device)
        if key not in groups:
            prepare = binding.encoder.preparer("document", binding.modality)
            groups[key] = Group(binding.encoder, binding.source, binding.modality, device, [], prepare)
        groups[key].bindings.append(binding)
    return list(groups.values())


def cut(windows: Iterator[Window], groups: Sequence[Group], ready: Sequence[VectorFieldSpec]) -> Iterator[Slice]:
    """Yields each window's inputs in slices, group by group, then its end. Ready-made vectors are taken on the way."""
    sources: dict[str, list[VectorFieldSpec]] = {}
    for group in groups:
        sources.setdefault(group.source, []).extend(binding.field for binding in group.bindings)
    for window in windows:
        for field_spec in ready:
            take_ready(window, field_spec)
        # all inputs are taken out before the first slice leaves, because from then on the window is the other thread's
        inputs = {source: list(distinct_inputs(window, source, fields).values()) for source, fields in sources.items()}
        for group in groups:
            distinct = inputs[group.source]
            for start in range(0, len(distinct), SLICE):
                some = distinct[start : start + SLICE]
                yield Slice(window, group, [value for value, _ in some], rows=[rows for _, rows in some])
        yield Slice(window)


def prepared(some: Slice, stopwatch: Stopwatch, reuse: Reuse) -> Slice:
    """The slice with its inputs prepared, refused, or found to be known."""
    group = some.group
    if group is not None:
        with stopwatch.time("prepare"):
            keyed = reuse.keyed(some.inputs, group.modality)
            some.keys = [key for key, _ in keyed]
            known = reuse.find(group.bindings, [key for key in some.keys if key is not None])
            some.results = [Kept(known[key]) if key in known else _attempt(group.prepare, value) for key, value in keyed]
        some.inputs = []
    return some


def distinct_inputs(window: Window, source: str, fields: Sequence[VectorFieldSpec]) -> dict[Any, tuple[Any, list[int]]]:
    """The window's inputs, equal texts and shared objects once, each with the rows that it stands in.

    Rows without one have no vector in `fields`, the fields that are made from this source; they become bad if one of those needs it.
    """
    nullable = all(one.nullable for one in fields)
    found: dict[Any, tuple[Any, list[int]]] = {}
    for index, row in enumerate(window.rows):
        if index in window.bad:
            continue
        value = row.get(source)
        if value is None and nullable:
            for one in fields:
                window.absent.setdefault(one.name, set()).add(index)
        elif value is None:
            window.bad[index] = ("encode", f"field `{source}` is missing; the row has: {', '.join(sorted(row)) or 'nothing'}")
        else:
            inner = value.value if isinstance(value, Shared) else value
            found.setdefault(inner if isinstance(inner, str) else id(inner), (inner, []))[1].append(index)
    return found


def _attempt(prepare: Callable[[Any], Prepared], value: Any) -> Result:
    try:
        return prepare(value)
    except RowError as error:
        return error


def merged(slices: Iterator[Slice]) -> Iterator[Slice]:
    """Joins the slices of one window and group, up to `MAX_PREPARED` bytes, so that they are sorted together."""
    held: Slice | None = None
    size = 0
    try:
        for some in slices:
            if held is not None and (some.window is not held.window or some.group is not held.group or size >= MAX_PREPARED):
                yield held
                held = None
            if held is None:
                held, size = some, some.nbytes
            else:
                held.keys += some.keys
                held.rows += some.rows
                held.results += some.results
                size += some.nbytes
            if held.group is None:
                yield held
                held = None
    finally:
        close(slices)

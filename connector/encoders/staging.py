"""Keeps a GPU at work: the next part's copy and kernels are queued before anybody waits for the part under way. Needs torch.

A part's arrays are laid into page-locked memory, which the GPU reads by itself; the copy goes through a stream of its own beside the
computing one, and vectors are taken one part late, also from one micro-batch to the next. So the CPU pads, copies and takes vectors while
the GPU computes. All that is said to it is said through `Device`, which is `cuda.Cuda` where there is one; the order of calls is proven
with one that is no GPU.

Two rules keep memory sound. Page-locked memory is written again only after the event that follows its copy. And a part's tensors are held
until its vectors are taken: torch may give freed memory of the copying stream to the next copy while the computing stream still reads it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import torch

from connector.encoders.vectors import Late
from connector.interfaces import Output

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

Cut: TypeAlias = Callable[[], Sequence[T]]
"""Makes the parts of a pass."""

Stage: TypeAlias = Callable[[T], Sequence[Any]]
"""Makes a part's numpy arrays."""

Compute: TypeAlias = Callable[[Sequence[Any]], list[Late]]
"""Queues a part's pass over tensors that are on the device; one output a head."""

DEPTH = 2
"""Parts on the device at a time: one that it computes, one that is copied."""

_ALIGNED = 64
_SMALLEST = 1 << 16


class Ticket(Protocol[R_co]):
    """Work that was queued."""

    def wait(self) -> R_co:
        """Returns its result once it is done.

        Raises:
            RuntimeError: It failed.
        """


class Device(Protocol):
    """What the stager says to a device. Nothing but `Ticket.wait` and `drain` may wait."""

    def room(self, nbytes: int) -> Any:
        """Page-locked memory: a tensor of bytes."""

    def upload(self, hosts: Sequence[Any]) -> tuple[Sequence[Any], Ticket[None]]:
        """Queues copies of page-locked tensors: the copies to be, and when the page-locked ones may be written again."""

    def compute(self, compute: Compute, inputs: Sequence[Any], after: Ticket[None]) -> Ticket[list[Late]]:
        """Queues the computation behind the copying of its inputs, and behind it the way back of what comes out.

        Raises:
            RuntimeError: There is no memory for it, or the network refuses its inputs.
        """

    def drain(self) -> None:
        """Waits until nothing is queued, whatever became of it."""


@dataclass(slots=True)
class _Buffer:
    """Page-locked memory and the last copy that reads it."""

    memory: Any
    copy: Ticket[None] | None = None


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Pass(Generic[T]):
    """A micro-batch's way through the network, part by part.

    Attributes:
        cut: Makes its parts, each time it begins.
        stage: Makes a part's arrays.
        compute: Queues a part's pass.
        ahead: Whether it may begin before it is waited for; not once that went wrong.
        left: Parts that are not queued yet; None: it has not begun.
        under_way: How many are queued and not taken.
        done: Outputs of those that were taken.
    """

    cut: Cut[T]
    stage: Stage[T]
    compute: Compute
    ahead: bool = True
    left: deque[T] | None = None
    under_way: int = 0
    done: list[list[Output]] = field(default_factory=list)

    @property
    def queued(self) -> bool:
        """Whether every part was queued."""
        return self.left is not None and not self.left

    def put_back(self) -> None:
        """Has it begin anew, but not before it is waited for."""
        self.ahead, self.left, self.under_way, self.done = False, None, 0, []


class Staging:
    """Runs passes through one device, a part ahead of what is taken; used by one thread at a time.

    As soon as all parts of a pass are queued, those of the next one are, if it was started by then. Whatever goes wrong with it before it
    is waited for, memory that runs out for one, is not told: it is put back, and fails, if it fails again, when it is waited for.

    Args:
        device: Where the network is.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers: dict[int, deque[_Buffer]] = {}
        self._passes: list[weakref.ref[_Pass[Any]]] = []
        self._under_way: deque[tuple[weakref.ref[_Pass[Any]], Ticket[list[Late]]]] = deque()

    def start(self, cut: Cut[T], stage: Stage[T], compute: Compute) -> Callable[[], list[list[Output]]]:
        """Starts a pass; returns a function that waits for each part's outputs, in order. Without that function, the pass is given up.

        Args:
            cut: Makes the parts, at least one; asked again if the pass has to begin anew.
            stage: Makes a part's arrays.
            compute: Queues a part's pass.
        """
        one = _Pass(cut, stage, compute)
        self._passes.append(weakref.ref(one))
        self._fill(None)
        return partial(self._wait, one)

    def close(self) -> None:
        """Lets go of the page-locked memory, and of what is under way."""
        self._drop(list(self._alive()))

    def _wait(self, one: _Pass[Any]) -> list[list[Output]]:
        """A pass's outputs. After an error nothing is under way, and nothing is held.

        Raises:
            Exception: Whatever one of its parts raised, first come first.
        """
        try:
            self._fill(one)
            while one.under_way or not one.queued:
                self._take(one)
                self._fill(one)
        except BaseException:
            self._drop(list(self._alive()))
            raise
        finally:
            self._passes = [weakref.ref(other) for other in self._alive() if other is not one]
        return one.done

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _fill(self, awaited: _Pass[Any] | None) -> None:
        """Queues parts while the device takes them: of the pass that is waited for, then of those that were started after it."""
        while len(self._under_way) < DEPTH:
            waiting = [one for one in self._alive() if not one.queued and (one.ahead or one is awaited)]
            if not waiting:
                return
            one = awaited if awaited in waiting else waiting[0]
            with self._blaming(one, awaited):
                one.left = deque(one.cut()) if one.left is None else one.left
                self._under_way.append((weakref.ref(one), self._queue(one.stage(one.left.popleft()), one.compute)))
                one.under_way += 1

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _take(self, awaited: _Pass[Any]) -> None:
        """Waits for the part that was queued first."""
        whose, ticket = self._under_way.popleft()
        one = whose()
        with self._blaming(one, awaited):
            outputs = _taken(ticket)
            if one is not None:
                one.under_way -= 1
                one.done.append(outputs)

    @contextlib.contextmanager
    def _blaming(self, one: _Pass[Any] | None, awaited: _Pass[Any] | None) -> Iterator[None]:
        """An error of a pass that nobody waits for yet puts it back."""
        try:
            yield
        except Exception:
            if one is awaited:
                raise
            self._drop([] if one is None else [one])

    def _drop(self, some: Sequence[_Pass[Any]]) -> None:
        """Has nothing of these passes under way, nor of those that were given up; what the others have under way is done by then."""
        self._device.drain()
        self._under_way = deque((whose, ticket) for whose, ticket in self._under_way if whose() not in {None, *some})
        self._buffers.clear()
        for one in some:
            one.put_back()

    def _alive(self) -> Iterator[_Pass[Any]]:
        """The passes that somebody will wait for, or waits for, in the order of their start."""
        return (one for whose in self._passes if (one := whose()) is not None)

    def _queue(self, arrays: Sequence[Any], compute: Compute) -> Ticket[list[Late]]:
        places, end = [], 0
        for array in arrays:
            places.append(end)
            end += -(-array.nbytes // _ALIGNED) * _ALIGNED
        buffer = self._buffer(end)
        hosts = [_laid(array, buffer.memory[place:]) for array, place in zip(arrays, places, strict=True)]
        inputs, buffer.copy = self._device.upload(hosts)
        return self._device.compute(compute, inputs, buffer.copy)

    def _buffer(self, nbytes: int) -> _Buffer:
        """Memory that no copy reads any more, of the next power of two: the one used longest ago, or a new one while these are few."""
        size = max(_SMALLEST, 1 << (nbytes - 1).bit_length())
        some = self._buffers.setdefault(size, deque())
        if len(some) < DEPTH:
            some.append(_Buffer(self._device.room(size)))
        else:
            some.rotate(-1)
            copy, some[-1].copy = some[-1].copy, None
            if copy is not None:
                copy.wait()
        return some[-1]


def _laid(array: Any, memory: Any) -> Any:
    """The array as a tensor that begins where the memory does."""
    source = torch.from_numpy(np.ascontiguousarray(array))
    host = memory[: array.nbytes].view(source.dtype).view(source.shape)
    return host.copy_(source)


def _taken(ticket: Ticket[list[Late]]) -> list[Output]:
    """A part's outputs in ordinary memory, however long they are kept."""
    return [replace(late, tensors=[one.clone() for one in late.tensors]).take() for late in ticket.wait()]

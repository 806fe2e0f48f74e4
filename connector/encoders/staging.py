"""Keeps a GPU at work: the next part's copy and kernels are queued before anybody waits for the part under way. Needs torch.

A part's arrays are laid into page-locked memory, which the GPU reads by itself; the copy goes through a stream of its own beside the
computing one, and vectors are taken one part late. So the CPU pads, copies and takes vectors while the GPU computes. All that is said to
CUDA, except which device there is, is said here, through `Device`: its order of calls is proven with one that is no GPU.

Two rules keep memory sound. Page-locked memory is written again only after the event that follows its copy. And a part's tensors are held
until its vectors are taken: torch may give freed memory of the copying stream to the next copy while the computing stream still reads it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import torch

from connector.encoders.vectors import Late
from connector.interfaces import Output

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

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


class Staging:
    """Runs parts through one device, a part ahead of what it gives back; used by one thread at a time.

    Args:
        device: Where the network is.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers: dict[int, deque[_Buffer]] = {}

    def start(self, parts: Sequence[T], stage: Stage[T], compute: Compute) -> Callable[[], list[list[Output]]]:
        """What `run` does, as `Lanes.start` has it; nothing begins before it is called, since a device has memory for so many parts."""
        return partial(self.run, parts, stage, compute)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def run(self, parts: Sequence[T], stage: Stage[T], compute: Compute) -> list[list[Output]]:
        """Each part's outputs, in order. After an error nothing is under way, and nothing is held.

        Raises:
            Exception: Whatever a part raised, first come first.
        """
        under_way: deque[Ticket[list[Late]]] = deque()
        done: list[list[Output]] = []
        try:
            for part in parts:
                under_way.append(self._queue(stage(part), compute))
                if len(under_way) == DEPTH:
                    done.append(_taken(under_way.popleft()))
            done += [_taken(under_way.popleft()) for _ in range(len(under_way))]
        except BaseException:
            self._device.drain()
            under_way.clear()
            self._buffers.clear()
            raise
        return done

    def close(self) -> None:
        """Lets go of the page-locked memory."""
        self._buffers.clear()

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


@dataclass(slots=True)
class _Queued(Generic[T]):
    """What is done when an event of CUDA has come; holds what is needed until then."""

    result: T
    event: Any
    held: Any = None

    def wait(self) -> T:
        self.event.synchronize()
        self.held = None
        return self.result


class Cuda:
    """The one `Device` of real runs: a GPU.

    Copies go through a stream of their own. The network computes in the stream that is current where it was loaded, so that it never
    starts before its own weights are there; vectors come back in that stream, too, behind the computation that made them.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)
        self._computes = torch.cuda.current_stream(device)

    def room(self, nbytes: int) -> Any:
        """As in `Device`."""
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)

    def upload(self, hosts: Sequence[Any]) -> tuple[Sequence[Any], _Queued[None]]:
        """As in `Device`."""
        with torch.cuda.stream(self._copies):
            tensors = [host.to(self._device, non_blocking=True) for host in hosts]
        return tensors, _Queued(None, _event(self._copies))

    def compute(self, compute: Compute, inputs: Sequence[Any], after: Any) -> _Queued[list[Late]]:
        """As in `Device`."""
        self._computes.wait_event(after.event)
        with torch.cuda.stream(self._computes):
            lates = compute(inputs)
            hosts = [replace(late, tensors=[_back(one) for one in late.tensors]) for late in lates]
        return _Queued(hosts, _event(self._computes), held=(inputs, lates))

    def drain(self) -> None:
        """As in `Device`."""
        for stream in (self._copies, self._computes):
            with contextlib.suppress(RuntimeError):  # what failed is being raised already
                stream.synchronize()


def _event(stream: Any) -> Any:
    """Comes when the stream has done what is queued now; whoever waits for it sleeps, since others need the processor."""
    event = torch.cuda.Event(blocking=True)
    stream.record_event(event)
    return event


def _back(tensor: Any) -> Any:
    """Queues a tensor's way to the host. The memory is torch's own to give out again, which waits for the copy's event."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def free() -> None:
    """Gives memory that no tensor uses back to the GPU, if one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def cuda_memory(device: torch.device) -> tuple[int, int]:
    """Bytes of a GPU that are free, and all that it has."""
    free_bytes, total = torch.cuda.mem_get_info(device)
    return int(free_bytes), int(total)


def cuda_name(device: torch.device) -> str:
    """What a GPU calls itself."""
    return str(torch.cuda.get_device_name(device))

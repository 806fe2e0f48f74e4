"""What is said to CUDA, except which device there is: streams, events and page-locked memory, in calls that do not wait. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch

from connector.encoders.staging import Compute
from connector.encoders.vectors import Late

T = TypeVar("T")


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

"""Runs the parts of a batch side by side on a CPU: a few threads that share the weights, each with its own share of the cores. Needs torch.

One matrix product spread over all cores has to wait, many times a layer, for the slowest of them; parts that each stay on one core wait
once a batch. Measured on two cores with a 6-layer BERT in bfloat16: a fifth faster on an idle machine, three to five times on a busy one.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from connector.encoders.torch_device import is_out_of_memory
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import Head, Output, Prepared

T = TypeVar("T")
R = TypeVar("R")

CORES = torch.get_num_threads()
"""Threads that torch had when this module was first needed: the lanes change the number that it tells later."""

MAX_LANES = 8
"""Most threads: Python's own share of a forward pass is not parallel."""


PARTS_A_LANE = 4
"""How many parts a micro-batch has for every lane: lanes that finish early take another, and a stop signal waits for no more."""


class Lanes:
    """Threads for the parts of a batch; on a GPU there is one lane, the caller's.

    Args:
        device: What the parts run on.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = min(CORES, MAX_LANES) if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.count, "lane", torch.set_num_threads, (CORES // self.count,)) if self.count > 1 else None

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The function's results in order; a single part stays in the caller's thread, with all cores."""
        if self._pool is None or len(parts) == 1:
            return [function(part) for part in parts]
        return list(self._pool.map(function, parts))

    def close(self) -> None:
        """Ends the threads and gives torch its cores back."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(CORES)
            self._pool = None


class LaneModel(abc.ABC):
    """What models that run in lanes share: how much they take at once, what they do when memory runs out, and how they end.

    Args:
        network: The torch module, in evaluation mode.
        name: For messages.
        precision: What it computes in.
        part: Cost of what goes through the network at once: padded tokens or pixels.
        device: Where it is.
    """

    inputs = "inputs"

    def __init__(self, network: Any, name: str, precision: str, part: int, device: torch.device) -> None:
        self._lanes = Lanes(device)
        self.precision = precision
        self.budget = part if self._lanes.count == 1 else part * self._lanes.count * PARTS_A_LANE
        self._part = part
        self._network = network
        self._name = name

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """One pass over the items; one output a head, float32: (n, dim), or n arrays (tokens, dim) where a head does not pool.

        Raises:
            OutOfMemory: The batch does not fit.
            EncodeError: The model failed in any other way.
        """
        if self._network is None:
            raise EncodeError(f"model {self._name} is closed", hint="open it again")
        try:
            return self._forward(items, heads)
        except Exception as error:
            if not is_out_of_memory(error):
                problem = f"model {self._name} failed on {len(items)} {self.inputs} ({type(error).__name__})"
                raise EncodeError(problem, hint="try precision: fp32 or a smaller batch under encode") from error
        # outside of the handler, so that no traceback keeps the tensors of the failed batch alive
        _free()
        raise OutOfMemory(f"model {self._name}: {len(items)} {self.inputs} do not fit in memory", hint="set a smaller batch under encode")

    @abc.abstractmethod
    def _forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """The pass itself; may raise anything."""

    def close(self) -> None:
        """Frees the weights."""
        self._lanes.close()
        self._network = None
        _free()


def _free() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()

"""Runs the parts of a batch side by side on a CPU: a few threads that share the weights, each with its own share of the cores. Needs torch.

One matrix product spread over all cores has to wait, many times a layer, for the slowest of them; parts that each stay on one core wait
once a batch. Measured on two cores with a 6-layer BERT in bfloat16: a fifth faster on an idle machine, three to five times on a busy one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

CORES = torch.get_num_threads()
"""Threads that torch had when this module was first needed: the lanes change the number that it tells later."""

MAX_LANES = 8
"""Most threads: Python's own share of a forward pass is not parallel."""


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

"""Finds how much of a micro-batch goes through a network at once, by timing the work itself: nothing is computed twice.

The first micro-batches go through in parts of half, once, twice and four times the usual size, in turn and several times each; then the
quickest stays, if it is quicker by enough, and is remembered for this model on this machine. Only on GPUs: on a CPU the usual sizes
are good ones. Measured there on two busy cores, bfloat16, rate at half, twice and four times the size against the usual one:
MiniLM 0.92, 1.00, 0.94; EfficientNet-Lite0 0.88, 1.04, 0.87. Trying them cost more than there was to win.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from statistics import median
from typing import Any

from connector.encoders.memory import recall, remember

FACTORS = (1.0, 0.5, 2.0, 4.0)
"""Sizes that are tried, of the usual one."""

ROUNDS = 4
"""How often each is tried; the first time does not count, since libraries and allocators warm up in it."""

GAIN = 1.05
"""How much quicker than the usual size another must be."""

FULL = 2
"""Micro-batches of fewer usual parts say nothing of a size: short runs are left alone."""

_CACHE = "parts.json"


def cache_key(**facts: Any) -> str:
    """Names what a size was found for; any other fact is another key."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class PartSize:
    """How much goes through a network at once, in tokens or pixels.

    Args:
        usual: Where no measurement says otherwise.
        key: What a measurement is remembered by; None: the size is given, and nothing is tried.
    """

    def __init__(self, usual: int, key: str | None = None) -> None:
        self._usual, self._key = usual, key
        known = recall(_CACHE).get(key) if key else None
        found = known if isinstance(known, int) and not isinstance(known, bool) and known > 0 else None
        self._size = found or usual
        self._left = [_turned(number) for number in range(ROUNDS)] if key and not found else []
        self._rates: dict[float, list[float]] = {}

    @property
    def now(self) -> int:
        """The size for the next micro-batch."""
        return max(1, int(self._usual * self._left[0][0])) if self._left else self._size

    @property
    def settled(self) -> bool:
        """Whether nothing is left to try."""
        return not self._left

    def took(self, cost: int, seconds: float) -> None:
        """Notes how long a micro-batch took that went through in parts of size `now`."""
        if self.settled or cost < FULL * self._usual:
            return
        if len(self._left) < ROUNDS:
            self._rates.setdefault(self._left[0][0], []).append(cost / seconds)
        del self._left[0][0]
        self._left = [some for some in self._left if some]
        if self.settled:
            self._settle(quickest(self._rates))

    def ran_out(self, dearest: int) -> bool:
        """Takes less from now on; True if only a size that was tried is at fault, and the same micro-batch may pass now.

        Args:
            dearest: Cost of the largest item: no part is smaller.
        """
        tried = self._left[0][0] if self._left else 1.0
        if tried > 1:
            self._left = [[one for one in some if one < tried] for some in self._left]
            self._left = [some for some in self._left if some]
            self._rates = {factor: some for factor, some in self._rates.items() if factor < tried}
            if self.settled:
                self._settle(quickest(self._rates))
            return True
        self._left = []
        self._settle(min(self.now, max(dearest, self.now // 2)) / self._usual)
        return False

    def _settle(self, factor: float) -> None:
        self._size = max(1, round(self._usual * factor))
        if self._key:
            remember(_CACHE, self._key, self._size)


def quickest(rates: Mapping[float, list[float]]) -> float:
    """The factor with the highest median rate; 1 unless another is quicker by enough."""
    medians = {factor: median(some) for factor, some in rates.items()}
    best = max(medians, key=lambda factor: medians[factor], default=1.0)
    return best if medians and medians[best] > GAIN * medians.get(1.0, 0.0) else 1.0


def _turned(number: int) -> list[float]:
    """The factors, beginning with another one each round, so that none is always first."""
    start = number % len(FACTORS)
    return [*FACTORS[start:], *FACTORS[:start]]

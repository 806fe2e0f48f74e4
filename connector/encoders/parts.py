"""Cuts a micro-batch into the parts that go through a network one by one, each padded to its own longest input.

A part that took all that fits would be padded badly where lengths differ: of 2,048 passages of 32 tokens on average, sorted by length,
parts of 32,768 tokens are padding for 40 %. So a part ends early where it would pad more than is worth another pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.interfaces import Prepared

PADDING = 0.05
"""Share of a part from which on padding is spared by another part."""

LEAST = {"cpu": 3 / 4, "cuda": 1 / 8}
"""By device: how much of what it may have a part has at least, before padding ends it. A GPU is busy with far less than it takes at once;
on a CPU smaller parts read the weights from memory too often, and come in more sizes, each of which is compiled for first (`shapes`)."""


def cut(items: Sequence[Prepared], most: int, device: str) -> list[Sequence[Prepared]]:
    """Consecutive parts of the items, best sorted by cost: each of one item, or of at most `most` in cost, padding included.

    Args:
        items: Of a micro-batch.
        most: Tokens, or samples.
        device: Its type, as torch names it.
    """
    least = most * LEAST.get(device, 1.0)
    parts: list[Sequence[Prepared]] = []
    start = dearest = filled = 0
    for index, item in enumerate(items):
        count, longest, sum_ = index - start, max(dearest, item.cost), filled + item.cost
        padded = (count + 1) * longest
        spares = count * dearest >= least and padded - sum_ > PADDING * padded
        if count and (padded > most or spares):
            parts.append(items[start:index])
            start, longest, sum_ = index, item.cost, item.cost
        dearest, filled = longest, sum_
    return [*parts, items[start:]]

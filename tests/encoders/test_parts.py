"""Parts of a micro-batch: complete, in order, within their bound, and padded little where that is worth another part."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.encoders.parts import LEAST, PADDING, cut
from connector.interfaces import Prepared


def items(costs: Sequence[int]) -> list[Prepared]:
    """Inputs of these costs."""
    return [Prepared(None, cost, 1) for cost in costs]


def padded(part: Sequence[Prepared]) -> int:
    """What a part costs, padding included."""
    return len(part) * max(item.cost for item in part)


def share(parts: Sequence[Sequence[Prepared]]) -> float:
    """How much of the parts is padding."""
    return 1 - sum(item.cost for part in parts for item in part) / sum(map(padded, parts))


@given(st.lists(st.integers(1, 50)), st.integers(1, 200), st.sampled_from(["cpu", "cuda", "mps"]), st.sampled_from(["any", "sorted"]))
def test_any_items(costs: list[int], most: int, device: str, order: str) -> None:
    """Nothing is lost or moved, no part is larger than it may be, and none ends early that could take the next one without padding much."""
    given_ = items(sorted(costs, reverse=True) if order == "sorted" else costs)
    parts = cut(given_, most, device) if costs else []
    assert [item for part in parts for item in part] == given_
    assert all(part for part in parts)
    assert all(len(part) == 1 or padded(part) <= most for part in parts)
    for part, then in pairwise(parts):
        longer = [*part, then[0]]
        full, bad = padded(longer) > most, share([longer]) > PADDING and padded(part) >= most * LEAST.get(device, 1)
        assert full or bad


def test_where_lengths_differ_a_part_ends_early() -> None:
    """By hand, with 32 tokens at most: a fourth is enough on a GPU, so 8 and 6 do not go together, as they do elsewhere."""
    costs = items([8, 6, 6, 6, 6])
    assert [len(part) for part in cut(costs, 32, "cuda")] == [1, 4]
    assert [len(part) for part in cut(costs, 32, "cpu")] == [3, 2]
    assert [len(part) for part in cut(costs, 32, "mps")] == [4, 1]


@pytest.mark.parametrize(("device", "most", "wanted"), [("cpu", 2048, 0.05), ("cuda", 32_768, 0.10)])
def test_passages_of_mixed_length(device: str, most: int, wanted: float) -> None:
    """A window of short passages, sorted: little padding on a CPU, and no third of a GPU's time."""
    rng = random.Random(1)  # noqa: S311 - reproducible, not secret
    costs = sorted((min(202, 6 + int(rng.expovariate(1 / 26))) for _ in range(2048)), reverse=True)
    parts = cut(items(costs), most, device)
    assert share(parts) < wanted
    greedy = cut(items(costs), most, "mps")
    assert share(greedy) > share(parts)
    assert len(parts) < 1.2 * len(greedy) or device == "cuda"

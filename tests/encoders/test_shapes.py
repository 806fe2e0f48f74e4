"""Numbers of positions that were there before are used again, within bounds."""

from __future__ import annotations

import random

from connector.encoders.shapes import SPARE, Shapes


def test_a_number_of_positions_is_used_again() -> None:
    """17 inputs of 59 make 1,003 positions; so do 17 of 57 that are padded to 59, and 20 of 48 do not make 1,003 of anything."""
    shapes = Shapes()
    assert shapes.positions(1, 100) == 100
    assert shapes.positions(17, 59) == 59
    assert shapes.positions(17, 57) == 59
    assert shapes.positions(20, 48) == 48
    assert shapes.positions(16, 60) == 60, "960 is known, from 20 of 48"
    assert shapes.positions(10, 92) == 96, "so it is for ten"


def test_padding_stays_small_and_legal() -> None:
    """At most a twentieth more, never to more than an input had (a network has no more places), and fewer numbers than without."""
    rng, shapes, plain, used, longest = random.Random(3), Shapes(), set(), set(), 0  # noqa: S311 - reproducible, not secret
    for _ in range(400):
        length = rng.randint(10, 120)
        longest = max(longest, length)
        count = 1024 // length
        positions = shapes.positions(count, length)
        assert length <= positions <= min(length * (1 + SPARE), longest)
        plain.add(count * length)
        used.add(count * positions)
    assert len(used) < 0.8 * len(plain)

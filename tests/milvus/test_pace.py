"""The pace of a sink, against a limited server in simulated time."""

from __future__ import annotations

import itertools

import pytest

from connector.errors import Throttled
from connector.milvus.pace import LONGEST_WAIT, Pace


class World:
    """A server with a rate limit as Milvus has it, 20 ms and a 50 MB/s line away."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.now = self.level = self.looked = 0.0
        self.accepted = self.uploaded = self.refused = 0
        self.pace = Pace(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def send(self, nbytes: int) -> bool:
        """One request; whether it was accepted."""
        try:
            with self.pace.turn(nbytes):
                self.take(nbytes)
        except Throttled:
            return False
        return True

    def take(self, nbytes: int) -> None:
        """What the server does with it."""
        self.now += 0.02 + nbytes / 50e6
        self.uploaded += nbytes
        if self.limit is not None:
            self.level, self.looked = min(self.level + (self.now - self.looked) * self.limit, self.limit), self.now
            if self.level < 0:
                self.refused += 1
                raise Throttled("rate limit exceeded")
            self.level -= nbytes
        self.accepted += nbytes


@pytest.mark.parametrize(("limit", "nbytes"), [(50e3, 100_000), (50e3, 10_000), (1e6, 8_000_000), (1e6, 1_000_000), (5e6, 300_000)])
def test_the_limit_is_used_and_little_is_uploaded_in_vain(limit: float, nbytes: int) -> None:
    """Rule: a limited server gets nearly as much as it allows, and at most half as many bytes again are refused.

    Waits with exponential back-off alone, tried in the same simulation, upload two to seven times what is accepted.
    """
    world = World(limit)
    while world.accepted < max(3e6, 30 * nbytes):
        world.send(nbytes)
    assert world.accepted / world.now > 0.8 * limit
    assert world.uploaded < 1.5 * world.accepted


def test_nothing_is_held_back_before_a_refusal() -> None:
    """Rule: without a limit there is no pace."""
    world = World(None)
    for _ in range(100):
        assert world.send(1_000_000)
    assert world.now == pytest.approx(100 * 0.04)
    assert world.pace.rate is None


def test_a_lifted_limit_is_noticed() -> None:
    """Rule: full speed comes back within some dozen requests."""
    world = World(50e3)
    while world.accepted < 1e6:
        world.send(100_000)
    assert world.refused > 0
    world.limit, count = None, 0
    while world.pace.rate is not None:
        assert world.send(100_000)
        count += 1
    assert count < 40


def test_a_server_that_refuses_everything_is_asked_rarely() -> None:
    """Rule: waits double, up to a bound, and the first is short."""
    world, moments = World(50e3), []
    world.level = -1e9
    for _ in range(12):
        assert not world.send(100_000)
        moments.append(world.now)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert gaps[0] < 0.5
    assert gaps[2] > 1.8 * gaps[1]
    assert max(gaps) < LONGEST_WAIT + 0.1
    assert gaps[-1] > LONGEST_WAIT - 0.1


def test_other_errors_say_nothing_about_the_pace() -> None:
    """Rule: a broken connection does not slow the next request down."""
    world = World(None)
    with pytest.raises(OSError, match="reset"), world.pace.turn(10):
        raise OSError("reset")
    assert world.pace.rate is None

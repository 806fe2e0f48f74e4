"""The verdict names the share of time that the encoder worked, the busiest other station, and what to turn."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from connector.verdict import verdict

CASES: list[tuple[Mapping[str, float], float, str]] = [
    ({"encode": 9.5, "prepare": 6.0, "write": 2.0}, 10.0, "busy for 95% of the time; faster with another device"),
    ({"encode": 9.5, "prepare": 6.0, "write": 2.0}, 10.0, "next bottleneck: prepare (30%)"),
    (
        {"encode": 4.0, "prepare": 18.0, "write": 2.0},
        10.0,
        "busy for 40% of the time; next bottleneck: prepare (90%); try more workers than 2",
    ),
    ({"encode": 4.0, "prepare": 8.0, "write": 9.0}, 10.0, "next bottleneck: write (90%); try a nearer or a larger Milvus"),
    ({"encode": 7.6, "prepare": 1.4}, 10.0, "busy for 76% of the time; no station held it back"),
    ({"encode": 20.0}, 10.0, "busy for 100% of the time"),
]


@pytest.mark.parametrize(("stations", "wall", "words"), CASES)
def test_verdict(stations: Mapping[str, float], wall: float, words: str) -> None:
    """Stations of the workers count by the thread."""
    assert words in verdict(stations, wall, 2)


@pytest.mark.parametrize(("stations", "wall"), [({"read": 5.0}, 10.0), ({"encode": 0.2}, 0.5), ({}, 10.0)])
def test_nothing_is_said_without_enough_to_tell(stations: Mapping[str, float], wall: float) -> None:
    """No model was run, or the run was over at once."""
    assert verdict(stations, wall, 2) == ""

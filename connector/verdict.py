"""Says how near a run came to its encoder's own speed, and what held it back: one sentence at the end of every report.

An encoder that waits for its input is money burnt, and nothing shows it: the run ends, only later than it need. So each run says for which
share of its time, start-up aside, the encoder was busy, which other station had most to do, and which setting would move it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ENOUGH = 1.0
"""Seconds below which a run says nothing about speed."""

BUSY = 0.9
"""From this share on the encoder itself is the limit."""

CLOSE = "close"
"""The station behind all others: closing the connection, in which Milvus Lite writes its segments and builds their indexes."""

SHORT = "no station held it back: what is missing is the run's start and end, or other work on this machine"

THREADED = frozenset({"read", "parse", "split", "transform", "prepare"})
"""Stations whose work is shared by the job's `workers`."""

_SETTINGS = {
    "list": "list fewer documents, or split the source over several jobs",
    "write": "a nearer or a larger Milvus",
    "ledger": "a faster disk for `state`",
    "conform": "fewer columns",
    "sweep": "nothing: deleting is Milvus's work",
}


def verdict(stations: Mapping[str, float], wall: float, workers: int) -> str:
    """One sentence, or "" for a run that encoded nothing or was too short to tell.

    Args:
        stations: Seconds of work by station, summed over threads.
        wall: Seconds that the run took, start-up aside.
        workers: Threads of the stations in `THREADED`.
    """
    encode = stations.get("encode", 0.0)
    wall -= stations.get(CLOSE, 0.0)
    if wall < ENOUGH or not encode:
        return ""
    said = f"the encoder was busy for {min(1.0, encode / wall):.0%} of the time"
    most, load = busiest(stations, workers)
    if not most:
        return said
    held = f"next bottleneck: {most} ({load / wall:.0%})"
    return f"{said}; {advice(held, most, load / wall, workers, enough=encode / wall >= BUSY, unexplained=SHORT)}"


def busiest(stations: Mapping[str, float], workers: int) -> tuple[str, float]:
    """The station beside the encoder that has most to do, and its seconds a thread; ("", 0) if there is none.

    Args:
        stations: Seconds of work by station, summed over threads.
        workers: Threads of the stations in `THREADED`.
    """
    others = {name: seconds for name, seconds in stations.items() if name not in {"encode", CLOSE}}
    loads = {name: seconds / (max(1, workers) if name in THREADED else 1) for name, seconds in others.items()}
    return max(loads.items(), key=lambda one: one[1], default=("", 0.0))


def advice(held: str, station: str, share: float, workers: int, *, enough: bool, unexplained: str) -> str:
    """What would make it faster: of the encoder if that is at work for long `enough`, else of the station that is `held` to be next.

    Args:
        held: Names that station.
        station: The same.
        share: Of the time that it is at work; one that is idle for the most part holds nothing back.
        workers: Threads of the stations in `THREADED`.
        enough: Whether the encoder is what limits.
        unexplained: What to say when neither is.
    """
    if enough:
        return f"faster with another device, precision or batch under encode; {held}"
    if share < 1 / 2:
        return f"{unexplained}; {held}"
    setting = f"more workers than {workers}" if station in THREADED else _SETTINGS.get(station, "a profile of it")
    return f"{held}; try {setting}"

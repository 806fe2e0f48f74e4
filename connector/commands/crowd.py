"""Tells whether other programs are using the processor, which makes every measurement say less."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK = 0.3
"""Seconds that are looked at."""

CROWDED = 0.25
"""Share of the cores from which on a measurement says so."""

_STAT = Path("/proc/stat")
_IDLE = (3, 4)
"""Columns of its first line (proc(5)): idle, and waiting for a disk. The last two of ten stand in others already."""

_COLUMNS = 8


def crowd(seconds: float = LOOK) -> float:
    """How many cores other programs, and neighbours on a shared host, keep busy now; the load average where the kernel does not tell."""
    before = _busy()
    if before is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    begun, ours = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    after, took = _busy() or before, time.perf_counter() - begun
    return max(0.0, (after - before - (time.process_time() - ours)) / took)


def _busy() -> float | None:
    """Core-seconds in which any program ran since the machine was started."""
    try:
        columns = [int(one) for one in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1 : 1 + _COLUMNS]]
        return sum(one for place, one in enumerate(columns) if place not in _IDLE) / float(os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, AttributeError):
        return None

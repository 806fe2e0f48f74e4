"""Keeps what each station did when, for people to look at: a file in the format that Chrome's tracing page and Perfetto read.

A station that handles rows one by one has thousands of short turns; turns of one station in one thread that are less than a millisecond
apart are drawn as one, which says for how much of it the station was at work. A station has a line of its own for every thread that it
ran in.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

GAP = 0.001
"""Seconds."""


@dataclass(slots=True)
class Turn:
    """A station at work in one thread.

    Attributes:
        station: Its name.
        thread: The thread's.
        start: Seconds, on any clock.
        stop: Seconds, on the same clock.
        busy: For how many of the seconds between it was at work.
    """

    station: str
    thread: str
    start: float
    stop: float
    busy: float


class Timeline:
    """Turns as they were; called from several threads.

    Attributes:
        turns: In the order of their beginnings within each station and thread.
    """

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._last: dict[tuple[str, str], Turn] = {}
        self._mutex = threading.Lock()

    def add(self, station: str, start: float, stop: float) -> None:
        """Notes that the station worked in the current thread."""
        thread = threading.current_thread().name
        with self._mutex:
            last = self._last.get((station, thread))
            if last is not None and 0 <= start - last.stop < GAP:
                last.stop, last.busy = stop, last.busy + stop - start
                return
            self._last[station, thread] = turn = Turn(station, thread, start, stop, stop - start)
            self.turns.append(turn)

    def chrome(self) -> dict[str, Any]:
        """The document: one complete event a turn, in microseconds since the first, and a name for each line."""
        begun = min((turn.start for turn in self.turns), default=0.0)
        lines = {place: number for number, place in enumerate(dict.fromkeys((turn.station, turn.thread) for turn in self.turns))}
        names = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": f"{station} ({thread})"}}
            for (station, thread), number in lines.items()
        ]
        events = [
            {
                "name": turn.station,
                "ph": "X",
                "pid": 1,
                "tid": lines[turn.station, turn.thread],
                "ts": round((turn.start - begun) * 1e6, 1),
                "dur": round((turn.stop - turn.start) * 1e6, 1),
                "args": {"busy": round(turn.busy / max(turn.stop - turn.start, 1e-9), 3)},
            }
            for turn in self.turns
        ]
        return {"displayTimeUnit": "ms", "traceEvents": names + events}

"""Named points at which a test can make the process fail; nothing happens unless the environment says so.

`CONNECTOR_FAILPOINT=sink.acknowledged:3:kill` kills the process with SIGKILL at the third passage of that point.
Actions: `kill`, `raise`, `sleep=SECONDS`, `stop` (SIGSTOP). Several, joined by commas. The points are listed here and a test compares
the list with the call sites, so that a kill test over `POINTS` covers every one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

POINTS = (
    "source.listed",
    "document.read",
    "window.encoded",
    "ledger.begun",
    "sink.sent",
    "sink.acknowledged",
    "stale.deleted",
    "ledger.completed",
    "sweep.deleted",
    "run.finished",
    "apply.created",
    "apply.indexed",
    "apply.aliased",
)

_hits: Counter[str] = Counter()
_mutex = threading.Lock()


def hit(point: str) -> None:
    """Marks the passage of a failpoint."""
    plan = os.environ.get("CONNECTOR_FAILPOINT")
    if not plan:
        return
    with _mutex:
        _hits[point] += 1
        passage = _hits[point]
    for entry in plan.split(","):
        name, number, action = entry.split(":")
        if name == point and int(number) == passage:
            _act(point, action)


def _act(point: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action.startswith("sleep="):
        time.sleep(float(action.removeprefix("sleep=")))
    else:
        raise RuntimeError(f"failpoint {point}")

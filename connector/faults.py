"""Named points at which a test can make the process fail; nothing happens unless the environment says so.

`CONNECTOR_FAILPOINT=sink.acknowledged:3:kill` kills the process with SIGKILL at the third passage of that point.
Actions: `kill`, `exit` (at once, with code 70 and without any cleaning up), `raise`, `sleep=SECONDS`, `stop` (SIGSTOP). Several, joined by
commas. The points are listed here and a test compares the list with the call sites, so that a kill test over `POINTS` covers every
one; `connector.testing.failpoints` is how tests ask for them.
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
    "document.parsed",
    "window.encoded",
    "window.conformed",
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
"""On the way of a document, and of the first apply."""

CHANGE_POINTS = (
    "alter.released",
    "alter.dropped",
    "alter.changed",
    "alter.stamped",
    "copy.page",
    "switch.noted",
    "switch.moved",
    "prune.dropped",
)
"""Of what alters, switches and drops collections that exist."""

ADOPT_POINTS = ("adopt.renamed", "adopt.aliased", "adopt.stamped", "adopt.copied", "adopt.moved", "adopt.switched")
"""Of what takes over collections that somebody else made: in place the first three, by copy the others."""

EXIT_CODE = 70
"""Of the action `exit`."""

_VARIABLE = "CONNECTOR_FAILPOINT"
_ENVIRONMENT, _NAME = os.environ._data, os.environ.encodekey(_VARIABLE)  # type: ignore[attr-defined]  # noqa: SLF001
"""What `os.environ` looks at. Asking it costs a microsecond, three times a row of a table; asking what it asks costs a thirtieth."""

_hits: Counter[str] = Counter()
_mutex = threading.Lock()


def hit(point: str) -> None:
    """Marks the passage of a failpoint."""
    if _NAME not in _ENVIRONMENT or not (plan := os.environ.get(_VARIABLE)):
        return
    with _mutex:
        _hits[point] += 1
        passage = _hits[point]
    for entry in plan.split(","):
        name, number, action = entry.split(":")
        if name == point and int(number) == passage:
            _act(point, action)


def reset() -> None:
    """Forgets the passages so far, so that the next one is each point's first."""
    with _mutex:
        _hits.clear()


def _act(point: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "exit":
        os._exit(EXIT_CODE)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action.startswith("sleep="):
        time.sleep(float(action.removeprefix("sleep=")))
    elif action == "raise":
        raise RuntimeError(f"failpoint {point}")
    else:
        raise ValueError(f"failpoint {point}: no action {action!r}; there are kill, exit, raise, sleep=SECONDS, stop")

"""Asks for failures at named points: `failing` in this process for the length of a block, `environment` in a child process.

`POINTS` names every station's. A plan is `point:passage:action`, such as `sink.acknowledged:1:raise`; the actions are kill, exit,
raise, sleep=SECONDS and stop. A plugin may have points of its own: `connector.faults.hit("mine.page")`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from connector.faults import EXIT_CODE, POINTS, reset

__all__ = ["EXIT_CODE", "POINTS", "environment", "failing"]

_VARIABLE = "CONNECTOR_FAILPOINT"


def environment(*plans: str) -> dict[str, str]:
    """This process's environment, with these plans in it and no others; for a child."""
    plain = {name: value for name, value in os.environ.items() if name != _VARIABLE}
    return plain | ({_VARIABLE: ",".join(plans)} if any(plans) else {})


@contextlib.contextmanager
def failing(*plans: str) -> Iterator[None]:
    """Fails as planned within the block; every point's passages are counted from its beginning."""
    before = os.environ.get(_VARIABLE)
    reset()
    os.environ[_VARIABLE] = ",".join(plans)
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        if before is not None:
            os.environ[_VARIABLE] = before

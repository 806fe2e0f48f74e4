"""What the examples beside this file wrap: a job of connector as one step, whose result says whether to try again."""

from __future__ import annotations

from typing import Any

import connector


class TryLater(Exception):  # noqa: N818 - named for what happened
    """Milvus or a source is away, or another run holds the lock: worth a retry. Everything else needs a person."""


def ingest(path: str) -> dict[str, Any]:
    """Runs a job file and returns what `connector run --json` prints.

    Raises:
        TryLater: The same call may succeed in a while.
        connector.ConnectorError: It will not.
    """
    try:
        report = connector.Job.from_yaml(path).run()
    except connector.ConnectorError as error:
        if error.exit_code in {4, 5}:
            raise TryLater(str(error)) from error
        raise
    if report.exit_code:
        raise RuntimeError(report.message)
    return report.model_dump()

"""Waits until the indexes of a collection hold its rows: a server builds them after it has acknowledged, and a search is slow until then.

Milvus tells rows of sealed segments only; what still grows is searched without an index and counted by none of these numbers.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from connector.errors import SinkError
from connector.milvus.client import Connection

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds between two looks."""


def wait_for_indexes(connection: Connection, collection: str) -> dict[str, str]:
    """Looks until nothing is pending, or the settings' `retry_deadline` is over, which is only said.

    Returns:
        By field: "rows indexed/rows that are to be".

    Raises:
        SinkError: A server could not build an index; its reason is given.
    """
    end = time.monotonic() + connection.settings.retry_deadline
    while True:
        found = _progress(connection, collection)
        waiting = sorted(name for name, one in found.items() if _pending(one))
        if not waiting or time.monotonic() >= end:
            break
        time.sleep(min(PAUSE, max(0.0, end - time.monotonic())))
    if waiting:
        log.warning("%s: not indexed within retry_deadline: %s; the server goes on by itself", collection, ", ".join(waiting))
    return {name: f"{int(one.get('indexed_rows') or 0)}/{int(one.get('total_rows') or 0)}" for name, one in found.items()}


def _progress(connection: Connection, collection: str) -> dict[str, dict[str, Any]]:
    client = connection.client
    names = connection.call(f"list indexes of {collection}", client.list_indexes, collection)
    described = [connection.call(f"describe index {name} of {collection}", client.describe_index, collection, name) for name in names]
    found = {str(one["field_name"]): one for one in described if one}
    for name, one in found.items():
        if str(one.get("state")) == "Failed":
            reason = one.get("index_state_fail_reason") or "no reason given"
            raise SinkError(f"{collection}: the index of {name} could not be built: {reason}", hint="look at the server's log")
    return found


def _pending(one: dict[str, Any]) -> bool:
    return str(one.get("state")) not in {"Finished", "None"} or int(one.get("pending_index_rows") or 0) > 0

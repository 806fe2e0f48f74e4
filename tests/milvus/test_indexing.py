"""A run that waits for its indexes tells how far they are, never waits for ever, and says when one cannot be built."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from connector.errors import SinkError
from connector.milvus.client import Connection, Server
from connector.milvus.indexing import wait_for_indexes
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink


class Slow:
    """A client whose one index is described by each of these in turn, the last one for ever."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = list(states)

    def list_indexes(self, collection: str, timeout: float) -> list[str]:
        """One."""
        return ["vector"]

    def describe_index(self, collection: str, name: str, timeout: float) -> dict[str, Any]:
        """The next state."""
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"field_name": "vector", "total_rows": 10, **state}

    def close(self) -> None:
        """Nothing."""


def connection_to(client: Slow, deadline: float) -> Connection:
    """A connection to this client."""
    settings = MilvusSettings(uri="http://localhost:1", retry_deadline=deadline)
    return Connection(settings, client, Server("server", (2, 6, 0), "Milvus 2.6.0"))


WORKING = {"state": "InProgress", "indexed_rows": 4, "pending_index_rows": 6}
DONE = {"state": "Finished", "indexed_rows": 10, "pending_index_rows": 0}


def test_a_real_collection(connection: Connection, sink: MilvusSink, make: dict[str, Callable[..., Any]]) -> None:
    """Every index of a collection with rows is there and finished."""
    sink.write(make["window"]([make["row"](number) for number in range(20)]))
    found = wait_for_indexes(connection, "things__g1")
    assert {field.name for field in sink.spec.vectors} <= set(found)
    assert all(done == total for done, total in (one.split("/") for one in found.values()))


def test_it_waits_until_nothing_is_pending() -> None:
    """Finished with rows pending is not finished: the number is written before the state is."""
    client = Slow(WORKING, {**DONE, "indexed_rows": 8, "pending_index_rows": 2}, DONE)
    assert wait_for_indexes(connection_to(client, 30), "c") == {"vector": "10/10"}


def test_it_ends_at_the_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """The run is over and its rows are safe: a slow index is said, not an error."""
    with caplog.at_level(logging.WARNING):
        assert wait_for_indexes(connection_to(Slow(WORKING), 0.05), "c") == {"vector": "4/10"}
    assert "not indexed within retry_deadline: vector" in caplog.text


def test_an_index_that_cannot_be_built() -> None:
    """Waiting would not help: the server's reason is told."""
    broken = {"state": "Failed", "index_state_fail_reason": "no space"}
    with pytest.raises(SinkError, match="vector could not be built: no space"):
        wait_for_indexes(connection_to(Slow(broken), 30), "c")

"""Builds one index on a field after another and searches it, by calls that tell when it is ready and that do not wait for anything else.

Searches here ask for the consistency level Eventually: Strong makes a server wait for its clock, up to 0.2 s, which would hide the index.
So it is only for data that was flushed before, as in measurements.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from connector.errors import SinkError
from connector.milvus import changes
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection
from connector.milvus.sink import MilvusSink
from connector.plan.actions import DropIndex
from connector.reconcile.stored import stored
from connector.schema.indexes import VectorIndex
from connector.schema.spec import VectorFieldSpec

_LOOK_EVERY = 0.05


class Trial:
    """One collection whose vector field gets one index after another.

    Args:
        connection: Open.
        sink: Of the collection; its first vector field is meant, and its rows are flushed by `flush`.
    """

    def __init__(self, connection: Connection, sink: MilvusSink) -> None:
        self._connection, self._name, self._spec = connection, sink.collection, sink.spec
        self._field: VectorFieldSpec = sink.spec.vectors[0]

    def flush(self) -> None:
        """Seals what was written: rows that still grow are searched without an index."""
        self._connection.call(f"flush {self._name}", self._connection.client.flush, self._name)

    def build(self, index: VectorIndex, limit: float) -> float:
        """Builds an index and waits for it; seconds that it took.

        Raises:
            SinkError: The server refuses it, fails, or is not done within `limit` seconds.
        """
        client, name = self._connection.client, self._field.name
        spec = self._spec.model_copy(update={"vectors": (self._field.model_copy(update={"index": index}),)})
        params = changes.index_params(self._connection, spec, name)
        begun = time.perf_counter()
        self._connection.call(f"create index {index.type}", client.create_index, self._name, params, sync=False)
        while True:
            one = self._connection.call(f"describe index {index.type}", client.describe_index, self._name, name)
            took = time.perf_counter() - begun
            state, pending = str(one.get("state")), int(one.get("pending_index_rows") or 0)
            if state in {"Finished", "None"} and not pending:
                return took
            if state == "Failed":
                raise SinkError(f"it cannot be built: {one.get('index_state_fail_reason') or 'no reason given'}")
            if took > limit:
                raise SinkError(f"it was not built within {limit:.0f} s")
            time.sleep(_LOOK_EVERY)

    def load(self) -> float:
        """Makes it answer; seconds that it took."""
        begun = time.perf_counter()
        Catalog(self._connection).load(self._name)
        return time.perf_counter() - begun

    def drop(self) -> None:
        """Takes the index away, if there is one."""
        changes.alter(self._connection, DropIndex(self._name, self._field.name), self._spec)

    def search(self, vector: Any, limit: int, params: Mapping[str, Any]) -> tuple[list[int], float]:
        """Keys of the nearest rows, and seconds until they were here."""
        options = {"metric_type": self._field.metric, "params": dict(params)}
        data, client = [self._asked(vector)], self._connection.client
        begun = time.perf_counter()
        [hits] = self._connection.once(
            "search", client.search, self._name, data, anns_field=self._field.name, limit=limit, search_params=options,
            consistency_level="Eventually",
        )  # fmt: skip
        took = time.perf_counter() - begun
        return [int(hit[self._spec.primary.name]) for hit in hits], took

    def _asked(self, vector: Any) -> Any:
        if self._field.dim is None:
            return vector
        array = stored(self._field, np.asarray(vector))
        return array.tobytes() if self._field.dtype in {"binary", "bfloat16"} else array

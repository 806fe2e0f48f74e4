"""Makes a collection for one measurement, and takes it away again, whatever happens.

It has a random name, no alias, and in a property says who made it. Where that process is gone, or a day over, the next measurement drops
what was left behind; a collection of a measurement that may still be under way is named and left alone. Milvus Lite gets a file of its own
in a temporary folder instead, since another process may not write to the job's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection
from connector.milvus.sink import MilvusSink
from connector.plan.actions import CreateCollection
from connector.plan.generations import Want
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec

PREFIX = "connector_bench_index_"
OWNER = "connector.bench"
"""Collection property: JSON with host, pid and begin of the measurement that made it."""

KEY = "id"
_DAY = 24 * 3600.0


@contextlib.contextmanager
def scratch(connection: Connection, field: VectorFieldSpec) -> Iterator[MilvusSink]:
    """An empty collection with an INT64 key `id` and this vector field, without an index; dropped in the end.

    Raises:
        ConnectorError: It cannot be made, or not be dropped; then the message names it.
    """
    name = f"{PREFIX}{os.urandom(4).hex()}"
    owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "begun": time.time()})
    key = FieldSpec(name=KEY, type="INT64", primary_key=True)
    spec = CollectionSpec(name=name, fields=(key,), vectors=(field,), properties={OWNER: owner})
    try:
        Catalog(connection).apply([CreateCollection(name)], Want(spec, {}))
        yield MilvusSink(connection, name, spec)
    finally:
        _drop(connection, name)


def tidy(connection: Connection) -> list[str]:
    """Drops what killed measurements left behind; says what was dropped, and what may still be in use."""
    said = []
    for name in connection.call("list collections", connection.client.list_collections):
        if not name.startswith(PREFIX):
            continue
        description = connection.call(f"describe {name}", connection.client.describe_collection, name)
        owner = json.loads((description.get("properties") or {}).get(OWNER) or "{}")
        if _over(owner):
            _drop(connection, name)
            said.append(f"dropped {name}, which a measurement left behind")
        else:
            said.append(f"{name} is of process {owner['pid']} on {owner['host']}; if that measures no more, drop it in Milvus")
    return said


def _drop(connection: Connection, name: str) -> None:
    def make(timeout: float) -> None:
        if connection.client.has_collection(name, timeout=timeout):
            connection.client.drop_collection(name, timeout=timeout)

    connection.call(f"drop {name}", make, policy=connection.settings.first_contact)  # briefly: a server that is gone is told at once


def _over(owner: dict[str, object]) -> bool:
    """Whether nobody measures with it any more; of another machine's processes only their age is known."""
    if time.time() - float(str(owner.get("begun", 0))) > _DAY:
        return True
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(str(owner["pid"])), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    return False

"""Names what is compared, from a connection and a job's parts: the collection as a sink, its keys, and how a doubled key is told."""

from __future__ import annotations

from functools import partial

from connector.ledger import Ledger
from connector.milvus.client import Connection
from connector.milvus.reading import Reader
from connector.milvus.sink import MilvusSink
from connector.reconcile.findings import Ground
from connector.schema.spec import CollectionSpec


def ground_of(connection: Connection, collection: str, spec: CollectionSpec, ledger: Ledger, namespace: str) -> Ground:
    """What `reconcile` compares.

    Args:
        connection: Open.
        collection: Physical name.
        spec: What it holds.
        ledger: Entered.
        namespace: Whose rows.
    """
    primary = spec.primary
    tally = partial(Reader(connection, collection, spec).tally, primary.name)
    return Ground(ledger, MilvusSink(connection, collection, spec), namespace, primary.name, not primary.generated, tally)

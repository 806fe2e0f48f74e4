"""Names what is compared, from a connection and a job's parts: the collection as a sink, its keys, and how a doubled key is told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from connector.errors import PlanNeeded
from connector.findings import Ground
from connector.ledger import Ledger
from connector.milvus.client import Connection
from connector.milvus.peek import look
from connector.milvus.reading import Reader
from connector.milvus.sink import MilvusSink
from connector.plan import Generation, target
from connector.schema.spec import CollectionSpec

if TYPE_CHECKING:
    from connector.building import Parts


def existing(parts: Parts) -> Generation:
    """The generation that a run would write to; nothing is made.

    Raises:
        PlanNeeded: There is none.
    """
    found = target(parts.want, look(parts.job.milvus, parts.spec.name)[1])
    if found is None:
        raise PlanNeeded(f"there is no `{parts.spec.name}` as the code says", hint=f"connector plan {parts.job.where}")
    return found


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

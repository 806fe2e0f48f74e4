"""Rebuilds the ledger from the lineage fields of the collection's rows, when it cannot be right.

Three signs: the ledger knows nothing but the namespace has rows (a container lost its disk), the collection's epoch is behind (a backup
was restored), or the last run did not end and the counts differ (Milvus Lite after a power cut). The run that follows reads every
document again and encodes only those whose rows are not whole. A ledger that was imported is compared with the collection instead, which
keeps what is right of it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from connector.reconcile import balance, gather, rebuild, reconcile
from connector.reconcile.findings import Ground

if TYPE_CHECKING:
    from connector.interfaces import Sink
    from connector.ledger import Ledger

log = logging.getLogger(__name__)


def recover(ledger: Ledger, sink: Sink, namespace: str, *, primary: str, natural: bool, epoch: int, clean: bool) -> str | None:
    """Rebuilds the ledger if it has to be, and deletes what a restored backup brought back of forgotten documents.

    Args:
        ledger: Entered.
        sink: The collection.
        namespace: Whose rows.
        primary: Name of the primary key.
        natural: Whether keys come from the rows.
        epoch: The collection's.
        clean: Whether the last run ended by itself.

    Returns:
        Why it was rebuilt, or None.
    """
    ground = Ground(ledger, sink, namespace, primary, natural)
    why = _reason(ground, epoch, clean=clean)
    if why is not None:
        log.warning("rebuilding the ledger from the collection: %s", why)
        log.warning("the collection has rows of %d documents", restore(ground))
    elif ledger.doubt:
        log.warning("comparing the ledger with the collection: %s", ledger.doubt)
        findings = reconcile(ground, gather(ground), repair=True)
        log.warning("%d documents differ; they are made again or taken over", findings.documents)
        ledger.trust()
    return why


def restore(ground: Ground) -> int:
    """Rebuilds the ledger, and deletes what came back of forgotten documents; returns how many documents the collection has."""
    documents = rebuild(ground)
    _erase_forgotten(ground.ledger, ground.sink)
    ground.ledger.trust()
    return documents


def _reason(ground: Ground, epoch: int, *, clean: bool) -> str | None:
    ledger = ground.ledger
    if epoch < ledger.epoch:
        return f"the collection's epoch {epoch} is behind the ledger's {ledger.epoch}: it was restored from a backup"
    if ledger.counts()[0] == 0 and ground.sink.count(ground.namespace):
        return "the ledger knows no document, but the collection has rows"
    if not clean:
        there, written = balance(ground)
        if there != written:
            return f"the last run did not end by itself, and the collection has {there} finished rows, the ledger {written}"
    return None


def _erase_forgotten(ledger: Ledger, sink: Sink) -> None:
    back = list(ledger.known(sorted(ledger.forgotten())))
    keys = [key for document in back for key in ledger.keys_of(document)]
    if keys:
        log.warning("%d forgotten documents had come back and are deleted again", len(back))
        sink.delete(keys)
    ledger.forget(back)

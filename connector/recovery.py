"""Rebuilds the ledger from the lineage fields of the collection's rows, when it cannot be right.

Three signs: the ledger knows nothing but the namespace has rows (a container lost its disk), the collection's epoch is behind (a backup
was restored), or the last run did not end and the counts differ (Milvus Lite after a power cut). The run that follows reads every
document again and encodes only those whose rows are not whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from connector.interfaces import Sink
from connector.ledger import Ledger
from connector.record import Key, Known

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Found:
    """What the rows of one document say."""

    contents: set[str] = field(default_factory=set)
    rows: int = 0
    keys: list[Key] = field(default_factory=list)


def recover(ledger: Ledger, sink: Sink, namespace: str, *, primary: str, natural: bool, epoch: int, clean: bool) -> str | None:
    """Rebuilds the ledger if it has to be.

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
    unfinished = None if clean else [key for document, max_rows in ledger.unfinished() for key in ledger.keys_of(document, max_rows)]
    why = _reason(ledger, sink, namespace, epoch, unfinished)
    if why is not None:
        log.warning("rebuilding the ledger from the collection: %s", why)
        found = _scan(sink, namespace, primary=primary, natural=natural)
        log.warning("the collection has rows of %d documents", ledger.replace(_entries(found)))
    return why


def _reason(ledger: Ledger, sink: Sink, namespace: str, epoch: int, unfinished: list[Key] | None) -> str | None:
    documents, rows = ledger.counts()
    if epoch < ledger.epoch:
        return f"the collection's epoch {epoch} is behind the ledger's {ledger.epoch}: it was restored from a backup"
    if documents == 0 and sink.count(namespace):
        return "the ledger knows no document, but the collection has rows"
    if unfinished is not None:
        there = sink.count(namespace) - len(sink.read(unfinished, []))
        if there != rows:
            return f"the last run did not end by itself, and the collection has {there} finished rows, the ledger {rows}"
    return None


def _scan(sink: Sink, namespace: str, *, primary: str, natural: bool) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for row in sink.scan(namespace, [primary, "connector_key", "connector_content"]):
        document = found.setdefault(row["connector_key"], _Found())
        document.contents.add(row["connector_content"])
        document.rows += 1
        if natural:
            document.keys.append(row[primary])
    return found


def _entries(found: dict[str, _Found]) -> Iterator[tuple[str, Known, Sequence[Key]]]:
    for key, document in found.items():
        parts = [content.split(".") for content in document.contents]
        totals = [int(total) for _, _, total in parts]
        content, fingerprint, _ = parts[0]
        whole = len(parts) == 1 and totals[0] == document.rows
        known = Known("done" if whole else "writing", None, content, fingerprint, document.rows, max(totals))
        yield key, known, document.keys

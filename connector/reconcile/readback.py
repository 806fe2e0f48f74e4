"""The last station of a run: what was acknowledged is counted and a sample of it read back, before the run may call itself good.

Rows are counted with Strong consistency against what the ledger says was written, which also shows rows that vanished since. If anything
differs, every document is compared by lineage, and those that differ are re-queued, so that running again mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.reconcile import balance, gather, reconcile
from connector.report import Verified

if TYPE_CHECKING:
    from connector.reconcile.findings import Ground
    from connector.reconcile.witness import Witness


def read_back(ground: Ground, witness: Witness) -> Verified:
    """Counts and compares; re-queues in the ledger the documents that differ."""
    there, written = balance(ground)
    changed = witness.differing()
    verified = Verified(rows=there, written=written, sampled=witness.sampled)
    if there != written or changed:
        findings = reconcile(ground, gather(ground), repair=True, changed=changed)
        ground.ledger.rewind()
        verified.differing = findings.documents
        verified.shown = [f"{one.document}: {one.kind}: {one.detail}" for one in findings.shown]
    return verified

"""What a comparison of ledger and collection is about, and what it comes to: plain data for `reconcile.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connector.record import Key

if TYPE_CHECKING:
    from connector.interfaces import Sink
    from connector.ledger import Ledger

MAX_SHOWN = 20
"""Most differences that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is compared.

    Attributes:
        ledger: Entered.
        sink: The collection.
        namespace: Whose rows.
        primary: Name of the primary key.
        natural: Whether keys come from the rows.
        tally: How many rows have one of these keys, for a collection that can hold a key twice; None: it cannot.
    """

    ledger: Ledger
    sink: Sink
    namespace: str
    primary: str
    natural: bool
    tally: Callable[[Sequence[Key]], int] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong with one document.

    Attributes:
        document: Its key.
        kind: missing (rows are not there), stale (of another version), doubled (a key twice), changed (not as written), stray (rows it
            should not have), foreign (rows in our namespace that none of our runs wrote), unknown (rows of a document that the ledger does
            not know), forgotten (rows of one that must not be there), or unfinished (a run was interrupted while it was written).
        detail: In words.
        keys: Rows to delete.
    """

    document: str
    kind: str
    detail: str
    keys: tuple[Key, ...] = ()


@dataclass(slots=True)
class Findings:
    """What a comparison came to.

    Attributes:
        scanned: Rows that the collection has, each key once.
        documents: How many differ.
        kinds: Differences by kind.
        shown: The first of them.
        requeued: Documents that the next run makes again.
        deleted: Rows that were deleted.
        adopted: Documents that the ledger took over from the collection.
    """

    scanned: int = 0
    documents: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    shown: list[Difference] = field(default_factory=list)
    requeued: int = 0
    deleted: int = 0
    adopted: int = 0

    def note(self, differences: Sequence[Difference]) -> None:
        """Counts the differences of one document, and keeps the first ones."""
        self.documents += 1
        self.kinds.update(difference.kind for difference in differences)
        self.shown += differences[: max(0, MAX_SHOWN - len(self.shown))]

"""Reads back what a run wrote: all rows by count, and a sample of them bit for bit, so that an acknowledgement is not taken on trust.

The sample is drawn while the run goes on, so it costs a digest a row and the memory of 256 keys, however much is written. The digests of
all rows of a document go to the ledger with it, for `connector verify`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.interfaces import Receipt, Sink
from connector.reconcile.stored import RowDigest, added
from connector.record import Key, Row, Visit, Window

if TYPE_CHECKING:
    from connector.schema.spec import CollectionSpec

SAMPLE = 256
"""Rows that are read back."""


@dataclass(frozen=True, slots=True)
class Written:
    """One sampled row: whose it is, and its digest as it was sent."""

    document: str
    digest: int


class Witness:
    """A sink that passes everything on to another one and remembers a sample of it.

    Args:
        sink: The real one.
        spec: What the collection holds.
        seed: Of the sample; the run's id, so that a run can be repeated in a test.
        size: Most rows of the sample.
    """

    def __init__(self, sink: Sink, spec: CollectionSpec, seed: str, size: int = SAMPLE) -> None:
        self._sink, self._spec, self._size = sink, spec, size
        self._digest = RowDigest(spec)
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._seen = 0
        self._slots: list[Key] = []
        self._sample: dict[Key, Written] = {}

    def write(self, window: Window) -> Receipt:
        """Passes a window on; takes the digests of the rows that are acknowledged."""
        receipt = self._sink.write(window)
        primary = self._spec.primary.name
        last = {window.rows[index][primary]: index for index in receipt.acknowledged}  # of two rows with one key, the later stays
        digests = dict(zip(last.values(), self._digest.of_rows(window.rows, window.vectors, list(last.values())), strict=True))
        for part in window.parts:
            here = [index for index in range(part.start, part.stop) if index in digests]
            keys = [window.rows[index][primary] for index in here]
            _add(part.visit, part.first, keys, [digests[index] for index in here])
            for key, index in zip(keys, here, strict=True):
                self._draw(key, part.visit.key, digests[index])
        return receipt

    def _draw(self, key: Key, document: str, digest: int) -> None:
        """Keeps every row with the same chance (reservoir sampling: Vitter 1985, algorithm R)."""
        self._seen += 1
        if key not in self._sample:
            if len(self._slots) < self._size:
                self._slots.append(key)
            elif self._random.random() * self._seen < self._size:
                slot = self._random.randrange(self._size)
                self._sample.pop(self._slots[slot], None)
                self._slots[slot] = key
            else:
                return
        self._sample[key] = Written(document, digest)

    def delete(self, keys: Sequence[Key]) -> int:
        """Passes it on; what is deleted is not looked for later."""
        for key in keys:
            self._sample.pop(key, None)
        return self._sink.delete(keys)

    def read(self, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Passes it on."""
        return self._sink.read(keys, fields)

    def scan(self, namespace: str | None, fields: Sequence[str]) -> Iterator[Row]:
        """Passes it on."""
        return self._sink.scan(namespace, fields)

    def count(self, namespace: str | None = None) -> int:
        """Passes it on."""
        return self._sink.count(namespace)

    @property
    def sampled(self) -> int:
        """How many rows are in the sample."""
        return len(self._sample)

    def differing(self) -> dict[str, str]:
        """Reads the sample back; document to what is wrong with one of its rows, for those that are not what was sent."""
        wrong = [key for keys in self._digest.requests(list(self._sample)) for key in self._wrong(keys)]
        return {self._sample[key].document: f"row {key!r} {why}" for one in wrong for key, why in self._wrong([one]).items()}

    def _wrong(self, keys: Sequence[Key]) -> dict[Key, str]:
        """What is wrong with some rows of the sample. Each is asked for again alone: 2.3.5 may leave rows out beside a doubled key."""
        found = self._sink.read(keys, self._digest.fields)
        missing = {key: "was acknowledged and is not there" for key in keys if key not in found}
        changed = [key for key, row in found.items() if self._digest.of_row(row) != self._sample[key].digest]
        return missing | dict.fromkeys(changed, "is not what was written")


def _add(visit: Visit, first: int, keys: Sequence[Key], digests: Sequence[int]) -> None:
    """Adds rows to the digest of their document, which is not known any more if it gave the same key twice."""
    if first == 0:
        visit.digest = 0
    again = not visit.acknowledged.isdisjoint(keys)
    visit.digest = None if again or visit.digest is None else added(digests, visit.digest)

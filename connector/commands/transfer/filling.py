"""Writes every row of one collection into a generation of ours, page by page; may be repeated, and then finishes what was begun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from connector.commands.transfer.copies import INSTEAD, Copy
from connector.encoding.binding import Binding, probed
from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import Goldens
from connector.errors import SinkError
from connector.faults import hit
from connector.interfaces import DeviceSpec
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection
from connector.milvus.sink import MilvusSink
from connector.plan.generations import Generation
from connector.reconcile.inventory import Inventory
from connector.record import Row, Window
from connector.schema.spec import LINEAGE, VectorFieldSpec

if TYPE_CHECKING:
    from connector.commands.building import Parts

_PAGE_ROWS, _PAGE_BYTES = 2_048, 16 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        source: The live generation.
        candidate: The one that was filled.
        rows: Rows.
        encoded: Inputs that went through a model.
        deleted: Rows of an earlier copy that the live generation no longer has.
        notes: What is to be known.
    """

    source: str
    candidate: str
    rows: int
    encoded: int
    deleted: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        first = f"{self.candidate}  {self.rows:,} rows from {self.source}, {self.encoded:,} inputs encoded, {self.deleted:,} rows deleted"
        return "\n".join([first, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {**asdict(self), "notes": list(self.notes)}


def fill(
    connection: Connection,
    parts: Parts,
    copy: Copy,
    candidate: Generation,
    on_page: Callable[[Sequence[Row], Window], None] = lambda *_: None,
) -> Copied:
    """Copies every row; may be repeated, and then takes away what is not there any more. `on_page` gets what was read and what was written.

    Raises:
        ConfigError: A row does not fit; it is named.
        SinkError: Not every row could be read.
    """
    catalog, live = Catalog(connection), copy.live
    catalog.load(candidate.name)
    goldens = catalog.goldens(candidate)
    goldens.add(catalog.goldens(live).of(one.name for one in copy.vectors))
    source, sink = MilvusSink(connection, live.name, copy.there(parts.spec)), MilvusSink(connection, candidate.name, parts.spec)
    if copy.adopts:
        catalog.load(live.name)
    with contextlib.ExitStack() as models:
        handles = {one.field.name: models.enter_context(_handle(parts, one, goldens)) for one in copy.encoded}
        rows = 0
        for page in _pages(source.scan(None, copy.names), parts.spec.sent):
            window = copy.window(page, handles)
            rows += _write(sink, window)
            on_page(page, window)
    extra = _extra(source, sink, copy)
    sink.delete(extra)
    if copy.adopts:
        _count(source, sink, rows)
    catalog.write(candidate.name, copy.runs())
    added = ", ".join(one.name for one in copy.missing)
    notes = (f"{live.name} does not have {added}: the next run makes every document again",) if added else ()
    return Copied(live.name, candidate.name, rows, rows * len(copy.encoded), len(extra), notes)


def _count(source: MilvusSink, sink: MilvusSink, rows: int) -> None:
    """Returns if the copy of somebody else's collection has its every row.

    Raises:
        SinkError: Rows were added meanwhile, or share a key: then a server may leave others out of a scan.
    """
    there, here = source.count(), sink.count()
    if not there == rows == here:
        said = f"{source.collection} counts {there:,} rows and lists {rows:,}; {sink.collection} has {here:,}"
        hint = "end the writers, delete the doubles, and run the same command again"
        raise SinkError(f"{said}: rows were written meanwhile, or share a primary key", hint=hint)


def _handle(parts: Parts, binding: Binding, goldens: Goldens) -> EncoderHandle:
    device = parts.job.encode.get(binding.field.name, DeviceSpec())
    return EncoderHandle(binding.encoder, binding.head, device, goldens=goldens, field=probed(binding))


def _pages(rows: Iterator[Row], vectors: Sequence[VectorFieldSpec]) -> Iterator[list[Row]]:
    size = max(1, min(_PAGE_ROWS, _PAGE_BYTES // (1 + sum(one.row_bytes for one in vectors))))
    while page := list(islice(rows, size)):
        yield page


def _write(sink: MilvusSink, window: Window) -> int:
    receipt = sink.write(window)
    if receipt.rejects:
        raise SinkError(f"{sink.collection}: a copied row was refused: {next(iter(receipt.rejects.values()))}", hint=INSTEAD)
    hit("copy.page")
    return len(receipt.acknowledged)


def _extra(source: MilvusSink, sink: MilvusSink, copy: Copy) -> list[Any]:
    """Keys that only the candidate has: rows that were deleted from the live generation since an earlier copy."""
    primary = sink.spec.primary.name
    with Inventory() as inventory:
        if copy.adopts:
            inventory.add_live(({**row, **copy.lineage(row)} for row in source.scan(None, [copy.primary])), primary)
        else:
            inventory.add_live(source.scan(None, [*LINEAGE, primary]), primary)
        inventory.add_candidate(sink.scan(None, [*LINEAGE, primary]), primary)
        return inventory.extra()

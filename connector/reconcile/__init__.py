"""Compares the ledger with the collection, document by document, by the lineage that every row carries; re-queues what differs if asked to.

Nothing is encoded and no vector is read: who has rows, how many, under which keys, and from which version of the document is told by
primary key and lineage alone. `compare_rows` then looks at the rows themselves, by the digests of what was written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from connector.reconcile.findings import Difference, Findings, Ground
from connector.reconcile.stored import RowDigest, added
from connector.record import Key, Known, generated_key

if TYPE_CHECKING:
    from connector.ledger.review import Entry

CHUNK = 1_000
"""Keys of one request."""

_LINEAGE = re.compile(r"[^.]+\.[^.]+\.[0-9]+")

RESENT = ("missing", "stale", "doubled", "changed")
"""Kinds of differences that are mended by making the document again."""


def balance(ground: Ground) -> tuple[int, int]:
    """(rows of finished documents in the collection, strongly consistent; rows that the ledger says were written of them)."""
    ledger, sink = ground.ledger, ground.sink
    written = ledger.counts()[1]
    unfinished = [key for document, max_rows in ledger.unfinished() for key in ledger.keys_of(document, max_rows)]
    if ground.natural and not unfinished and sink.count() == written:  # one namespace owns it all, and Lite is slow with a filter
        return written, written
    return sink.count(ground.namespace) - (len(sink.read(unfinished, [])) if unfinished else 0), written


def gather(ground: Ground) -> int:
    """Notes the key and the lineage of every row of the namespace in the ledger, for what follows; returns how many."""
    scan = ground.sink.scan(ground.namespace, [ground.primary, "connector_key", "connector_content"])
    return ground.ledger.gather((row["connector_key"], row[ground.primary], row["connector_content"]) for row in scan)


def reconcile(ground: Ground, scanned: int, *, repair: bool = False, changed: Mapping[str, str] | None = None) -> Findings:
    """Compares every document with its rows.

    Args:
        ground: What is compared.
        scanned: What `gather` returned.
        repair: Re-queue what the next run has to make again, delete rows that belong to nothing, and take over documents that only
            the collection knows.
        changed: Documents of which a row was read that is not what was written, and what is wrong with it.
    """
    findings = Findings(scanned)
    forgotten = ground.ledger.forgotten()
    doubled = set(_doubled(ground, findings.scanned))
    for entry in ground.ledger.entries():
        found = list(_differences(ground, entry, forgotten, doubled))
        if changed and entry.key in changed and not found:
            found = [Difference(entry.key, "changed", changed[entry.key])]
        if found:
            findings.note(found)
        if found and repair:
            mend(ground, findings, found, entry)
    return findings


def mend(ground: Ground, findings: Findings, differences: Sequence[Difference], entry: Entry) -> None:
    """Deletes by primary key what belongs to nothing, and re-queues the document or takes it over.

    A document whose rows are whole, but of another version than the ledger's, is taken over too: the next run compares it by content.
    """
    keys = [key for difference in differences for key in difference.keys]
    findings.deleted += ground.sink.delete(keys) if keys else 0
    kinds = {difference.kind for difference in differences}
    if "unknown" in kinds or (kinds == {"stale"} and _whole(ground, entry)):
        key, known, pks = adopted(entry.key, entry.rows)
        ground.ledger.adopt(key, known, pks if ground.natural else ())
        findings.adopted += 1
    elif kinds & set(RESENT):
        ground.ledger.redo([(entry.key, max((_total(content) for _, content in entry.rows), default=0))])
        findings.requeued += 1


def rebuild(ground: Ground) -> int:
    """Puts what the collection has in the place of all that the ledger knows; returns how many documents."""
    gather(ground)
    entries = ((entry.key, [row for row in entry.rows if _LINEAGE.fullmatch(row[1])]) for entry in ground.ledger.entries())
    return ground.ledger.replace(adopted(key, rows) for key, rows in entries if rows)


def adopted(document: str, rows: Sequence[tuple[Key, str]]) -> tuple[str, Known, list[Key]]:
    """What the ledger would know of a document whose rows these are: (its key, entry, primary keys). Not whole: `writing`."""
    pks, contents = zip(*rows, strict=True)
    content, mark, _ = contents[0].split(".")
    whole = len(set(contents)) == 1 and _total(contents[0]) == len(pks)
    total = max(map(_total, contents))
    return document, Known("done" if whole else "writing", None, content, mark, len(pks), total), list(pks)


def compare_rows(ground: Ground, digest: RowDigest, documents: Iterable[str], most: int | None = None) -> tuple[int, int, dict[str, str]]:
    """Reads the rows of documents back, vectors included, and compares them with the digests of what was written.

    Args:
        ground: What is compared; `gather` was called.
        digest: Of that collection.
        documents: Keys; those whose number of rows differs are left to `reconcile`.
        most: Rows after which to stop.

    Returns:
        How many rows were compared, how many documents cannot be (their ledger was rebuilt), and what is wrong, by document.
    """
    compared, unknown, wrong = 0, 0, {}
    for entries in _by_rows(ground.ledger.picked(documents), digest.rows_a_request):
        known = [entry for entry in entries if entry.digest is not None]
        unknown += len(entries) - len(known)
        rows = [pk for entry in known for pk, _ in entry.rows]
        digests = _read(ground, digest, rows)
        for entry in known:
            own = [pk for pk, _ in entry.rows]
            if _sum(digests, own) != entry.digest and _sum(_read(ground, digest, own), own) != entry.digest:
                wrong[entry.key] = "its rows or vectors are not what was written"
        compared += len(rows)
        if most is not None and compared >= most:
            break
    return compared, unknown, wrong


def _read(ground: Ground, digest: RowDigest, keys: Sequence[Key]) -> dict[Key, int]:
    """Digests of rows as they are. A server that holds another key twice may leave rows out, so a difference is read again by itself."""
    found: dict[Key, int] = {}
    for some in digest.requests(keys):
        found |= {key: digest.of_row(row) for key, row in ground.sink.read(some, digest.fields).items()}
    return found


def _sum(digests: Mapping[Key, int], keys: Iterable[Key]) -> int:
    return added([digests.get(key, 0) for key in keys])


def _by_rows(entries: Iterable[Entry], rows: int) -> Iterator[list[Entry]]:
    """Groups of documents that have about so many rows together."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        if entry.known is None or entry.known.status == "writing" or len(entry.rows) != entry.known.rows:
            continue
        group.append(entry)
        size += len(entry.rows)
        if size >= rows:
            yield group
            group, size = [], 0
    if group:
        yield group


def _differences(ground: Ground, entry: Entry, forgotten: set[str], doubled: set[Key]) -> Iterator[Difference]:
    if foreign := tuple(pk for pk, content in entry.rows if not _LINEAGE.fullmatch(content)):
        yield Difference(entry.key, "foreign", f"{len(foreign)} rows in this namespace that no run wrote", foreign)
        entry.rows = [(pk, content) for pk, content in entry.rows if pk not in foreign]
    pks = {pk for pk, _ in entry.rows}
    if entry.key in forgotten and pks:
        yield Difference(entry.key, "forgotten", f"{len(pks)} rows of a forgotten document", tuple(pks))
        return
    known = entry.known
    if known is None:
        if not pks:
            return
        yield Difference(entry.key, "unknown", f"{len(pks)} rows of a document that the ledger does not know")
        return
    if known.status == "writing":
        yield Difference(entry.key, "unfinished", "a run was interrupted while it was written; the next run makes it again")
        return
    yield from _wrong(ground, entry, known, pks, doubled)


def _wrong(ground: Ground, entry: Entry, known: Known, pks: set[Key], doubled: set[Key]) -> Iterator[Difference]:
    """What is wrong with the rows of a document that was written whole."""
    if known.status != "rejected" and known.content and entry.rows and _lineage(known) not in _contents(entry) and _whole(ground, entry):
        yield Difference(entry.key, "stale", f"its {len(pks)} rows are whole, but of another version than the last that was written")
        return
    times = Counter(pk for pk, _ in entry.rows)
    own = entry.owned if ground.natural else {generated_key(ground.namespace, entry.key, ordinal) for ordinal in range(known.max_rows)}
    if strays := pks - own:
        yield Difference(entry.key, "stray", f"{len(strays)} rows that it should not have", tuple(strays))
    there = len(pks & own)
    if there < known.rows and doubled:  # a server that holds a key twice leaves rows out of a scan
        there += len(ground.sink.read(list(own - pks), []))
    if there != known.rows:
        yield Difference(entry.key, "missing", f"{there} rows, but {known.rows} were written")
    if stale := _stale(known, [content for pk, content in entry.rows if pk in own]):
        yield Difference(entry.key, "stale", f"{stale} rows of another version than the last that was written")
    if twice := (pks & doubled) | {pk for pk in pks if times[pk] > 1}:
        yield Difference(entry.key, "doubled", f"{len(twice)} primary keys that more than one row has")


def _stale(known: Known, contents: list[str]) -> int:
    """How many rows are of another version. What a rejected document has is of its last good version, which the ledger does not know."""
    if known.status in {"done", "partial"} and known.content is not None:
        return sum(content != _lineage(known) for content in contents)
    return len(contents) - max(Counter(contents).values(), default=0)


def _lineage(known: Known) -> str:
    return f"{known.content}.{known.fingerprint}.{known.max_rows}"


def _contents(entry: Entry) -> set[str]:
    return {content for _, content in entry.rows}


def _whole(ground: Ground, entry: Entry) -> bool:
    """Whether these rows are all rows of one version of the document, by their own lineage."""
    if len(_contents(entry)) != 1 or _total(entry.rows[0][1]) != len(entry.rows):
        return False
    own = {generated_key(ground.namespace, entry.key, ordinal) for ordinal in range(len(entry.rows))}
    return len({pk for pk, _ in entry.rows}) == len(entry.rows) if ground.natural else {pk for pk, _ in entry.rows} == own


def _total(content: str) -> int:
    return int(content.rpartition(".")[2])


def _doubled(ground: Ground, scanned: int) -> Iterator[Key]:
    """Keys that more rows than one have. A scan shows each key once, so they are looked for only if the count says that there are some."""
    if ground.tally is None or ground.sink.count(ground.namespace) <= scanned:
        return
    batch: list[Key] = []
    for entry in ground.ledger.entries():
        batch += (pk for pk, _ in entry.rows)
        if len(batch) >= CHUNK:
            yield from _narrowed(ground.tally, batch)
            batch = []
    yield from _narrowed(ground.tally, batch)


def _narrowed(tally: Callable[[Sequence[Key]], int], keys: Sequence[Key]) -> Iterator[Key]:
    if not keys or tally(keys) <= len(keys):
        return
    if len(keys) == 1:
        yield keys[0]
        return
    middle = len(keys) // 2
    yield from _narrowed(tally, keys[:middle])
    yield from _narrowed(tally, keys[middle:])

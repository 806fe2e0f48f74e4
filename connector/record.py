"""The three nouns that move through the pipeline: a Document becomes Rows, Rows are grouped into Windows.

Nothing else travels. A Document is what a source lists; its payload is opened only when the ledger says that it may have changed. A Row is
a plain dict that will be one Milvus entity. A Window is the unit of look-up, write and commit: rows in listing order, of some documents.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

KEY_FORMAT = 1
"""Version of `generated_key`. Changing the derivation is a migration for every user."""

Key: TypeAlias = str | int
"""A primary key value: VARCHAR or INT64."""

Position: TypeAlias = Any
"""Where to read on: any JSON value, opaque to everything but its source."""

Row: TypeAlias = dict[str, Any]
"""The fields of one future Milvus entity, by name."""


@dataclass(slots=True, frozen=True)
class Payload:
    """What a document holds once opened.

    Attributes:
        fields: What the source offers to the schema (a path, a size, the columns of a table), by name.
        data: The bytes to parse, or None when `fields` is already the row.
        media_type: Such as "text/markdown"; decides the parser. None: the payload is one row.
    """

    fields: Row
    data: bytes | None = None
    media_type: str | None = None


@dataclass(slots=True)
class Document:
    """One thing a source lists.

    Attributes:
        key: Stable within the source and unique in a listing, UTF-8 encodable.
        open: Reads the payload. Called at most once a run, from a worker thread, and only if the ledger does not
            know this `version`. Raises DocumentError when this document cannot be read.
        version: What the listing gives for free (etag, mtime and size, cursor); equal ones mean equal content. None: its hash decides.
        position: Where a cursor source reads on after this document.
        size: Bytes of the payload where the listing knows them; over the job's limit it is not opened.
        unnamed: Its own key cannot be read, `key` is only its place. It may be any document that seems to have vanished.
        held: The payload is in memory, so opening costs nothing: `open` may then be called twice, first while listing.
    """

    key: str
    open: Callable[[], Payload]
    version: str | None = None
    position: Position | None = None
    size: int | None = None
    unnamed: bool = False
    held: bool = False


@dataclass(slots=True, frozen=True)
class Removed:
    """The source says that this document is gone: its rows are deleted.

    Attributes:
        key: The document's key.
        position: Where a cursor source reads on after this.
    """

    key: str
    position: Position | None = None


@dataclass(slots=True, frozen=True)
class Gap:
    """A part of the source that could not be listed. The run goes on, sweeps nothing, and ends with exit code 3.

    Attributes:
        where: The folder, prefix or partition.
        reason: Why, in words for the user.
    """

    where: str
    reason: str


@dataclass(slots=True, frozen=True)
class Reject:
    """One document or row that was not written, and why.

    Attributes:
        document: The document's key.
        ordinal: The row within the document; None for the whole document.
        station: Where it happened: read, parse, split, transform, encode, conform or write.
        reason: For the user: what, found against wanted.
        retry: True if the next run must try again although the version is the same.
    """

    document: str
    ordinal: int | None
    station: str
    reason: str
    retry: bool = False


Status: TypeAlias = Literal["writing", "done", "partial", "empty", "rejected"]
"""What the ledger knows of a document. `writing`: an intent without its completion, so it is read again whatever its version."""


class Known(NamedTuple):
    """The ledger's entry for one document.

    Attributes:
        status: How its last visit ended.
        version: The listing's version then; None forces a read.
        content: Its content hash then.
        fingerprint: Of the stations that made its rows.
        rows: How many rows it has in the collection.
        max_rows: No row of it has an ordinal at or above this.
    """

    status: Status
    version: str | None
    content: str | None
    fingerprint: str
    rows: int
    max_rows: int


Outcome: TypeAlias = Literal["written", "unchanged", "empty", "rejected", "removed"]
"""How a document's visit ends. `written` with rejects is a partial document."""


@dataclass(slots=True)
class Visit:
    """One document's way through one run: what is known, what came of it.

    Attributes:
        document: As listed; for a removal a document that cannot be opened.
        partition: The source partition it came from.
        known: What the ledger knew of it when it was listed.
        removed: The source said that it is gone.
        repeated: Its key stood in this listing before, so its ledger entry belongs to the first one.
        fresh: The ledger knew nothing of it, it is listed once, and all of its rows stand in one window: what it owns, that window gave it.
        content: Hex content hash, set by READ.
        rows: What PARSE and SPLIT made of it, in order; taken out again by WINDOW.
        sizes: Bytes of each of them, if they were counted.
        total: How many rows it has in this version.
        rejects: What was not written of it.
        outcome: Set when known; None while its rows are on their way.
        acknowledged: Keys written in this run, filled by WRITE.
        digest: Of the rows that were written (`stored.added`); None: not known.
    """

    document: Document
    partition: str = ""
    known: Known | None = None
    removed: bool = False
    repeated: bool = False
    fresh: bool = False
    content: str | None = None
    rows: Sequence[Row] = ()
    sizes: Sequence[int] = ()
    total: int = 0
    rejects: list[Reject] = field(default_factory=list)
    outcome: Outcome | None = None
    acknowledged: set[Key] = field(default_factory=set)
    digest: int | None = None

    @property
    def key(self) -> str:
        """The document's key."""
        return self.document.key

    @property
    def writes(self) -> bool:
        """Whether this visit changes the document's rows in the collection, so that it needs an intent and may leave stale rows."""
        return self.outcome not in {"unchanged", "rejected"} and not self.repeated

    def reject(self, station: str, reason: str, *, ordinal: int | None = None, retry: bool = False) -> None:
        """Notes that a row (or, without an ordinal, the whole document) cannot be written."""
        shown = reason.encode("utf-8", "backslashreplace").decode()  # it quotes users' data, and is stored and printed
        self.rejects.append(Reject(self.key, ordinal, station, shown, retry))
        if ordinal is None:
            self.outcome = "rejected"


@dataclass(slots=True)
class Part:
    """The rows of one document that stand in one window.

    Attributes:
        visit: The document's visit; shared between the windows that a long document spans.
        start: Index of its first row in the window.
        stop: Index after its last row in the window; equal to `start` for a document without rows here.
        first: Ordinal, within the document, of the row at `start`.
        last: True if the document ends in this window, which therefore commits it.
    """

    visit: Visit
    start: int
    stop: int
    first: int
    last: bool


@dataclass(slots=True)
class Window:
    """Rows in listing order, the unit of look-up, write and commit.

    Attributes:
        parts: Whose rows these are, consecutive and covering `rows`.
        rows: The rows, before CONFORM as the stations offer them, after it exactly as the collection wants them.
        vectors: One array a vector field, row i for `rows[i]`: (n, dim) float32, or as the field's dtype says.
        absent: By nullable vector field the rows that have no vector there, whatever its array holds; filled by ENCODE.
        bad: Why row i must not be written, by i; filled by ENCODE and CONFORM.
        nbytes: Estimate of the memory that inputs and vectors take.
        span: Of the trace, where there is one: from WINDOW to COMMIT.
    """

    parts: list[Part]
    rows: list[Row]
    vectors: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    absent: dict[str, set[int]] = field(default_factory=dict)
    bad: dict[int, tuple[str, str]] = field(default_factory=dict)
    nbytes: int = 0
    span: Any = None

    def vectors_of(self, index: int) -> dict[str, Any]:
        """The vectors of one row by field; None where it has none."""
        return {name: None if index in self.absent.get(name, ()) else array[index] for name, array in self.vectors.items()}

    def whose(self) -> Iterator[tuple[int, Visit, int]]:
        """Yields (index in the window, visit, ordinal in the document) for every row."""
        for part in self.parts:
            for index in range(part.start, part.stop):
                yield index, part.visit, part.first + index - part.start


def generated_key(namespace: str, document: str, ordinal: int) -> str:
    """Primary key of a row whose collection generates keys: 32 lower-case hex digits.

    blake2b with a 16-byte digest (RFC 7693) over the three parts joined by U+0000, which neither a namespace nor a
    document key contains. Collision-resistant, so that nobody can craft a document that replaces another's rows.
    """
    return hashlib.blake2b(f"{namespace}\0{document}\0{ordinal}".encode(), digest_size=16).hexdigest()


def content_hash(data: bytes | None, fields: Row, spell: Callable[[Row], str] | None = None) -> str:
    """Hash of what a document's rows are made from: 32 hex digits (blake2b-128).

    Args:
        data: The payload's bytes, if any.
        fields: The source's own fields that end up in rows: without a file's unused modification time, so that touching changes nothing.
        spell: A quicker way to the text that `CANONICAL` makes of them.
    """
    text = (spell or CANONICAL.encode)(fields)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    if data is not None:
        digest.update(b"\0")
        digest.update(data)
    return digest.hexdigest()


def fingerprint(parts: dict[str, Any]) -> str:
    """Hash of a normalised description (16 hex digits), for comparing, not for security."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=_plain).encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """How a value that JSON lacks enters a hash: its type's name and its repr, bytes by their own hash.

    The same value must come out the same in every process, so sets are sorted, and arrays of objects, whose bytes are addresses, are lists.
    """
    kind = type(value).__name__
    if isinstance(value, set | frozenset):
        return [kind, *sorted(map(repr, value))]
    if getattr(getattr(value, "dtype", None), "hasobject", False):
        return [kind, value.tolist()]
    if hasattr(value, "tobytes"):
        form = [str(getattr(value, name, "")) for name in ("dtype", "shape", "mode", "size")]
        return [kind, *form, hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()]
    if isinstance(value, bytes):
        return f"bytes:{hashlib.blake2b(value, digest_size=16).hexdigest()}"
    return f"{kind}:{value!r}"


CANONICAL = json.JSONEncoder(sort_keys=True, default=_plain, ensure_ascii=False)  # once: it spells every document of every run

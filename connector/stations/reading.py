"""READ, SKIP by content, PARSE, SPLIT and transform: one document in, its rows out. Runs in several threads.

Nothing that goes wrong with one document, be it in a source, a parser or a user's transform, ends the run: the document is rejected with
the reason. Only errors about the set-up (a missing package, a wrong setting) pass.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.errors import ConfigError, ConnectorError, DocumentError
from connector.faults import hit
from connector.record import Known, Payload, Row, Visit, content_hash
from connector.spelling import canonical
from connector.stations.windows import row_bytes
from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from connector.encoding.fanout import FanOut
    from connector.interfaces import Parser, Splitter
    from connector.stations.pathcolumns import PathColumns

MAX_DOCUMENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Reader:
    """The stations from READ to SPLIT; call it with a visit.

    Attributes:
        parser: The parser for a media type; raises DocumentError when there is none.
        splitter: Cuts texts, or None.
        split_rows: Also split the text of rows that came ready-made (a table's), not only of parsed documents.
        fingerprint: Hash of the stations' settings; other settings make other rows from the same content.
        mapping: Further names for offered fields: new name to offered name.
        transform: The user's function: a row in; a row, several, or None out.
        wanted: The source's fields that end up in rows and so belong to the content; None: all.
        fan_out: Makes one row a position; None: rows stay as they are.
        paths: The columns of tables that name files; None: there are none.
        max_bytes: Larger documents are rejected unread.
        force: Make rows even of unchanged content.
    """

    parser: Callable[[str], Parser]
    splitter: Splitter | None = None
    split_rows: bool = False
    fingerprint: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    transform: Callable[[Row], Any] | None = None
    wanted: frozenset[str] | None = None
    fan_out: FanOut | None = None
    paths: PathColumns | None = None
    max_bytes: int = MAX_DOCUMENT_BYTES
    force: bool = False
    watch: Stopwatch = field(default_factory=Stopwatch)

    def __call__(self, visit: Visit) -> Visit:
        """Fills the visit's content and rows, or its outcome."""
        if visit.outcome is not None:
            return visit
        station, since = "read", self.watch.now()
        try:
            payload = self._open(visit)
            hit("document.read")
            if self._same(visit):
                visit.outcome = "unchanged"
                return visit
            rows: list[Row] = []
            for following, step in self._steps():
                since = self.watch.lap(station, since)
                station = following
                rows = step(payload, rows)
        except DocumentError as error:
            _fail(visit, station, str(error), retry=error.retry)
        except ConnectorError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugin's bug on one document must not end the run; once mended, it is tried again
            _fail(visit, station, f"{type(error).__name__}: {error}"[:500], retry=True)
        else:
            self._number(visit, rows)
            hit("document.parsed")
        finally:
            self.watch.lap(station, since)
        return visit

    def _steps(self) -> Iterator[tuple[str, Callable[[Payload, list[Row]], list[Row]]]]:
        """What is done with an opened document. What would do nothing is left out, since a table has a million of them."""
        yield "parse", self._parse
        if self.splitter is not None:
            yield "split", self._split
        if self.mapping or self.transform is not None or self.paths is not None or self.fan_out is not None:
            yield "transform", self._transform

    def unchanged(self, visit: Visit) -> bool:
        """Whether a document whose payload is at hand is as the ledger has it; what goes wrong here is told when it is read."""
        known, document = visit.known, visit.document
        if visit.outcome is not None or self.paths is not None or known is None or not self._comparable(known):
            return False
        if known.version != document.version or document.position is not None:
            return False  # the ledger has something to note
        with contextlib.suppress(Exception):
            self._open(visit)
            return known.content == visit.content
        return False

    def _open(self, visit: Visit) -> Payload:
        self._check_size(visit.document.size)
        payload = visit.document.open()
        if payload.data is not None:
            self._check_size(len(payload.data))
        self.watch.moved("read", row_bytes(payload.fields) if payload.data is None else len(payload.data))
        fields = payload.fields
        if self.paths is not None and payload.data is None:
            fields = self.paths.offered(fields, self.mapping)
            payload = Payload(fields, None, payload.media_type)
        wanted = fields if self.wanted is None else self.wanted
        used = {name: fields[name] for name in wanted if name in fields}
        visit.content = content_hash(payload.data, used if self.paths is None else self.paths.content(used), canonical)
        return payload

    def _check_size(self, size: int | None) -> None:
        if size is not None and size > self.max_bytes:
            hint = "raise max_document_bytes or exclude it"
            raise DocumentError(f"{size:,} bytes, over max_document_bytes ({self.max_bytes:,})", hint=hint)

    def _same(self, visit: Visit) -> bool:
        known = visit.known
        return known is not None and self._comparable(known) and known.content == visit.content

    def _comparable(self, known: Known) -> bool:
        """Whether equal content means equal rows."""
        return not self.force and known.fingerprint == self.fingerprint and known.status not in {"writing", "rejected"}

    def _parse(self, payload: Payload, _: list[Row]) -> list[Row]:
        if payload.data is None or payload.media_type is None:
            return [dict(payload.fields)] if self.paths is None else self.paths.parsed(payload.fields, self.parser, self.max_bytes)
        return [{**payload.fields, **row} for row in self.parser(payload.media_type).parse(payload)]

    def _split(self, payload: Payload, rows: list[Row]) -> list[Row]:
        parsed = payload.media_type is not None or (self.paths is not None and self.paths.read)
        if self.splitter is None or not (parsed or self.split_rows):
            return rows
        return [part for row in rows for part in self._passages(row, self.splitter)]

    def _passages(self, row: Row, splitter: Splitter) -> list[Row]:
        name = self.mapping.get("text", "text")
        text = row.get(name)
        if not isinstance(text, str):
            return [row]
        return [{**row, name: text[start:end], "start": start, "end": end} for start, end in splitter.split(text)]

    def _transform(self, _: Payload, rows: list[Row]) -> list[Row]:
        rows = [{**row, **{new: row[old] for new, old in self.mapping.items() if old in row}} for row in rows] if self.mapping else rows
        rows = rows if self.transform is None else [made for row in rows for made in _rows_of(self.transform(row))]
        rows = rows if self.paths is None else [self.paths.finished(row) for row in rows]
        return rows if self.fan_out is None else [one for row in rows for one in self.fan_out(row)]

    def _number(self, visit: Visit, rows: list[Row]) -> None:
        visit.rows = [{"key": visit.key, "ordinal": ordinal, **row} for ordinal, row in enumerate(rows)]
        visit.total = len(visit.rows)
        if not visit.rows:
            visit.outcome = "empty"


def _rows_of(made: Any) -> list[Row]:
    if made is None:
        return []
    rows = made if isinstance(made, list) else [made]
    for row in rows:
        if not isinstance(row, dict):
            raise ConfigError(
                f"the transform returned {type(row).__name__}, wanted a dict, a list of dicts, or None",
                hint="correct the function named in `transform:`",
            )
    return rows


def _fail(visit: Visit, station: str, reason: str, *, retry: bool) -> None:
    visit.rows = ()
    visit.reject(station, reason, retry=retry)

"""Reads JSON lines: one object a line is one document, its entries are the row's fields.

Numbers keep their digits: an integer of any size stays one, so that a field that cannot hold it says so instead of storing another number.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from connector.record import Row
from connector.sources.streams import MAX_ROW, lines, unpacked
from connector.sources.tables import Record, TableSource


class JsonlSource(TableSource):
    """The objects of files with one JSON value a line, UTF-8, with or without a byte order mark. Blank lines are passed over.

    Args:
        path: A path or pattern, or several. `.gz`, `.bz2`, `.xz` and `.zst` are decompressed.
        key: The entry that names a document; None: its line number, with several files `file:line`.
    """

    name = "jsonl"

    def records(self, raw: IO[bytes], path: str) -> Iterator[Record]:
        """Yields the object of each line, or what is wrong with it."""
        for number, line in lines(unpacked(raw, path)):
            if line is None:
                yield number, f"over {MAX_ROW:,} bytes"
                continue
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not text.isspace() and text:
                yield number, parsed(text)


def parsed(line: bytes) -> Row | str:
    """The object that a line holds, or what is wrong with it."""
    try:
        value: Any = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not UTF-8; convert the file to UTF-8"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at character {error.colno}"
    except ValueError as error:
        return f"not JSON: {error}"
    except RecursionError:
        return "nested too deeply"
    return value if isinstance(value, dict) else f"wants a JSON object, found {type(value).__name__}"

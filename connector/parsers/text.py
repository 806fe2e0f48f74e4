"""Takes plain text as it stands: one row with the text and an empty title.

The text is not changed beyond decoding, so offsets into it are offsets into the file. A text of whitespace only gives no row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.parsers.decoding import decode

if TYPE_CHECKING:
    from connector.record import Payload, Row


class TextParser:
    """Plain text and reStructuredText."""

    media_types = frozenset({"text/plain", "text/x-rst"})

    def parse(self, payload: Payload) -> list[Row]:
        """One row with `text` and `title` (empty: plain text has none); none for whitespace.

        Raises:
            DocumentError: The bytes are binary, or in no encoding that could be told with confidence.
        """
        text = decode(payload.data or b"")
        return [{"text": text, "title": ""}] if text.strip() else []

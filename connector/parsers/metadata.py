"""Takes the metadata of a Python package: one row with its long description, its name, version and summary.

Core metadata looks like the headers of a mail (PyPA, "Core metadata specifications"): the description is the body, or in versions
before 2.1 a header whose further lines are indented by eight spaces, or by seven and a bar. Every Python environment
holds a hundred of them: real documentation to try a pipeline on without any download.
"""

from __future__ import annotations

import re
from email.parser import HeaderParser
from typing import TYPE_CHECKING

from connector.errors import DocumentError
from connector.parsers.decoding import decode

if TYPE_CHECKING:
    from email.message import Message

    from connector.record import Payload, Row


class CoreMetadataParser:
    """`*.dist-info/METADATA` and `PKG-INFO`."""

    media_types = frozenset({"text/x-core-metadata"})

    def parse(self, payload: Payload) -> list[Row]:
        """One row with `text` (the description), `title` and `package` (the name), `package_version` and `summary`.

        None if there is no description.

        Raises:
            DocumentError: The bytes are not text, or have no `Name`.
        """
        message = HeaderParser().parsestr(decode(payload.data or b""))
        name = _header(message, "Name")
        if not name:
            raise DocumentError("no `Name` header: this is not Python core metadata", hint="exclude it from the source")
        text = _description(message)
        if not text:
            return []
        return [
            {
                "text": text,
                "title": name,
                "package": name,
                "package_version": _header(message, "Version"),
                "summary": _header(message, "Summary"),
            }
        ]


def _header(message: Message, name: str) -> str:
    value = message.get(name, "").strip()
    return "" if value == "UNKNOWN" else value


def _description(message: Message) -> str:
    """The body, else the header, else ""; "UNKNOWN" is what old tools write for none."""
    body = str(message.get_payload()).strip()
    text = body or re.sub(r"\n(?: {8}| {7}\||\t)", "\n", _header(message, "Description"))
    return "" if text == "UNKNOWN" else text

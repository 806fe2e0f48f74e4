"""Takes Markdown as its source: one row with the text without front matter, and the first heading as title.

The source is kept because the marks of headings and lists carry meaning, and encoders have read plenty of them. Front matter is
for the site generator, not for the reader, and would be the first passage of every page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from connector.parsers.decoding import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.record import Payload, Row

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\r?\n(?:.*?\r?\n)??\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#{1,6}(?=[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")


class MarkdownParser:
    """Markdown (CommonMark)."""

    media_types = frozenset({"text/markdown"})

    def parse(self, payload: Payload) -> list[Row]:
        """One row with `text` and `title` (empty without a heading); none if nothing but front matter is there.

        Raises:
            DocumentError: The bytes are binary, or in no encoding that could be told with confidence.
        """
        text = decode(payload.data or b"")
        front = _FRONT_MATTER.match(text)
        text = text[front.end() :] if front else text
        return [{"text": text, "title": first_heading(text)}] if text.strip() else []


def first_heading(text: str) -> str:
    """The text of the first heading that says something, of any level and outside fenced code; "" if there is none."""
    before = ""
    for line in _outside_fences(text):
        heading = _ATX.match(line)
        if heading and (words := _without_closing(line[heading.end() :].strip())):
            return words
        if before and _SETEXT.match(line):
            return before
        before = "" if heading or line.startswith(("    ", "\t")) else line.strip()
    return ""


def _without_closing(words: str) -> str:
    """A heading's words without the closing run of `#`, which stands apart from them."""
    open_end = words.rstrip("#")
    return open_end.rstrip() if not open_end or open_end[-1].isspace() else words


def _outside_fences(text: str) -> Iterator[str]:
    """The lines that are not fenced code; a fence becomes an empty line."""
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark is None:
            yield "" if fence else line
        elif not fence:
            fence = mark[1]
            yield ""
        elif mark[1].startswith(fence) and not line.strip(" \t`~"):
            fence = ""

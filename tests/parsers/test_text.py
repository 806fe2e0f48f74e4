"""Plain text."""

from __future__ import annotations

import pytest

from connector.parsers.text import TextParser
from connector.record import Payload


def test_text_is_kept_as_it_stands() -> None:
    """Offsets into the text are offsets into the file: nothing is stripped or normalised."""
    assert TextParser().parse(Payload({}, b"  a\r\n b \n")) == [{"text": "  a\r\n b \n", "title": ""}]


@pytest.mark.parametrize("data", [b"", b" \n\t", "\u3000\ufeff".strip("\ufeff").encode(), None])
def test_nothing_gives_no_row(data: bytes | None) -> None:
    """A file of whitespace is empty, not rejected."""
    assert TextParser().parse(Payload({}, data)) == []

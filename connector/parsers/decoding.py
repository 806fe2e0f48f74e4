"""Turns the bytes of a text document into text, or says that it cannot: wrong characters are worse than a reject.

Tried in this order: byte order mark, UTF-8, the charset that the document declares, detection with a floor on its confidence.
UTF-8 stands before the declaration because bytes that happen to be valid UTF-8 almost always are (a declaration is often a
template's leftover). Bytes with U+0000 are no text.
"""

from __future__ import annotations

import codecs

from connector.errors import DocumentError

LEAST_COHERENCE = 20.0
"""Least share (per cent) of a known language's letter frequencies that makes a detected encoding believable. Random bytes score 0."""

MOST_CHAOS = 10.0
"""Largest share (per cent) of implausible character sequences."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BY_DETECTION_NEVER = ["utf_7", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"]


def decode(data: bytes, declared: str | None = None) -> str:
    """The text of a document, without its byte order mark.

    Args:
        data: All of its bytes.
        declared: The charset that the document or its transport names; an unknown name counts as none.

    Raises:
        DocumentError: It holds U+0000, or no encoding could be told with confidence.
    """
    if not data:
        return ""
    text = _marked(data)
    if text is None and b"\0" not in data:
        escapes = declared if b"\x1b" in data else None  # ISO-2022 encodings are 7-bit and pass for UTF-8
        text = _decoded(data, escapes) or _decoded(data, "utf-8") or _decoded(data, _web_name(declared)) or _detected(data)
    if text is None or "\0" in text:
        what = "binary: it holds U+0000" if b"\0" in data else "not text in any encoding that could be told with confidence"
        raise DocumentError(what, hint="convert it to UTF-8, or exclude it from the source")
    return text


def _marked(data: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    return None


def _decoded(data: bytes, encoding: str | None) -> str | None:
    """The text, or None if the bytes are not in this encoding or the encoding is unknown."""
    if encoding is None:
        return None
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError):
        return None


def _web_name(declared: str | None) -> str | None:
    """What a declared name means in practice: the Encoding Standard reads Latin-1 and ASCII as windows-1252."""
    try:
        name = codecs.lookup(declared).name if declared else None
    except (LookupError, ValueError):
        return None
    return "cp1252" if name in ("iso8859-1", "ascii") else name


def _detected(data: bytes) -> str | None:
    import charset_normalizer

    best = charset_normalizer.from_bytes(data, cp_exclusion=_BY_DETECTION_NEVER).best()
    if best is None or best.percent_coherence < LEAST_COHERENCE or best.percent_chaos > MOST_CHAOS:
        return None
    return str(best)

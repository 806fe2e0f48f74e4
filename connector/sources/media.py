"""Names the media type of a file: by its name, else by its first bytes.

The same on every machine: the tables of the standard library's `mimetypes` are used without the files that a system may add to them.
"""

from __future__ import annotations

import codecs
import mimetypes
import posixpath

SNIFFED = 8192
"""How many first bytes are looked at when the name tells nothing."""

CORE_METADATA = "text/x-core-metadata"
"""PyPA core metadata: `*.dist-info/METADATA` and `PKG-INFO`. It has no registered type."""

_OURS = {
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".rst": "text/x-rst",
    ".text": "text/plain",
    ".txt": "text/plain",
    ".xhtml": "application/xhtml+xml",
}
_TABLE = mimetypes.MimeTypes()
_TYPES = {**_TABLE.types_map[0], **_TABLE.types_map[1], **dict.fromkeys(_TABLE.encodings_map, "application/octet-stream"), **_OURS}


def media_type(path: str, head: bytes) -> str:
    """Media type of a file.

    Args:
        path: Relative path with `/`; two components decide at most.
        head: Its first bytes, used when the name says nothing.

    Returns:
        Such as "text/markdown"; "text/plain" for bytes that read as text, else "application/octet-stream".
    """
    folder, name = posixpath.split(path)
    if name == "PKG-INFO" or (name == "METADATA" and folder.endswith(".dist-info")):
        return CORE_METADATA
    known = _TYPES.get(posixpath.splitext(name)[1].lower())
    return known or ("text/plain" if _reads_as_text(head[:SNIFFED]) else "application/octet-stream")


def _reads_as_text(head: bytes) -> bool:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head

"""Names the media type of a file: by its name, else by its first bytes; an image or a recording always by its bytes.

Names of images and recordings lie (a site saves its JPEGs as `.png`), their first bytes do not.

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
    ".aif": "audio/aiff",
    ".aifc": "audio/aiff",
    ".aiff": "audio/aiff",
    ".bmp": "image/bmp",
    ".flac": "audio/flac",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".rst": "text/x-rst",
    ".text": "text/plain",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".xhtml": "application/xhtml+xml",
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_CONTAINERS = {
    (b"RIFF", b"WEBP"): "image/webp",
    (b"RIFF", b"WAVE"): "audio/wav",
    (b"FORM", b"AIFF"): "audio/aiff",
    (b"FORM", b"AIFC"): "audio/aiff",
}
"""By the first four bytes and those behind the length that follows them."""

_OGG_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
"""How the first packet of an Ogg file begins that holds sound: 28 bytes into it, behind a page of one segment."""
_TABLE = mimetypes.MimeTypes()
_TYPES = {**_TABLE.types_map[0], **_TABLE.types_map[1], **dict.fromkeys(_TABLE.encodings_map, "application/octet-stream"), **_OURS}


def media_type(path: str, head: bytes) -> str:
    """Media type of a file.

    Args:
        path: Relative path with `/`; two components decide at most.
        head: Its first bytes, used when the name says nothing or says that it is an image or a recording.

    Returns:
        Such as "text/markdown"; "text/plain" for bytes that read as text, else "application/octet-stream".
    """
    folder, name = posixpath.split(path)
    if name == "PKG-INFO" or (name == "METADATA" and folder.endswith(".dist-info")):
        return CORE_METADATA
    known = _TYPES.get(posixpath.splitext(name)[1].lower())
    if known is None or known.startswith(("image/", "audio/")):
        known = _signed(head) or known
    return known or ("text/plain" if _reads_as_text(head[:SNIFFED]) else "application/octet-stream")


def _signed(head: bytes) -> str | None:
    """The type of an image or a recording by its signature. BMP has none (two letters are too few), nor has MP3 without a tag."""
    if head.startswith(b"OggS"):
        return "audio/ogg" if head[28:].startswith(_OGG_AUDIO) else None
    held = _CONTAINERS.get((head[:4], head[8:12]))
    return held or next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)


def _reads_as_text(head: bytes) -> bool:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head

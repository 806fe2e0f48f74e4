"""Gets the encoded bytes of a picture or a recording from what a row holds: bytes, a path, or an object that reads them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from connector.errors import RowError

MAX_BYTES = 64 << 20
"""Most bytes of an input that is named by its path."""


def bytes_of(value: Any, wanted: str, kind: str) -> bytes:
    """The bytes of a value.

    Args:
        value: Encoded bytes; the path of a local file; or anything with a method `read(limit)` that gives the bytes.
        wanted: What else the encoder takes, for messages.
        kind: What it should be, such as "image".

    Raises:
        RowError: It is none of these, or the file is too large or cannot be read.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if hasattr(value, "read"):
        read: bytes = value.read(MAX_BYTES)
        return read
    if isinstance(value, str | os.PathLike):
        return _file(Path(value), kind)
    raise RowError(f"{type(value).__name__}, but the encoder reads {wanted}")


def _file(path: Path, kind: str) -> bytes:
    """The bytes of a regular file; a FIFO or a device would block, or never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RowError(f"{path} is not a regular file", hint=f"name an {kind} file")
        if status.st_size > MAX_BYTES:
            raise RowError(f"{path} has {status.st_size:,} bytes, over {MAX_BYTES:,}", hint=f"make the {kind} smaller")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RowError(f"{str(path)[:200]}: {reason}", hint="correct the path", retry=True) from None

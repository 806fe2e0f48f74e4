"""Opens a table's file as a stream of bytes, decompressed on the way, and cuts it into lines of bounded length.

Nothing is read whole: a file of any size, packed or not, takes the memory of one line. What breaks a stream in the middle (a truncated
archive, a disk error) is one of `BROKEN`, raised where it happens, after everything before it was given out.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, AnyStr, cast

from connector.files.below import shown
from connector.record import Gap

MAX_ROW = 10 << 20
"""Most bytes (characters, where the text is decoded first) of one row; a longer one is rejected and never held."""

BUFFER = 256 << 10

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeError)
"""What reading a damaged file raises."""


@contextmanager
def opened(path: str) -> Iterator[tuple[IO[bytes], Callable[[], bool]]]:
    """The file's bytes as they lie on disk, and whether it was written to since.

    Raises:
        OSError: It cannot be opened, or is no regular file; a FIFO does not block.
    """
    with open(path, "rb", buffering=BUFFER, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as raw:
        descriptor = os.dup(raw.fileno())  # `raw` may be closed by what is wrapped around it
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("is not a regular file")
            before = _state(descriptor)
            yield raw, lambda: _state(descriptor) != before
        finally:
            os.close(descriptor)


def _state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_mtime_ns, status.st_size


def unpacked(raw: IO[bytes], path: str) -> IO[bytes]:
    """The bytes that a file's suffix promises: `.gz`, `.bz2`, `.xz` and `.zst` are decompressed."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122  # plain text
    if suffix == ".gz":
        return _buffered(gzip.GzipFile(fileobj=raw))
    if suffix == ".bz2":
        return _buffered(bz2.BZ2File(raw))
    if suffix == ".xz":
        return _buffered(lzma.LZMAFile(raw))
    if suffix == ".zst":
        import pyarrow as pa

        return _buffered(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw


def bare(path: str) -> str:
    """The path without the suffix of its compression, in lower case."""
    stem, suffix = os.path.splitext(path.lower())  # noqa: PTH122  # plain text
    return stem if suffix in {".gz", ".bz2", ".xz", ".zst"} else stem + suffix


def _buffered(stream: Any) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(stream, BUFFER))  # it reads by `readinto`, which all of these have


def lines(stream: IO[AnyStr]) -> Iterator[tuple[int, AnyStr | None]]:
    """Yields (number from 1, line with its end); None for a line over `MAX_ROW`, which is passed over in pieces."""
    number = 0
    while line := stream.readline(MAX_ROW + 1):
        number += 1
        if len(line) <= MAX_ROW:
            yield number, line
            continue
        while line and not _ended(line):
            line = stream.readline(MAX_ROW)
        yield number, None


def _ended(line: str | bytes) -> bool:
    return line.endswith(("\n", "\r")) if isinstance(line, str) else line.endswith(b"\n")


def broken(path: str, error: BaseException) -> Gap:
    """What is told of a file that could not be read to its end."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error) or type(error).__name__
    return Gap(shown(path), f"cannot be read to its end: {reason}")

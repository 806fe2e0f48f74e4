"""Reads a regular file below a root: whole, unchanged while it was read, and nothing else.

Every component of the path is opened relative to the one before it and never through a symbolic link, so nobody who can write below the
root can make us read a file outside it, not even between listing and reading. A FIFO or a device never blocks. What goes
wrong is a DocumentError to be tried again: its cause lies in the file system, not in the document.
"""

from __future__ import annotations

import errno
import os
import stat

from connector.errors import DocumentError

ATTEMPTS = 3
"""How often a file that changes under the reader is read before it is given up for this run."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_REASONS = {
    errno.ENOENT: "vanished between listing and reading",
    errno.ENOTDIR: "vanished between listing and reading: a folder of its path became a file",
    errno.ELOOP: "became a symbolic link between listing and reading",
    errno.ENXIO: "is not a regular file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}


def read_below(root: str, path: str, *, limit: int | None = None) -> tuple[bytes, os.stat_result]:
    """The bytes of `root/path` and the state of the file that they belong to.

    Raises:
        DocumentError: It is gone, forbidden, no regular file, over `limit` bytes, or still changing after three reads; always
            with `retry`.
    """
    try:
        descriptor = _open_below(root, path)
    except OSError as error:
        raise _rejected(path, error) from error
    try:
        return _read_stable(descriptor, path, limit)
    except OSError as error:
        raise _rejected(path, error) from error
    finally:
        os.close(descriptor)


def shown(path: str) -> str:
    r"""A path as valid UTF-8, different for different paths: backslashes doubled, bytes that are not UTF-8 as `\xNN`."""
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def _open_below(root: str, path: str) -> int:
    """Opens the file component by component; folders on the way are closed again."""
    *folders, name = path.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, _FLAGS | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, _FLAGS, dir_fd=here)
    finally:
        os.close(here)


def _read_stable(descriptor: int, path: str, limit: int | None) -> tuple[bytes, os.stat_result]:
    """Reads until the file's state is the same before and after."""
    for _ in range(ATTEMPTS):
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise DocumentError(f"{shown(path)}: is not a regular file", retry=True)
        if limit is not None and before.st_size > limit:
            raise DocumentError(f"{shown(path)}: {before.st_size:,} bytes, over the limit of {limit:,}", retry=True)
        data = _read_bytes(descriptor, before.st_size + 1)
        after = os.fstat(descriptor)
        if _state(before) == _state(after) and len(data) == after.st_size:
            return data, after
    reason = f"{shown(path)}: changed while it was read, {ATTEMPTS} times"
    raise DocumentError(reason, hint="run the same command again when its writer is done", retry=True)


def _read_bytes(descriptor: int, limit: int) -> bytes:
    """At most `limit` bytes from the start; one read call may give fewer than asked for."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    blocks: list[bytes] = []
    while limit > 0 and (block := os.read(descriptor, limit)):
        blocks.append(block)
        limit -= len(block)
    return b"".join(blocks)


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _rejected(path: str, error: OSError) -> DocumentError:
    reason = _REASONS.get(error.errno or 0, os.strerror(error.errno or 0))
    return DocumentError(f"{shown(path)}: {reason}", hint="run the same command again", retry=True)

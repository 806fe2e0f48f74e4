"""Keeps vectors that were paid for: what an encoder made of an input is kept on disk, so that the same input is not encoded again.

A crash between encoding and committing, an outage of Milvus, a renamed file, a chunk that moved, a new scalar field, a rebuilt collection
or a second one with the same encoder: all find their vectors here. The key is the input's content and what the encoder is (its identity,
without the stored type); encoders whose name does not pin their weights are told apart by their golden probe. It is one SQLite file
of plain numbers, found by key and written with one transaction a window, or every few seconds where a window takes longer, so that a kill
costs no more. It is bounded in bytes: the oldest go first, but none before the window that it was made for is committed. A lost or
broken cache costs time, never a wrong answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from connector.encoding.probing import Goldens, alike
from connector.errors import ConfigError, RowError
from connector.record import fingerprint

Vector = npt.NDArray[np.float32] | Mapping[int, float]
"""A dense vector (dim,), or a sparse one."""

_Packed: TypeAlias = dict[tuple[int, bytes], bytes]
"""Numbers as they are stored, by space and input."""

FORMAT = 1
"""Version of the file; another one is made anew."""

_TABLES = """
CREATE TABLE IF NOT EXISTS spaces (id INTEGER PRIMARY KEY, identity TEXT NOT NULL, golden BLOB) STRICT;
CREATE TABLE IF NOT EXISTS vectors (
  seq INTEGER PRIMARY KEY, space INTEGER NOT NULL, input BLOB NOT NULL, data BLOB NOT NULL, UNIQUE (space, input)
) STRICT;
CREATE TABLE IF NOT EXISTS size (bytes INTEGER NOT NULL) STRICT;
INSERT INTO size SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM size);
"""
_OVERHEAD = 96
"""Bytes that a row and its index entry take beside the numbers."""
_SOME = 500
_SLACK = 0.9

EVERY = 5.0
"""Seconds of a window's work after which its vectors are written, though it is not complete: what a kill may cost."""


class VectorCache:
    """The cache of a machine or of a folder of jobs; several processes may share a file. Used from several threads.

    Args:
        path: The file.
        max_bytes: Most bytes of vectors; 0: nothing is kept.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._mutex, self._reading, self._writing = threading.Lock(), threading.Lock(), threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._pending: _Packed = {}
        self._since = 0.0
        self._sealed: deque[_Packed] = deque()
        self._windows: deque[int] = deque()
        self._safe = 0
        self.problem = ""
        """Why the cache is out of use; "" if it works."""
        if max_bytes > 0:
            with self._using():
                self._connection = _open(path)
                self._reader = sqlite3.connect(path, timeout=30, check_same_thread=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.seal()
        while self._sealed:
            self.keep()
        for connection in (self._reader, self._connection):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._reader = self._connection = None

    @contextlib.contextmanager
    def _using(self, *, reader: bool = False) -> Iterator[sqlite3.Connection | None]:
        """A connection for oneself, which finds only, or writes; None if the cache is out of use. One that fails puts it out of use."""
        with self._reading if reader else self._writing:
            try:
                yield None if self.problem else self._reader if reader else self._connection
            except (sqlite3.Error, OSError) as error:
                self.problem = self.problem or f"{type(error).__name__}: {error}"

    def space(self, identity: Mapping[str, Any], name: str, goldens: Goldens) -> int | None:
        """Where the vectors of one encoder are; None if it cannot be told, or the cache is out of use.

        Args:
            identity: Encoder identity of a vector field.
            name: The field.
            goldens: Of the generation.
        """
        model, head = identity["model"], {**identity["head"], "dtype": None}
        text = json.dumps([model, head], sort_keys=True)
        pinned = bool(model.get("weights") or model.get("revision"))
        golden = None if pinned else goldens.vectors.get(name)
        if not pinned and golden is None:
            return None
        with self._using() as connection:
            if connection is not None:
                return self._space(connection, fingerprint({"encoder": text}), golden)
        return None

    def _space(self, connection: sqlite3.Connection, identity: str, golden: npt.NDArray[np.float32] | None) -> int:
        for number, known in connection.execute("SELECT id, golden FROM spaces WHERE identity = ?", (identity,)):
            if golden is None or alike(np.frombuffer(known, "<f4"), golden):
                return int(number)
        data = None if golden is None else golden.astype("<f4").tobytes()
        made = connection.execute("INSERT INTO spaces (identity, golden) VALUES (?, ?)", (identity, data)).lastrowid
        connection.commit()
        return int(made or 0)

    def find(self, space: int, inputs: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors of those inputs that are known, by `input_key`."""
        with self._mutex:
            found = {key: _unpacked(some[space, key]) for some in (*self._sealed, self._pending) for key in inputs if (space, key) in some}
        left = [key for key in inputs if key not in found]
        with self._using(reader=True) as connection:
            for start in range(0, len(left), _SOME):
                if connection is None:
                    break
                some = left[start : start + _SOME]
                query = f"SELECT input, data FROM vectors WHERE space = ? AND input IN ({','.join('?' * len(some))})"  # noqa: S608 - question marks
                found |= {key: _unpacked(data) for key, data in connection.execute(query, (space, *some))}
        return found

    def add(self, space: int, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors; they are safe on disk after `window_made`, and those of a window that takes long sooner."""
        packed, now = {(space, key): _packed(vector) for key, vector in vectors.items()}, time.monotonic()
        with self._mutex:
            if self._connection is None or self.problem:
                return
            self._since = self._since if self._pending else now
            self._pending |= packed
            late = now - self._since >= EVERY and not self._sealed  # windows stay in order: up to where what is written may go
        if late:
            self._save()

    def _save(self) -> None:
        """Writes what was added before its window is complete; in the thread that adds and seals."""
        with self._using() as connection:
            if connection is not None:
                self._insert(connection, self._pending)
                with self._mutex:
                    self._pending = {}

    def window_made(self) -> None:
        """Writes what was added for a window; from now on it waits to be committed."""
        self.seal()
        self.keep()

    def seal(self) -> None:
        """What was added is all that a window needed."""
        with self._mutex:
            self._sealed.append(self._pending)
            self._pending = {}

    def keep(self) -> None:
        """Writes the vectors of the window that was sealed first: beside what is found and added, so from any thread."""
        with self._using() as connection:
            try:
                if connection is not None:
                    self._insert(connection, self._sealed[0])
                    self._windows.append(int(connection.execute("SELECT ifnull(max(seq), 0) FROM vectors").fetchone()[0]))
            finally:
                with self._mutex:
                    self._sealed.popleft()  # not before they are found on disk

    @staticmethod
    def _insert(connection: sqlite3.Connection, some: _Packed) -> None:
        """One short transaction, because jobs may share the file."""
        if not some:
            return
        rows = [(space, key, data) for (space, key), data in some.items()]
        with connection:
            added = connection.executemany("INSERT OR IGNORE INTO vectors (space, input, data) VALUES (?, ?, ?)", rows).rowcount
            size = added * (_OVERHEAD + sum(len(data) for _, _, data in rows) // len(rows))
            connection.execute("UPDATE size SET bytes = bytes + ?", (size,))

    def window_committed(self) -> None:
        """The oldest window that waited is in Milvus and in the ledger: its vectors may now make room."""
        with self._using() as connection:
            self._safe = self._windows.popleft() if self._windows else self._safe
            if connection is not None and self._bytes(connection) > self._max_bytes:
                self._evict(connection)

    @staticmethod
    def _bytes(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT bytes FROM size").fetchone()[0])

    def _evict(self, connection: sqlite3.Connection) -> None:
        """Deletes the oldest until a tenth of the room is free, or until nothing is left that may go."""
        size, last = self._bytes(connection), 0
        for seq, length in connection.execute("SELECT seq, length(data) FROM vectors WHERE seq <= ? ORDER BY seq", (self._safe,)):
            if size <= self._max_bytes * _SLACK:
                break
            size, last = size - length - _OVERHEAD, seq
        connection.execute("DELETE FROM vectors WHERE seq <= ?", (last,))
        connection.execute("UPDATE size SET bytes = ?", (max(0, size),))
        connection.commit()


def clear(path: Path) -> None:
    """Deletes every vector of a cache, so that their numbers are gone from the file too; a cache that is not there is no error.

    Raises:
        ConfigError: Another program keeps the file busy, or the disk fails; the vectors may still be there.
    """
    if not path.exists():
        return
    try:
        with contextlib.closing(_open(path)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            with connection:
                connection.execute("DELETE FROM vectors")
                connection.execute("UPDATE size SET bytes = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(f"{path}: the kept vectors could not be deleted ({error})", hint="do it again, or delete the file") from error


def input_key(value: Any, modality: str) -> tuple[bytes | None, Any]:
    """The key of an input, and the input as it is to be prepared: what had to be read for it is not read again.

    Returns:
        (16 bytes of blake2b, input); None for an input that has no content to name it by, or cannot be read and is refused when prepared.
    """
    if hasattr(value, "read"):
        try:
            value = value.read()
        except RowError:
            return None, value
    if isinstance(value, str) and modality == "text":
        data = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes | bytearray):
        data = bytes(value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        data = f"{value.dtype.str}{value.shape}\0".encode() + value.tobytes()
    else:
        return None, value
    return hashlib.blake2b(data, digest_size=16, person=modality.encode()[:16]).digest(), value


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError:
        version = -1
    if version not in {0, FORMAT}:  # damaged, or of another format: nothing in it is needed
        connection.close()
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # after a power cut the last windows may be missing, which costs encoding them
    connection.executescript(f"{_TABLES}; PRAGMA user_version = {FORMAT}")
    return connection


def _packed(vector: Vector) -> bytes:
    """Dense: `d` and little-endian float32; sparse: `s`, the indices as uint32, the weights as float32."""
    if not isinstance(vector, Mapping):
        return b"d" + np.asarray(vector, dtype="<f4").tobytes()
    indices, weights = np.fromiter(vector.keys(), dtype="<u4"), np.fromiter(vector.values(), dtype="<f4")
    return b"s" + indices.tobytes() + weights.tobytes()


def _unpacked(data: bytes) -> Vector:
    if data[:1] == b"d":
        return np.frombuffer(data, dtype="<f4", offset=1)
    count = (len(data) - 1) // 8
    indices = np.frombuffer(data, dtype="<u4", offset=1, count=count)
    weights = np.frombuffer(data, dtype="<f4", offset=1 + 4 * count, count=count)
    return dict(zip(indices.tolist(), weights.tolist(), strict=True))

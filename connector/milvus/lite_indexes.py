"""Index files of Milvus Lite that a kill left unfinished.

It writes an index beside each segment in one go and under its final name (3.2.2: `BruteForceIndex.save`), so a process that is killed
meanwhile leaves a file that cannot be read, and then the collection cannot be loaded. Nothing is in it that the segment does not hold:
without the file, Lite builds the index anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from connector.errors import SinkError
from connector.milvus.client import Connection

log = logging.getLogger(__name__)

ENDINGS = frozenset({".idx", ".sidx"})
"""Of index files, of vectors and of scalars."""


def load(connection: Connection, collection: str, make: Callable[[], None]) -> None:
    """Loads a collection, by `make`; one of Milvus Lite that cannot be loaded is tried again without its index files.

    Raises:
        SinkError: It cannot be loaded.
    """
    try:
        make()
    except SinkError as error:
        if type(error) is not SinkError or not connection.server.lite or not _forget(Path(connection.settings.path), collection):
            raise
        log.warning("%s; its indexes are built anew", error.message)
        make()


def _forget(path: Path, collection: str) -> int:
    """Deletes the index files of a collection; how many there were."""
    files = [one for one in (path / "collections" / collection).glob("partitions/*/indexes/*") if one.suffix in ENDINGS]
    for one in files:
        one.unlink()
    return len(files)

"""The secrets of the whole suite, and where they must never be: in no output, log or report, and in no file that we write."""

from __future__ import annotations

import os
import re
from pathlib import Path

CANARY = "Geheim-Kanarienvogel"
"""A token for any job on a Milvus that does not look at tokens. Every secret of these tests begins with Geheim."""

_MARKS = ("Geheim", "root:Milvus")
_WRITTEN_BY_TESTS = {".yaml", ".py", ".sock"}
"""A job file holds what its author writes there; everything else below a test's folder is ours."""
_FOREIGN = re.compile(r"milvus|server-.*|address\..*")
"""What a real server keeps, and how the test processes that share one reach it."""


def shown(text: str) -> list[str]:
    """The secrets that a text shows."""
    return [mark for mark in _MARKS if mark in text]


def left_in(folder: Path) -> list[str]:
    """The files below a folder that hold a secret, and which: ledgers, reports, caches, the collection itself."""
    found: list[str] = []
    for above, folders, names in os.walk(folder):  # it passes over what a server that is ending deletes meanwhile
        folders[:] = [name for name in folders if not _FOREIGN.fullmatch(name)]
        for path in (Path(above, name) for name in names if not _FOREIGN.fullmatch(name)):
            if path.suffix not in _WRITTEN_BY_TESTS and path.is_file() and not path.is_symlink():
                found += [f"{path.relative_to(folder)}: {mark}" for mark in shown(path.read_bytes().decode("latin-1"))]
    return found

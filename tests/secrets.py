"""The secrets of the whole suite, and where they must never be: in no output, log or report, and in no file that we write."""

from __future__ import annotations

from pathlib import Path

CANARY = "Geheim-Kanarienvogel"
"""A token for any job on a Milvus that does not look at tokens. Every secret of these tests begins with Geheim."""

_MARKS = ("Geheim", "root:Milvus")
_WRITTEN_BY_TESTS = {".yaml", ".py", ".sock"}
"""A job file holds what its author writes there; everything else below a test's folder is ours."""
_FOREIGN = "milvus"
"""Folder of a real server: it keeps its users as it likes."""


def shown(text: str) -> list[str]:
    """The secrets that a text shows."""
    return [mark for mark in _MARKS if mark in text]


def left_in(folder: Path) -> list[str]:
    """The files below a folder that hold a secret, and which: ledgers, reports, caches, the collection itself."""
    found: list[str] = []
    for path in folder.rglob("*"):
        if _FOREIGN in path.relative_to(folder).parts or path.suffix in _WRITTEN_BY_TESTS or path.is_symlink() or not path.is_file():
            continue
        found += [f"{path.relative_to(folder)}: {mark}" for mark in shown(path.read_bytes().decode("latin-1"))]
    return found

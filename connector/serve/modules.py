"""Lets a process that lives for weeks run the user's code as it is now: modules of which a file changed are imported anew.

The rows of a run carry the hash of the transform's file. Without this, rows made by the code of last week would be marked as this week's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


class UserModules:
    """The modules that are the user's: neither Python's, nor installed, nor ours. Looked at often, so that a change is seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, tuple[int, int]]] = {}
        self._others: set[str] = set()
        self._installed = tuple(str(Path(prefix).resolve()) for prefix in {sys.prefix, sys.base_prefix})

    def look(self) -> None:
        """Takes down the state of the files of modules that are new."""
        for name, module in sys.modules.copy().items():
            if name not in self._others and name not in self._seen:
                path = self._own(name, module)
                if path:
                    self._seen[name] = path, _state(path)
                else:
                    self._others.add(name)

    def _own(self, name: str, module: ModuleType) -> str:
        path = getattr(module, "__file__", None) or ""
        foreign = name.partition(".")[0] == "connector" or not path.endswith(".py")
        return "" if foreign or str(Path(path).resolve()).startswith(self._installed) else path

    def forget_changed(self) -> list[str]:
        """Takes all of them from Python's memory if the file of any has changed; which ones have."""
        self.look()
        changed = [name for name, (path, state) in self._seen.items() if _state(path) != state]
        if changed:
            for name in self._seen:
                sys.modules.pop(name, None)
            self._seen = {}
        return changed


def _state(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size

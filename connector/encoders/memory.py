"""Remembers, in small JSON files under the user's cache folder, what takes long to find out and can be found out again.

A file is replaced in one step, so a reader never sees half of one. A lost, broken or read-only cache costs time, never a wrong answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Where this program keeps what it can work out again: $CONNECTOR_CACHE, or the user's own cache folder."""
    own = os.environ.get("CONNECTOR_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "connector"


def recall(name: str) -> dict[str, Any]:
    """What a file of the cache holds; {} if it is not there or broken."""
    try:
        cache = json.loads((cache_folder() / name).read_bytes())
    except (OSError, ValueError):
        return {}
    return cache if isinstance(cache, dict) else {}


def remember(name: str, key: str, value: Any) -> None:
    """Adds a JSON value to a file of the cache; a cache folder that cannot be written is no error."""
    cache = {**recall(name), key: value}
    with contextlib.suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache_folder(), delete=False) as file:
            json.dump(cache, file)
        Path(file.name).replace(cache_folder() / name)

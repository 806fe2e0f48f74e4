"""Decides which relative paths a pattern takes, and which folders it can never reach.

`*`, `?` and `[...]` match within one name, `**` any number of folders (also none), `{a,b}` either. A pattern is matched against the
whole path relative to the root, with case, as in pathlib: `*.md` takes the root's own files, `**/*.md` those of
every folder. Written here because the standard library's globbing walks the tree itself and drops what it cannot list.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache


def expand(pattern: str) -> list[str]:
    """The patterns without braces that a pattern with `{a,b}` stands for; the innermost braces first."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [one for choice in braces[1].split(",") for one in expand(before + choice + after)]


class Patterns:
    """Several patterns, any of which may match.

    Args:
        patterns: As a job writes them: one, or a list.
    """

    def __init__(self, patterns: str | list[str] | tuple[str, ...]) -> None:
        given = [patterns] if isinstance(patterns, str) else patterns
        self._segments = [tuple(part for part in one.split("/") if part not in ("", ".")) for p in given for one in expand(p)]

    def match(self, parts: tuple[str, ...]) -> bool:
        """True if some pattern takes the path with these components."""
        return any(_match(parts, segments) for segments in self._segments)

    def reach(self, parts: tuple[str, ...]) -> bool:
        """False if no path below the folder with these components can match."""
        return any(_reach(parts, segments) for segments in self._segments)


def _match(parts: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    """Matches component by component; `**` takes none, or one and stays."""
    if not segments:
        return not parts
    if segments[0] == "**":
        return _match(parts, segments[1:]) or (bool(parts) and _match(parts[1:], segments))
    return bool(parts) and _name(segments[0]).match(parts[0]) is not None and _match(parts[1:], segments[1:])


def _reach(parts: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    """True if the folder's components match the pattern's first ones and some of the pattern is left for what is below."""
    for part, segment in zip(parts, segments, strict=False):
        if segment == "**":
            return True
        if _name(segment).match(part) is None:
            return False
    return len(segments) > len(parts)


@lru_cache(maxsize=1024)
def _name(segment: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(segment))

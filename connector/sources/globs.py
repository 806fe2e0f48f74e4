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
        return any(len(segments) in _after(parts, segments) for segments in self._segments)

    def reach(self, parts: tuple[str, ...]) -> bool:
        """False if no path below the folder with these components can match."""
        return any(at < len(segments) for segments in self._segments for at in _after(parts, segments))


def _after(parts: tuple[str, ...], segments: tuple[str, ...]) -> set[int]:
    """How many segments of the pattern may be used up once the components are: every reading of `**`, side by side."""
    states = _skip({0}, segments)
    for part in parts:
        here = (at for at in states if at < len(segments))
        states = _skip({at + (segments[at] != "**") for at in here if segments[at] == "**" or _name(segments[at]).match(part)}, segments)
    return states


def _skip(states: set[int], segments: tuple[str, ...]) -> set[int]:
    """Adds the readings in which a `**` takes no folder."""
    for at in sorted(states):
        while at < len(segments) and segments[at] == "**":
            at += 1  # noqa: PLW2901  # the run of `**` ends where it ends
            states.add(at)
    return states


@lru_cache(maxsize=1024)
def _name(segment: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(segment))

"""Takes secrets out of a line before it is written: those that a job has told us, and what looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"

SHORTEST = 4
"""Shorter values are not looked for: they stand in ordinary words."""

_KNOWN: set[str] = set()

_PATTERNS = (
    (re.compile(r"(?<=://)[^\s/@'\"]+@"), f"{MASK}@"),  # user:password before a host
    (re.compile(r"(?i)(\bauthorization\b['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)?\s*)[^\s'\",;}]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (
        re.compile(r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key)['\"]?\s*[=:]\s*['\"]?)(?!\*\*\*)[^\s'\",;&}]+"),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?<=://hooks\.slack\.com/)[^\s'\"]+"), MASK),
)


def hide(values: Iterable[str]) -> None:
    """Masks these values from now on, wherever they stand in a line; a `user:password` in its parts too."""
    for value in values:
        _KNOWN.update(one for one in (value, value.partition(":")[2]) if len(one) >= SHORTEST)


def masked(text: str) -> str:
    """The text without secrets."""
    for value in sorted(_KNOWN, key=len, reverse=True):
        text = text.replace(value, MASK)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text

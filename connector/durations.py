"""Reads lengths of time as people write them: 90s, 50m, 1h30m, 7d."""

from __future__ import annotations

import re

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit}{'?' if unit == 's' else ''})?" for unit in _SECONDS))


def seconds_of(text: object) -> float:
    """Seconds of a time such as 50m, 1h30m, 7d, 90s or 90.

    Raises:
        ValueError: It is none, or not above zero.
    """
    match = _DURATION.fullmatch(str(text).strip())
    seconds = sum(float(number) * unit for number, unit in zip(match.groups(), _SECONDS.values(), strict=True) if number) if match else 0
    if not seconds:
        raise ValueError(f"{text!r} is no time above zero; write 50m, 1h30m or 90s")
    return seconds


def words_of(seconds: float) -> str:
    """A length of time in words of at most two units: 45 s, 12 min, 3 h 10 min, 2 d 4 h."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds:.2g} s"

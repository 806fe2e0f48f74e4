"""Turns a cell's text into a value, where the job says of what type a column is.

Only spellings that can mean nothing else are taken: no spaces, no underscores, no thousands separators.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

CellType: TypeAlias = Literal["int", "float", "bool", "json"]

_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no int")
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no float")
    return float(text)


def _bool(text: str) -> bool:
    if text.lower() not in _BOOLS:
        raise ValueError(f"{text[:40]!r} is no bool; wants true, false, 1 or 0")
    return _BOOLS[text.lower()]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no JSON: {error}") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


CONVERTERS: dict[CellType, Callable[[str], Any]] = {"int": _int, "float": _float, "bool": _bool, "json": _json}
"""By the name that a job writes."""

"""What the command line says of a search, as Python values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from connector.encoding.queries import Audio, Image, Key, Query
from connector.errors import ConfigError, nearest

_LEVELS = ("Strong", "Bounded", "Session", "Eventually")


def one_query(*, words: str | None, image: Path | None, audio: Path | None, like: str | None) -> Query:
    """The only query that was given.

    Raises:
        ConfigError: None was, or more than one.
    """
    kinds: list[tuple[type[str | Key | Image | Audio], Any]] = [(str, words), (Key, like), (Image, image), (Audio, audio)]
    queries = [kind(value) for kind, value in kinds if value is not None]
    if len(queries) != 1:
        raise ConfigError("look for what?", hint='give words, --image FILE, --audio FILE or --like KEY: connector search JOB "red shoe"')
    return queries[0]


def values(given: Iterable[str]) -> dict[str, Any]:
    """Values by name, of `name=value`: what reads as a number, a bool, a text in quotes or a list in JSON is one, the rest is text.

    Raises:
        ConfigError: There is no name, or it is given twice.
    """
    found: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name.isidentifier() or name in found:
            raise ConfigError(f"--param {one}", hint="write each once, as --param max=100")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if value is None or isinstance(value, dict) else value


def numbers(text: str | None) -> list[float] | None:
    """Weights, of "0.7,0.3".

    Raises:
        ConfigError: They are no numbers.
    """
    try:
        return None if text is None else [float(one) for one in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights {text}", hint="write one number a field: --weights 0.7,0.3") from None


def level(text: str) -> Any:
    """A consistency level, in any case of letters.

    Raises:
        ConfigError: There is no such level.
    """
    found = next((one for one in _LEVELS if one.lower() == text.lower()), None)
    if found is None:
        raise ConfigError(f"no consistency level `{text}`", hint=nearest(text, _LEVELS))
    return found


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as JSON values: vectors as lists."""
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in fields.items()}

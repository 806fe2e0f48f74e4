"""Makes the filter of a search from an expression that somebody wrote, values that are data, and what every hit must fulfil.

Values come by name, `price < {max}`, and go in as literals that are read back exactly, so nobody has to paste them in. What must hold is
put before the expression, which stands in brackets: no `or` in it leads past. An expression that closes a bracket which it did not open,
or leaves one or a string open, is refused here, before the brackets around it could be taken for its own.

Milvus 2.5 has templates of its own for values. They are not used: Milvus Lite and older servers have none, and one way that is the same
everywhere is worth more than a shorter request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.errors import ConfigError, nearest
from connector.milvus.literals import quote

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*')"""
    r"|(?P<name>\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\})"
    r"|(?P<bracket>[()\[\]])"
    r"""|(?P<plain>[^"'{}()\[\]]+)"""
)
_PAIRS = {")": "(", "]": "["}
_INT64 = 1 << 63
_HINT = 'correct the filter; a value goes in by name: --filter "price < {max}" --param max=100'


def complete(expression: str, params: Mapping[str, Any] | None = None) -> str:
    """An expression with its values in place.

    Args:
        expression: In Milvus's language; `{name}` outside of a string stands for a value.
        params: Values by name: str, bool, int, float, or a list of these.

    Raises:
        ConfigError: Brackets or quotes do not match, a name has no value or a value no name, or a value has no literal.
    """
    values, used, made = params or {}, set[str](), []
    for kind, text in _tokens(expression):
        name = text.strip("{} \t\r\n") if kind == "name" else None
        if name is not None and name not in values:
            raise ConfigError(f"filter: no value for {{{name}}}", hint=nearest(name, values) if values else _HINT)
        used |= {name} if name is not None else set()
        made.append(text if name is None else _literal(name, values[name]))
    if unused := sorted(set(values) - used):
        raise ConfigError(f"filter: nothing is called {{{unused[0]}}} in {expression!r}", hint=_HINT)
    return "".join(made)


def within(condition: str, expression: str) -> str:
    """The filter for rows that fulfil both.

    Args:
        condition: Of ours; "" for none.
        expression: Anybody's, as `complete` returned it; "" for none.
    """
    return f"{condition} and ({expression})" if condition and expression.strip() else condition or expression


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    """The pieces of an expression; refuses what does not stand by itself."""
    place, open_brackets = 0, list[str]()
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            what = "a string that does not end" if expression[place] in "\"'" else f"a `{expression[place]}` that begins no name"
            raise ConfigError(f"filter: {what}: {expression[place:]!r:.60}", hint=_HINT)
        kind, text = str(match.lastgroup), match[0]
        if kind == "bracket":
            if text not in _PAIRS:
                open_brackets.append(text)
            elif not open_brackets or open_brackets.pop() != _PAIRS[text]:
                raise ConfigError(f"filter: `{text}` closes nothing: {expression!r:.120}", hint=_HINT)
        yield kind, text
        place = match.end()
    if open_brackets:
        raise ConfigError(f"filter: `{open_brackets[-1]}` is never closed: {expression!r:.120}", hint=_HINT)


def _literal(name: str, value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not value:
            raise ConfigError(f"filter: {{{name}}} is an empty list, which matches nothing", hint="do not search, or leave it out")
        return f"[{', '.join(_scalar(name, one) for one in value)}]"
    return _scalar(name, value)


def _scalar(name: str, value: Any) -> str:
    value = value.item() if hasattr(value, "dtype") and not getattr(value, "shape", ()) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return repr(float(value))
    wanted = "text, a bool, an integer of 64 bits, a finite number, or a list of these"
    raise ConfigError(f"filter: {{{name}}} is {type(value).__name__} {value!r:.40}, wanted {wanted}", hint=_HINT)

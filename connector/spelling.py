"""Spells rows as the text that content hashes and digests are made of, in a third of the time that a JSON encoder takes.

The text is the encoder's, to the letter. Every row of every run comes through here, so what most rows hold, plain values and vectors, is
put together by hand, and the rest is left to the encoder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
from typing import TYPE_CHECKING, Any

from connector.record import CANONICAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def canonical(fields: Mapping[str, Any]) -> str:
    """What `CANONICAL` makes of a dict, put together from its values, which takes a third of the time."""
    try:
        named = sorted(fields.items(), key=_name)
        return "{" + ", ".join([f"{quoted(name)}: {PLAIN.get(type(value), _other)(value)}" for name, value in named]) + "}"
    except TypeError:  # a name that is no text
        return CANONICAL.encode(fields)


def _other(value: Any) -> str:
    """The text of a value that is not plain; vectors, which tables are full of, without the detour over the encoder."""
    if type(value).__name__ != "ndarray" or value.dtype.kind not in "fiu":
        return CANONICAL.encode(value)
    content = hashlib.blake2b(value if value.flags.c_contiguous else value.tobytes(), digest_size=16).hexdigest()
    return f'{_form(value.dtype, value.shape, value.size)}"{content}"]'


@functools.lru_cache
def _form(dtype: Any, shape: tuple[int, ...], size: int) -> str:
    """The text of a vector before its content's hash; numpy takes longer to spell a type than the hash takes."""
    return f'["ndarray", {quoted(str(dtype))}, "{shape}", "", "{size}", '


def _number(value: float) -> str:
    return float.__repr__(value) if math.isfinite(value) else CANONICAL.encode(value)


quoted: Callable[[str], str] = json.encoder.encode_basestring
"""A text as JSON has it."""

PLAIN: dict[type, Callable[[Any], str]] = {
    str: quoted,
    int: int.__repr__,
    float: _number,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}
"""How JSON spells plain values, by their type."""

_name = operator.itemgetter(0)
